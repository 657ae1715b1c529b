"""Stopped at any place and begun again, training ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from afina.errors import Interrupted, Stopped
from afina.inference import states
from afina.runs.stages import state_of
from afina.training import loop, tune
from afina.training.loop import Trainer
from tests.tiny import Tiny, adapter_hash, metrics, value

# Twelve steps with validations at 3, 6, 9, 12 and checkpoints between them.
SETTINGS = ("train.patience=null", "train.checkpoint_steps=2", "adapter.dropout=0.2")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("resume"), llama3_folder, llama3)


@pytest.fixture(scope="module")
def whole(tiny) -> dict:
    """The runs that nothing interrupted, by what was set beside SETTINGS."""
    known: dict = {}

    def run(*more: str):
        if more not in known:
            known[more] = tiny.run(*SETTINGS, *more, runs="whole")
        return known[more]

    return run


def same(one, other) -> None:
    """Two runs that ended with the same model by the same course."""
    assert metrics(one) == metrics(other)
    assert adapter_hash(one) == adapter_hash(other)
    for name in ("step", "steps", "best_step", "best_loss", "tokens", "temperature", "samples"):
        assert value(one, "train.json").get(name) == value(other, "train.json").get(name)
    assert not one.path("checkpoints").exists()


@pytest.mark.parametrize("more", [(), ("task.head=tokens",), ("adapter.kind=dora",)])
def test_two_runs_of_one_recipe_are_equal_to_the_bit(tiny, whole, more):
    torch.rand(3)  # whatever was drawn before has no say
    same(tiny.run(*SETTINGS, *more, runs="second"), whole(*more))


class StoppedAt(Trainer):
    """The real trainer; at one step a signal comes, or the process fails."""

    step = 0
    how = "signal"

    def _step(self, stop):
        if self.progress.step == self.step:
            if self.how == "failure":
                raise MemoryError("the process fails here")
            if self.how == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
        super()._step(stop)

    def _validate(self, stop):
        if self.how == "validation" and self.progress.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
        super()._validate(stop)

    def _save(self):
        if self.how == "before saving" and self.progress.step == self.step:
            raise MemoryError("the process fails here")
        super()._save()


@pytest.mark.parametrize(
    ("how", "step", "error"),
    [
        ("signal", 0, Stopped),
        ("signal", 4, Stopped),
        ("signal", 11, Stopped),
        ("validation", 0, Interrupted),
        ("validation", 6, Interrupted),
        ("failure", 0, MemoryError),
        ("failure", 5, MemoryError),
        ("before saving", 3, MemoryError),  # the best weights are kept already, the checkpoint is not
        ("before saving", 12, MemoryError),
    ],
)
def test_going_on_gives_the_same_bits(tiny, whole, monkeypatch, how, step, error):
    reference = whole()
    runs = f"{how}{step}".replace(" ", "")
    monkeypatch.setattr(StoppedAt, "step", step)
    monkeypatch.setattr(StoppedAt, "how", how)
    monkeypatch.setattr(tune, "Trainer", StoppedAt)
    with pytest.raises(error):
        tiny.run(*SETTINGS, runs=runs)
    monkeypatch.undo()
    stopped = tiny.workflow(*SETTINGS, runs=runs).run
    assert state_of(stopped, "train")["state"] == "stopped"
    torch.rand(7)
    resumed = tiny.run(*SETTINGS, runs=runs)
    assert resumed.number == stopped.number == 1
    same(resumed, reference)


@pytest.mark.parametrize("more", [("task.head=tokens",), ("adapter.kind=dora",)])
def test_going_on_gives_the_same_bits_for_other_heads_and_adapters(tiny, whole, monkeypatch, more):
    """peft's own dropout, which dora takes, draws from the global generator: kept in the checkpoint."""
    reference = whole(*more)
    runs = "others" + str(len(more[0]))
    monkeypatch.setattr(StoppedAt, "step", 5)
    monkeypatch.setattr(StoppedAt, "how", "failure")
    monkeypatch.setattr(tune, "Trainer", StoppedAt)
    with pytest.raises(MemoryError):
        tiny.run(*SETTINGS, *more, runs=runs)
    monkeypatch.undo()
    torch.rand(7)
    same(tiny.run(*SETTINGS, *more, runs=runs), reference)


def test_a_signal_while_the_probe_reads_stops_and_goes_on(tiny, whole, monkeypatch):
    reference = whole()
    real = states.mean_states
    read = []

    def mean_states(model, batch):
        read.append(batch)
        if len(read) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(model, batch)

    monkeypatch.setattr("afina.inference.pooled.mean_states", mean_states)
    with pytest.raises(Interrupted):
        tiny.run(*SETTINGS, runs="probe")
    monkeypatch.undo()
    assert len(read) == 1
    same(tiny.run(*SETTINGS, runs="probe"), reference)


def test_after_sigkill_the_same_command_goes_on_to_the_same_bits(tiny):
    settings = (
        "train.epochs=8",
        "train.patience=null",
        "train.checkpoint_steps=2",
        "train.evaluations_per_epoch=1",
    )
    reference = tiny.run(*settings, runs="whole")
    recipe = tiny.folder / "kill.yaml"
    recipe.write_text(tiny.text(), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "afina",
        "train",
        str(recipe),
        "--runs",
        str(tiny.folder / "killed"),
    ]
    command += [part for setting in settings for part in ("--set", setting)]
    # The same number of threads as here: sums in another order have other last bits.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    course = tiny.folder / "killed/tiny/1/metrics.jsonl"
    while process.poll() is None and not (course.exists() and course.read_text().count('"train"') >= 9):
        time.sleep(0.005)
    process.kill()
    _out, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()
    checkpoints = tiny.folder / "killed/tiny/1/checkpoints"
    steps = [int(path.name.removeprefix("step-")) for path in checkpoints.glob("step-*")]
    assert 0 < max(steps) < 48
    said_here: list[str] = []
    flow = tiny.workflow(*settings, runs="killed")
    flow.run.say = said_here.append
    flow.run.lock()
    flow.do("train")
    flow.run.unlock()
    assert flow.run.number == 1
    assert f"going on after step {max(steps)} of 48" in said_here
    same(flow.run, reference)


def test_a_changed_recipe_is_a_new_run_and_never_goes_on(tiny, monkeypatch):
    monkeypatch.setattr(StoppedAt, "step", 5)
    monkeypatch.setattr(StoppedAt, "how", "failure")
    monkeypatch.setattr(tune, "Trainer", StoppedAt)
    with pytest.raises(MemoryError):
        tiny.run(*SETTINGS, runs="changed")
    monkeypatch.undo()
    other = tiny.run(*SETTINGS, "train.learning_rate=0.002", runs="changed")
    assert other.number == 2
    fresh = tiny.run(*SETTINGS, "train.learning_rate=0.002", runs="fresh")
    same(other, fresh)
    # The first run is still there to go on with.
    assert tiny.run(*SETTINGS, runs="changed").number == 1


def test_a_half_written_metrics_line_is_dropped_on_going_on(tiny, whole, monkeypatch):
    monkeypatch.setattr(StoppedAt, "step", 5)
    monkeypatch.setattr(StoppedAt, "how", "failure")
    monkeypatch.setattr(tune, "Trainer", StoppedAt)
    with pytest.raises(MemoryError):
        tiny.run(*SETTINGS, runs="half")
    monkeypatch.undo()
    path = tiny.workflow(*SETTINGS, runs="half").run.path("metrics.jsonl")
    path.write_text(path.read_text() + '{"step": 6, "epo')
    same(tiny.run(*SETTINGS, runs="half"), whole())


def test_a_checkpoint_holds_no_pickle_and_says_what_it_is(tiny, monkeypatch):
    monkeypatch.setattr(StoppedAt, "step", 5)
    monkeypatch.setattr(StoppedAt, "how", "failure")
    monkeypatch.setattr(tune, "Trainer", StoppedAt)
    with pytest.raises(MemoryError):
        tiny.run(*SETTINGS, runs="held")
    folder = tiny.workflow(*SETTINGS, runs="held").run.path("checkpoints")
    assert sorted(path.name for path in folder.iterdir()) == ["best", "step-4"]
    names = sorted(path.name for path in (folder / "step-4").iterdir())
    assert names == ["optimizer.safetensors", "random.safetensors", "state.json", "trained.safetensors"]
    state = json.loads((folder / "step-4" / "state.json").read_text())
    assert (state["schema"], state["step"], state["position"]) == ("afina/checkpoint/1", 4, 4)
    assert loop.newest_checkpoint(folder) == folder / "step-4"
