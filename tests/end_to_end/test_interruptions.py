"""One recipe, interrupted in every stage in every way: one message each time, then it goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Place
from tests.conftest import colour_rows, write_jsonl

LONG = ("--set", "train.epochs=12", "--set", "train.checkpoint_steps=5", "--set", "train.patience=null")


def events(run: Path) -> list[dict]:
    """The whole lines of events.jsonl."""
    path = run / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """Until something is true; fails when the process ends before."""
    while not reached():
        if process.poll() is not None:
            pytest.fail(f"it ended before it was interrupted: {process.communicate()}")
        time.sleep(0.02)


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Sends a signal; exit code and standard error."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in out + err
    assert "inside Afina" not in out + err
    return process.returncode, err


def began(run: Path, stage: str, times: int = 1) -> Callable[[], bool]:
    """Whether a stage was started so often."""
    return lambda: (
        sum(e["event"] == "stage started" and e["stage"] == stage for e in events(run)) >= times
    )


def steps(run: Path) -> list[int]:
    """The training steps in metrics.jsonl."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return [line["step"] for line in whole if line["split"] == "train"]


@pytest.fixture
def place(fresh) -> Place:
    """Enough rows that every stage takes long enough to be interrupted."""
    write_jsonl(fresh.folder / "rows.jsonl", colour_rows(1200))
    return fresh


@pytest.mark.slow
def test_a_run_survives_being_interrupted_in_every_stage(place) -> None:
    run = place.folder / "runs/colours/1"
    command = ("run", "r.yaml", *LONG)

    process = place.start(*command)
    wait_for(process, began(run, "data"))
    code, err = ended(process, signal.SIGINT)
    assert code == 130
    assert err.count("error: interrupted; what was done is kept") == 1
    assert "it goes on where it stopped" in err
    assert not list(run.rglob("*.part"))

    process = place.start(*command)
    wait_for(process, lambda: len(steps(run)) >= 7)
    code, err = ended(process, signal.SIGINT)
    assert code == 130
    assert err.count("error: ") == 1
    reached = steps(run)[-1]

    process = place.start(*command)
    wait_for(process, lambda: len(steps(run)) >= reached + 3)
    code, err = ended(process, signal.SIGTERM)
    assert code == 3
    assert err.count("error: asked to stop; what was done is kept") == 1
    assert steps(run)[: reached + 1] == list(range(1, reached + 2)), "it went on after the saved step"
    reached = steps(run)[-1]

    process = place.start(*command)
    wait_for(process, lambda: len(steps(run)) >= reached + 8)
    process.kill()
    process.communicate()
    checkpoint = max(int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*"))
    assert checkpoint >= reached

    process = place.start(*command)
    wait_for(process, began(run, "evaluate"))
    code, err = ended(process, signal.SIGINT)
    assert code == 130
    assert err.count("error: ") == 1
    everything = steps(run)
    assert everything == list(range(1, len(everything) + 1)), "each step is there once and in order"

    last = place.afina(*command)
    assert (last.code, last.clean) == (0, True)
    assert "· train" not in last.err
    assert "gate: passed" in last.out
    reasons = [event["error"] for event in events(run) if event["event"] == "stopped"]
    assert len(reasons) == 4
    assert not list(run.rglob("*.part"))
    assert "nothing to do" in place.afina(*command).out
