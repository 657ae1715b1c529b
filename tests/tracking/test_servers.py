"""A tracking server over HTTP: one that is up, one that is down, one that comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import afina
import afina.tracking.live as live
from afina.errors import AfinaError, Interrupted
from afina.registry import lock
from afina.training import tune
from tests.tiny import Tiny, adapter_hash
from tests.tracking.conftest import SETTINGS, client, downloaded, history, only_run
from tests.tracking.test_local import everything
from tests.training.test_resume import StoppedAt

QUICK = (*SETTINGS, "evaluate.baselines=[]")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A real `mlflow server` on loopback, once it answers."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # A session of its own: the server has children, which end with it.
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _again in range(480):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return process
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.25)
    pytest.fail("the server did not start in two minutes")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and its children."""
    os.killpg(process.pid, signal.SIGKILL)  # it takes 20 seconds to say goodbye
    process.wait(timeout=30)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(place) -> Iterator[str]:
    port = free_port()
    process = serve(place, port)
    yield f"http://127.0.0.1:{port}"
    stop(process)


def test_over_http_everything_arrives(tiny, server, tmp_path) -> None:
    flow, said = everything(tiny, *QUICK, f"track.mlflow='{server}'", runs="http/runs")
    there = only_run(server)
    assert there.info.status == "FINISHED"
    assert [step for step, _loss in history(server, there.info.run_id, "train.loss")] == list(
        range(1, 7)
    )
    found = downloaded(server, there.info.run_id, tmp_path)
    adapter = flow.run.path("release/adapter/adapter_model.safetensors").read_bytes()
    assert found["release/adapter/adapter_model.safetensors"] == adapter
    assert len([line for line in said if "tracking" in line]) == 1


def test_a_server_that_is_down_is_told_once_and_gets_all_later(tiny, place, server, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(live, "SECONDS_BETWEEN", 0.2)
    down = f"http://127.0.0.1:{free_port()}"
    more = (*QUICK, "seed=3")
    flow, said = everything(tiny, *more, f"track.mlflow='{down}'", runs="down/runs")
    assert flow.run.path("report.html").exists()
    warnings = [line for line in said if "tracking" in line and ", experiment " not in line]
    assert len(warnings) == 2, "once while it works, once at the end"
    assert "the work goes on" in warnings[0]
    assert "the next `afina run` sends it" in warnings[1]
    assert "password" not in "".join(warnings)
    # The next `afina run` sends what is missing; here to a server that is up.
    experiment = "track.experiment=late"
    everything(tiny, *more, f"track.mlflow='{server}'", experiment, runs="down/runs")
    there = only_run(server, "late")
    assert [step for step, _loss in history(server, there.info.run_id, "train.loss")] == list(
        range(1, 7)
    )
    assert there.data.tags["afina.gate"] == "passed"


def test_going_on_after_a_stop_goes_on_in_the_same_run_there(tiny, server, monkeypatch) -> None:
    chosen = (*QUICK, "seed=4", f"track.mlflow='{server}'", "track.experiment=resumed")
    chosen = (*chosen, "train.checkpoint_steps=2", "track.tensorboard=true")
    monkeypatch.setattr(live, "SECONDS_BETWEEN", 0.05)
    monkeypatch.setattr(StoppedAt, "step", 5)
    monkeypatch.setattr(StoppedAt, "how", "failure")
    monkeypatch.setattr(tune, "Trainer", StoppedAt)
    flow = tiny.workflow(*chosen, runs="resumed/runs")
    flow.run.lock()
    with pytest.raises(MemoryError) as failed:
        flow.everything()
    flow.finish(failed.value)
    flow.run.unlock()
    monkeypatch.undo()
    first = only_run(server, "resumed")
    assert first.info.status == "FAILED"
    sent = history(server, first.info.run_id, "train.loss")
    assert [step for step, _loss in sent] == [1, 2, 3, 4, 5], "one of them will be done once more"

    flow, _said = everything(tiny, *chosen, runs="resumed/runs")
    again = only_run(server, "resumed")
    assert again.info.run_id == first.info.run_id
    assert again.info.status == "FINISHED"
    course = history(server, again.info.run_id, "train.loss")
    assert [step for step, _loss in course] == list(range(1, 7)), "each step once"
    assert course[:5] == sent
    whole = tiny.run(*QUICK, "seed=4", "train.checkpoint_steps=2", runs="whole/runs")
    assert adapter_hash(whole) == adapter_hash(flow.run)


class SilentServer:
    """A server that takes connections and never answers."""

    def __enter__(self) -> str:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(16)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_error: object) -> None:
        self._socket.close()


def test_a_server_that_never_answers_holds_nobody_up(tiny: Tiny, monkeypatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.5)
    monkeypatch.setattr(live, "HURRY", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3600")
    with SilentServer() as address:
        flow = tiny.workflow(*QUICK, "seed=5", f"track.mlflow='{address}'", runs="silent/runs")
        said: list[str] = []
        flow.run.say = said.append
        flow.run.lock()
        flow.do("train")
        flow.finish(Interrupted("Ctrl-C"))
        flow.finish()
        flow.run.unlock()
    assert flow.run.path("release/adapter/adapter_model.safetensors").exists()
    assert "the server does not answer" in said[-1]


def test_the_registry_on_a_server(tiny, server, tmp_path, monkeypatch) -> None:
    """Two machines and one server: the second has the server's copy of the champion."""
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    runs, where = str(tiny.folder / "models/runs"), {"registry": server}
    gate = 'gate=[{"metric": "accuracy", "min": 0.0}]'
    flow, _said = everything(tiny, *QUICK, gate, runs="models/runs")
    changed = gate.replace("0.0", "0.001"), f"track.registry='{server}'"
    _flow, said = everything(tiny, *QUICK, *changed, runs="models/runs")
    assert "registry: tiny@v1, the candidate" in said
    assert afina.promote("tiny@candidate", runs=runs, **where).version.run == "tiny@2"
    done = afina.promote("tiny@1", why="simpler", runs=runs, **where)
    assert (done.version.title, done.replaced) == ("tiny@v2", "tiny@v1")
    there = client(server)
    assert there.get_model_version("tiny", "2").source == f"runs:/{done.version.artifacts}/release"
    assert [one.name for one in there.search_registered_models()] == ["tiny"], "no lock is left"

    # A process that holds the lock, and one that was stopped while it held it.
    monkeypatch.setattr(lock, "PATIENCE", 0.5)
    there.create_registered_model("tiny.lock", tags={"afina.lock": "ana@there"})
    with pytest.raises(AfinaError, match=r"changing the aliases of tiny \(ana@there\)"):
        afina.rollback("tiny", runs=runs, **where)
    monkeypatch.setattr(lock, "STALE", 0.0)
    watch = afina.watch_version("tiny", runs=runs, seconds=0, **where)
    started = time.monotonic()
    back = afina.rollback("tiny", runs=runs, **where)
    told = watch.changed()
    assert time.monotonic() - started < 10
    assert (back.version.title, told and told.run) == ("tiny@v1", "tiny@2")
    monkeypatch.undo()

    # The same on a machine where the runs never were.
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AFINA_REGISTRY", server)
    shutil.move(runs, str(tiny.folder / "models/away"))
    shown = afina.registered("tiny")[0]
    assert shown.standings == ("copy", "copy")
    copied = afina.show_run("tiny@champion")
    assert (copied.name, copied.number) == ("tiny", 2)
    for path in (tiny.folder / "models/away/tiny/2/release").rglob("*"):
        if path.is_file():
            inside = path.relative_to(tiny.folder / "models/away/tiny/2")
            assert (copied.folder / inside).read_bytes() == path.read_bytes()
    assert set(afina.open_model("tiny@champion").classify(["the tin"])[0]) == {"fruit", "metal"}
    assert afina.promote("tiny@v2").version.run == "tiny@1"
    with pytest.raises(AfinaError, match="is the registry's copy of a release"):
        afina.evaluate("tiny@champion")
    assert flow.run.title == "tiny@1"
