"""Starts the processes that train on this machine, shows what the first says, and ends them together."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, Interrupted, Stopped
from afina.language import _, current
from afina.models.base import FoundBase
from afina.recipe import Recipe
from afina.runs.folder import Run
from afina.runs.signals import StopSignal, stop_error
from afina.runs.spending import over_budget
from afina.training.distributed.engines import how_many

# Between two looks at the processes; and how long they may take to save after a signal.
LOOK_SECONDS = 0.1
SAVING_SECONDS = 600.0
LOGS = "processes"


def train_on_this_machine(run: Run, recipe: Recipe, base: FoundBase) -> None:
    """Trains by several processes until they have all done their part; starts them again when one is
    lost, as often as the recipe says.

    Raises:
        Interrupted, Stopped: after a signal, or when a process is lost once too often.
        AfinaError: what one of them raised.
    """
    processes, restarts = how_many(recipe), recipe.train.distributed.restarts
    for attempt in range(restarts + 1):
        lost = _attempt(run, base, processes)
        if lost is None:
            return
        run.event("process lost", what=lost.what, attempt=attempt + 1)
        if attempt == restarts:
            raise lost
        run.say(_("{what}; training begins again from its newest checkpoint").format(what=lost.what))


def _attempt(run: Run, base: FoundBase, processes: int) -> Stopped | None:
    """Starts the processes once. Returns how one was lost; None when all have done their part."""
    with tempfile.TemporaryDirectory() as place, StopSignal() as stop:
        group = Group(run, base, processes, Path(place))
        try:
            failed = group.watch(stop)
        finally:
            group.end()
        if stop.received is not None:
            raise over_budget(run)() or stop_error(stop.received)
        if failed is None:
            return None
        return group.why(failed)


@dataclass
class _Process:
    rank: int
    started: subprocess.Popen[bytes]
    channel: int
    log: Path
    text: bytes = b""
    errors: list[dict[str, Any]] = field(default_factory=list)


class Group:
    """The processes of one attempt."""

    def __init__(self, run: Run, base: FoundBase, processes: int, place: Path) -> None:
        self._run = run
        self._selector = selectors.DefaultSelector()
        logs = run.path(LOGS)
        logs.mkdir(exist_ok=True)
        job = {
            "run": str(run.root.resolve()),
            "name": run.name,
            "number": run.number,
            "base": base.as_json(),
            "language": current(),
            "method": f"file://{place.resolve()}/meeting",
        }
        self._processes: list[_Process] = []
        for rank in range(processes):
            self._processes.append(_start(job, rank, processes, logs / f"rank-{rank}.log"))
            self._selector.register(self._processes[-1].channel, selectors.EVENT_READ, rank)

    def watch(self, stop: StopSignal) -> _Process | None:
        """Until all have ended, or one has failed. Returns that one.

        A signal, or the end of the budget, is handed on; the processes agree on a step after which
        they save and end.
        """
        until: float | None = None
        while True:
            self._listen()
            codes = [process.started.poll() for process in self._processes]
            if all(code is not None for code in codes) and (stop.received or not any(codes)):
                self._listen()
                return None
            if stop.received is None and over_budget(self._run)() is not None:
                stop.received = signal.SIGTERM  # the processes are told to save and end
            if stop.received is None:
                failed = self._first_failed()
                if failed is not None:
                    return failed
            elif until is None:
                until = time.monotonic() + SAVING_SECONDS
                for process in self._processes:
                    if process.started.poll() is None:
                        process.started.send_signal(stop.received)
            elif time.monotonic() > until or (any(codes) and self._first_failed() is not None):
                return None

    def _first_failed(self) -> _Process | None:
        """A process that ended badly: one that said why, else one that a signal killed, else any. The
        others fail soon after it, for want of an answer."""
        failed = [process for process in self._processes if process.started.poll()]
        if not failed:
            return None
        time.sleep(2 * LOOK_SECONDS)  # let the one that was first be seen
        self._listen()
        failed = [process for process in self._processes if process.started.poll()]
        return min(
            failed,
            key=lambda process: (
                not process.errors,
                (process.started.returncode or 0) >= 0,
                process.rank,
            ),
        )

    def _listen(self) -> None:
        """Shows what the processes said since."""
        for key, _events in self._selector.select(LOOK_SECONDS):
            process = self._processes[key.data]
            data = os.read(process.channel, 1 << 16)
            if not data:
                self._selector.unregister(process.channel)
                continue
            *lines, process.text = (process.text + data).split(b"\n")
            for line in lines:
                self._heard(process, json.loads(line))

    def _heard(self, process: _Process, message: dict[str, Any]) -> None:
        if "say" in message:
            self._run.say(message["say"])
        elif "progress" in message:
            self._run.progress(message["progress"])
        elif "publish" in message:
            self._run.publish()
        elif "error" in message:
            process.errors.append(message["error"])

    def end(self) -> None:
        """Ends what still runs."""
        for process in self._processes:
            if process.started.poll() is None:
                process.started.kill()
        for process in self._processes:
            process.started.wait()
            if process.started.stdin is not None:
                process.started.stdin.close()
            os.close(process.channel)
        self._selector.close()

    def why(self, process: _Process) -> Stopped:
        """Raises what the process raised; returns an error when it was lost without a word."""
        for error in process.errors:
            kind = {130: Interrupted, 3: Stopped}.get(error["exit_code"], AfinaError)
            raise kind(error["what"], where=error["where"], fix=error["fix"])
        code = process.started.returncode
        names = {"rank": process.rank + 1, "world": len(self._processes)}
        if code < 0:
            what = _("process {rank} of {world} was killed by {signal}").format(
                signal=signal.Signals(-code).name, **names
            )
        else:
            what = _("process {rank} of {world} failed: {line}").format(
                line=_last_line(process.log), **names
            )
        return Stopped(
            what,
            where=str(process.log),
            fix=_(
                "run the same command again: it goes on from the newest checkpoint; if memory ran out, "
                "lower train.micro_batch_tokens or train.distributed.processes first"
            ),
        )


def _start(job: dict[str, Any], rank: int, processes: int, log: Path) -> _Process:
    reading, writing = os.pipe()
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        # The processes share the cores; more threads than cores are slower than fewer.
        "OMP_NUM_THREADS": os.environ.get(
            "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes))
        ),
        "GLOO_SOCKET_IFNAME": os.environ.get(
            "GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo"
        ),
    }
    with log.open("wb") as output:
        started = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "afina.training.distributed.worker",
                json.dumps({**job, "channel": writing}),
            ],
            env=environment,
            stdin=subprocess.PIPE,  # held open: it ends when this process does, and they with it
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            start_new_session=True,  # Ctrl-C comes to this process, which hands it on
        )
    os.close(writing)
    return _Process(rank, started, reading, log)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else _("it said nothing")
