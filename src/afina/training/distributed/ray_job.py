"""The same loop as a Ray Train job: the run's files go to the workers, the checkpoints come back.

https://docs.ray.io/en/latest/train/user-guides/fault-tolerance.html
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, Interrupted, Stopped
from afina.language import _, current
from afina.models.base import FoundBase
from afina.recipe import Recipe
from afina.runs.files import remove_leftovers
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.runs.store import Store
from afina.training.checkpoint import drop_older
from afina.training.distributed.bundle import NEEDED, pack, unpack
from afina.training.distributed.together import Together
from afina.training.distributed.torchrun import base_here

LOOK_SECONDS = 0.5
# What a worker gives back; what another job made of it is in Ray's own folder.
MADE = ("checkpoints", "metrics.jsonl", "samples.json")
STORAGE = "checkpoints/ray"


def train_on_ray(run: Run, recipe: Recipe, base: FoundBase) -> None:
    """Trains as a Ray Train job until it ends; the run's checkpoints then hold the result.

    Raises:
        Interrupted, Stopped: after a signal, or when workers were lost once too often.
        AfinaError: what a worker raised, or when there is no cluster at the address.
    """
    _quiet()
    import ray

    wanted = recipe.train.distributed
    own = not ray.is_initialized()
    if own:
        _join(wanted.address)
    try:
        actor: Any = ray.remote(num_cpus=0)(Messages)
        messages = actor.remote()
        job = {
            "files": {
                name: data
                for name, data in pack(run.root, (*NEEDED, *MADE)).items()
                if not name.startswith(STORAGE)
            },
            "name": run.name,
            "number": run.number,
            "base": base.as_json(),
            "language": current(),
            "messages": messages,
        }
        done = _fit(run, recipe, job, messages)
        errors = ray.get(messages.told.remote())
        if done is not None and done.checkpoint is not None:
            with done.checkpoint.as_directory() as place:
                _take(Path(place), run.root)
            run.publish()
        for error in errors:
            kind = {130: Interrupted, 3: Stopped}.get(error["exit_code"], AfinaError)
            raise kind(error["what"], where=error["where"], fix=error["fix"])
    finally:
        if own:
            ray.shutdown()


def _quiet() -> None:
    """No telemetry, no dashboard's advertising, the second form of Ray Train."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    for name, value in (
        ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
        ("RAY_DEDUP_LOGS", "0"),
        ("RAY_TRAIN_ENABLE_PRINT_PATCH", "0"),
    ):
        os.environ.setdefault(name, value)


def _join(address: str | None) -> None:
    import ray

    try:
        _require_open(address)
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_V2_ENABLED": "1"}},
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise AfinaError(
            _("there is no Ray cluster at {address}: {error}").format(
                address=address or "local", error=(str(error).splitlines() or [""])[0]
            ),
            where="train.distributed.address",
            fix=_("start it with `ray start --head`, or leave the address empty"),
        ) from None


def _require_open(address: str | None) -> None:
    """Raises OSError when nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _fit(run: Run, recipe: Recipe, job: dict[str, Any], messages: Any) -> Any:
    """Runs the job beside this thread, which shows what it says and hands signals on."""
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    wanted, gpus = recipe.train.distributed, int(_resources().get("GPU", 0))
    if wanted.processes == "auto" and not gpus:
        raise AfinaError(
            _("there is no GPU in the cluster to count, so say how many processes train"),
            where="train.distributed.processes",
        )
    trainer = TorchTrainer(
        _work,
        train_loop_config=job,
        scaling_config=ScalingConfig(
            num_workers=gpus if wanted.processes == "auto" else wanted.processes, use_gpu=bool(gpus)
        ),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo"),
        run_config=RunConfig(
            name=f"{run.name}-{run.number}",
            storage_path=wanted.storage or str(run.path(STORAGE).resolve()),
            failure_config=FailureConfig(max_failures=wanted.restarts),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    result: list[Any] = []
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            result.append(trainer.fit())
        except BaseException as error:  # raised again in the thread that waits
            failure.append(error)

    with StopSignal() as stop:
        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            if stop.received is not None:
                ray.get(messages.stop.remote(stop.received))
            for kind, text in ray.get(messages.take.remote()):
                (run.say if kind == "say" else run.progress)(text)
        stop.received = None  # the workers say what came of it
    if failure and not ray.get(messages.told.remote()):
        raise Stopped(
            _("the Ray job ended: {error}").format(
                error=(str(failure[0]).strip().splitlines() or [""])[-1][:300]
            ),
            fix=_("run the same command again: it goes on from the newest checkpoint"),
        )
    return result[0] if result else None


def _resources() -> dict[str, float]:
    import ray

    found: Any = ray.cluster_resources
    return dict(found())


class Messages:
    """An actor: lines from the workers to the person, a signal from the person to the workers."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._errors: list[dict[str, Any]] = []
        self._signal = 0

    def say(self, kind: str, text: str) -> None:
        """Keeps a line until it is taken."""
        self._lines.append((kind, text))

    def take(self) -> list[tuple[str, str]]:
        """The lines since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def error(self, value: dict[str, Any]) -> None:
        """Keeps what a worker raised: the job is then over, not to be tried again."""
        self._errors.append(value)

    def told(self) -> list[dict[str, Any]]:
        """What workers raised."""
        return self._errors

    def stop(self, number: int) -> None:
        """A signal for all workers."""
        self._signal = number

    def received(self) -> int:
        """The signal; 0 without one."""
        return self._signal


class RayRanks(Together):
    """One worker of a Ray Train job: checkpoints go to the job's storage too."""

    def __init__(self, recipe: Recipe, root: Path, messages: Any) -> None:
        super().__init__(recipe)
        self._root, self._messages = root, messages

    def agree(self, stop: StopSignal) -> None:
        """The first worker asks whether a signal came."""
        import ray

        if self.first:
            stop.received = ray.get(self._messages.received.remote()) or stop.received
        super().agree(stop)

    def save(
        self,
        folder: Path,
        weights: dict[str, Any],
        optimizer: Any,
        names: list[str],
        state: dict[str, Any],
    ) -> None:
        """After the first worker has written it, all report it."""
        super().save(folder, weights, optimizer, names, state)
        import ray.train

        about = {"step": state["step"]}
        if not self.first:
            ray.train.report(about)
            return
        drop_older(folder.parent)
        with tempfile.TemporaryDirectory() as place:
            for name in MADE:
                _copy(self._root / name, Path(place) / name)
            ray.train.report(about, checkpoint=ray.train.Checkpoint.from_directory(place))


def _work(job: dict[str, Any]) -> None:
    """What each worker does."""
    import ray
    import ray.train

    from afina.language import choose
    from afina.models.tokenizer import load_tokens
    from afina.training.tune import train_rank

    messages = job["messages"]
    if ray.get(messages.told.remote()):
        return
    choose(job["language"])
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / job["name"] / str(job["number"])
        unpack(job["files"], root)
        kept = ray.train.get_checkpoint()
        if kept is not None:
            with kept.as_directory() as folder:
                _take(Path(folder), root)
        run = Run(root, job["name"], job["number"], Store(place))
        if ray.train.get_context().get_world_rank() == 0:
            run.say = lambda text: messages.say.remote("say", text)
            run.progress = lambda text: messages.say.remote("progress", text)
        recipe = run.recipe()
        base = base_here(job["base"], recipe)
        ranks = RayRanks(recipe, root, messages)
        try:
            train_rank(run, recipe, base, load_tokens(base.folder), ranks)
        except AfinaError as error:
            if ranks.first or error.exit_code not in (3, 130):
                ray.get(messages.error.remote(error.as_json()))
            if error.exit_code not in (3, 130):
                raise


def _take(place: Path, root: Path) -> None:
    """Puts what a job's checkpoint holds into a run, in place of what is older there."""
    for name in MADE:
        if (place / name).exists():
            _copy(place / name, root / name)
    drop_older(root / "checkpoints")
    remove_leftovers(root)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("ray", ".*"))
    elif source.exists():
        shutil.copyfile(source, target)
