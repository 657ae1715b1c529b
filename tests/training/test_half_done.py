"""Training that was stopped half-way: it goes on where it can, and is never lost without a word."""

from __future__ import annotations

import shutil

import pytest

from afina.errors import AfinaError
from afina.runs import stages
from afina.training import tune
from tests.conftest import colour_rows, write_jsonl
from tests.tiny import Tiny, adapter_hash, metrics
from tests.training.test_resume import StoppedAt

SETTINGS = ("train.epochs=1", "train.evaluations_per_epoch=1", "train.checkpoint_steps=2")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("half"), llama3_folder, llama3)


@pytest.fixture(scope="module")
def whole(tiny):
    return tiny.run(*SETTINGS, runs="whole")


@pytest.fixture
def stopped(tiny, monkeypatch, request):
    """A run that failed after five steps, with four of them in a checkpoint; its folder of runs."""
    runs = request.node.name
    monkeypatch.setattr(StoppedAt, "step", 5)
    monkeypatch.setattr(StoppedAt, "how", "failure")
    monkeypatch.setattr(tune, "Trainer", StoppedAt)
    with pytest.raises(MemoryError):
        tiny.run(*SETTINGS, runs=runs)
    monkeypatch.undo()
    return runs


def train(tiny, *overrides: str, runs: str, trust: bool = False):
    """The train stage. Returns the run and what was said."""
    flow = tiny.workflow(*overrides, runs=runs)
    flow.trust_earlier = trust
    said: list[str] = []
    flow.run.say = said.append
    flow.run.lock()
    try:
        flow.do("train")
    finally:
        flow.run.unlock()
    return flow.run, "\n".join(said)


def test_another_evaluation_goes_on_with_the_same_training(tiny, whole, stopped) -> None:
    run, said = train(tiny, *SETTINGS, "evaluate.baselines=[]", runs=stopped)
    assert run.number == 2
    assert "training goes on from what tiny@1 had done: 4 steps" in said
    assert "going on after step 4 of 6" in said
    assert adapter_hash(run) == adapter_hash(whole)
    assert metrics(run) == metrics(whole)
    # The first run is as it was, and can go on too.
    assert train(tiny, *SETTINGS, runs=stopped)[0].number == 1


def test_another_training_begins_anew_and_says_what_stays_unfinished(tiny, whole, stopped) -> None:
    run, said = train(tiny, *SETTINGS, "train.learning_rate=0.002", runs=stopped)
    assert run.number == 2
    assert "tiny@1 stays unfinished after 4 steps" in said
    assert "train.learning_rate 0.003 → 0.002" in said
    assert "`afina run tiny@1` goes on with it" in said
    assert "going on after step" not in said
    first, said = train(tiny, *SETTINGS, runs=stopped)
    assert (first.number, "going on after step 4 of 6" in said) == (1, True)
    assert adapter_hash(first) == adapter_hash(whole)
    assert "unfinished" not in train(tiny, *SETTINGS, "train.learning_rate=0.001", runs=stopped)[1]


def test_a_run_that_is_being_worked_on_is_left_alone(tiny, stopped) -> None:
    first = tiny.workflow(*SETTINGS, runs=stopped).run
    first.lock()
    run, said = train(tiny, *SETTINGS, "evaluate.baselines=[]", runs=stopped)
    first.unlock()
    assert (run.number, "tiny@1" in said) == (2, False)


def test_other_code_is_refused_unless_the_run_is_named(tiny, whole, stopped, monkeypatch) -> None:
    real = stages.code_hash
    monkeypatch.setattr(stages, "code_hash", lambda parts: real(parts) + "x" * ("training" in parts))
    with pytest.raises(AfinaError) as refused:
        train(tiny, *SETTINGS, runs=stopped)
    assert "4 steps of this training are done" in refused.value.what
    assert "the code of Afina" in refused.value.what
    assert "`afina run tiny@1` goes on as it was begun" in str(refused.value.fix)
    run, said = train(tiny, *SETTINGS, runs=stopped, trust=True)
    assert "going on after step 4 of 6" in said
    assert adapter_hash(run) == adapter_hash(whole)


def test_other_rows_are_refused_until_they_are_back_or_the_folder_is_removed(
    tiny, whole, stopped
) -> None:
    write_jsonl(tiny.rows, colour_rows(50))
    try:
        for trust in (False, True):
            with pytest.raises(AfinaError) as refused:
                train(tiny, *SETTINGS, runs=stopped, trust=trust)
        assert "this changed: its data" in refused.value.what
        assert str(refused.value.where).endswith("checkpoints")
    finally:
        write_jsonl(tiny.rows, colour_rows())
    run, said = train(tiny, *SETTINGS, runs=stopped)
    assert "going on after step 4 of 6" in said
    assert adapter_hash(run) == adapter_hash(whole)


def test_without_its_checkpoints_it_begins_anew(tiny, stopped, monkeypatch) -> None:
    run = tiny.workflow(*SETTINGS, runs=stopped).run
    shutil.rmtree(run.path("checkpoints"))
    real = stages.code_hash
    monkeypatch.setattr(stages, "code_hash", lambda parts: real(parts) + "x" * ("training" in parts))
    assert "going on after" not in train(tiny, *SETTINGS, runs=stopped)[1]
