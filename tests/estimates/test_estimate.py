"""`afina recipe estimate`: its plan is that of training, and its sums are of the plan."""

from __future__ import annotations

import json

import pytest

import afina.estimates.estimate as estimating
import afina.inference.engine as engine
from afina.estimates.estimate import estimate_recipe
from afina.estimates.training import Batch, batches_of, carried_over, spread, timed
from tests.tiny import Tiny, metrics, value
from tests.training.test_kinds import conversations, documents


@pytest.fixture(autouse=True)
def one_tokenizer(llama3, monkeypatch):
    """The real tokenizer, read once: it takes seconds."""
    monkeypatch.setattr(estimating, "load_tokens", lambda _folder: llama3)
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("estimates"), llama3_folder, llama3)


# --- from a few batches to all ----------------------------------------------------------------------


def test_a_constant_speed_is_carried_over_exactly() -> None:
    plan = [Batch(list(range(rows)), rows * length) for rows, length in ((8, 10), (4, 50), (2, 400))]
    found = carried_over(plan, [(plan[0], plan[0].tokens * 0.5), (plan[2], plan[2].tokens * 0.5)])
    assert found == pytest.approx(0.5 * sum(batch.tokens for batch in plan))


def test_longer_rows_are_dearer_and_those_between_lie_between() -> None:
    short, middle, long = (Batch([0], length) for length in (100, 200, 300))
    # 1 second a token at 100, 3 at 300: 2 at 200.
    assert carried_over([middle], [(short, 100.0), (long, 900.0)]) == pytest.approx(400.0)
    # Outside of what was timed the nearest speed holds.
    assert carried_over([Batch([0], 500)], [(short, 100.0), (long, 900.0)]) == pytest.approx(1500.0)
    assert carried_over([], [(short, 1.0)]) == 0.0


def test_batches_have_the_padded_tokens_of_training() -> None:
    lengths = [5, 30, 7, 6]
    assert [(b.rows, b.tokens) for b in batches_of(lengths, range(4), 32)] == [
        ([0, 3, 2], 21),
        ([1], 30),
    ]


def test_the_longest_batch_is_always_tried() -> None:
    plan = [Batch([0], length) for length in (10, 900, 20, 30)]
    assert spread(plan, 1)[0].tokens == 900
    assert {batch.tokens for batch in spread(plan, 12)} <= {10, 20, 30, 900}
    done: list[int] = []
    assert len(timed(plan, lambda batch: done.append(batch.tokens), 0.0)) == min(3, len(set(done)))


# --- the real parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["pooled", "tokens"])
def test_the_plan_is_what_training_then_does(tiny, head):
    settings = (f"task.head={head}", "train.patience=null", "data.max_length=96")
    found = estimate_recipe(tiny.recipe(*settings), seconds=0.5)
    run = tiny.run(*settings)
    lines = metrics(run)
    assert found.steps == len([line for line in lines if line["split"] == "train"]) == 12
    assert found.shortest == found.steps
    assert list(found.stages) == ["data", "train", "evaluate"]
    assert ("probe" in found.parts["train"]) == (head == "pooled")
    for stage in ("train", "evaluate"):
        assert found.stages[stage] == pytest.approx(sum(found.parts[stage].values()))
        assert all(seconds >= 0 for seconds in found.parts[stage].values())
    assert found.parts["train"]["steps"] > 0
    assert found.parts["evaluate"]["asking"] > 0
    assert found.memory_bytes > 100 * 2**20
    assert value(run, "train.json")["peak_memory_bytes"] > 0
    assert found.cost is None
    assert found.over == {}
    assert json.loads(json.dumps(found.as_json()))["schema"] == "afina/estimate/1"


def test_written_answers_are_counted(tmp_path, llama3_folder, llama3):
    pytest.importorskip("sacrebleu")
    place = Tiny(tmp_path, llama3_folder, llama3, conversations())
    settings = ("task.kind=generate", "evaluate.metrics=[perplexity, bleu]", "evaluate.max_new_tokens=4")
    found = estimate_recipe(place.recipe(*settings), seconds=0.2)
    assert found.parts["evaluate"]["writing"] > 0


def test_validations_are_those_of_training(tiny):
    from afina.training.loop import Trainer

    seen = {}

    class Watched(Trainer):
        def fit(self):
            seen["plan"], seen["validations"] = self.plan(), self.validations()
            return super().fit()

    from afina.training import tune

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "Trainer", Watched)
        run = tiny.run("train.patience=null", "train.epochs=1.5", "train.evaluations_per_epoch=4")
    lines = metrics(run)
    assert seen["validations"] == [line["step"] for line in lines if line["split"] == "validation"]
    assert len(seen["plan"]) == value(run, "train.json")["steps"]


def test_a_cost_and_a_budget_that_will_not_do(tmp_path, llama3_folder, llama3):
    place = Tiny(tmp_path, llama3_folder, llama3, documents())
    budget = "train.budget={cost: 0.000001, price_per_hour: 3600, currency: EUR, hours: 1}"
    found = estimate_recipe(
        place.recipe("task.kind=text", "train.samples=1", "train.patience=1", budget), seconds=0.2
    )
    assert found.cost == pytest.approx(found.hours * 3600)
    assert found.over == {"cost": 0.000001}
    assert "samples" in found.parts["train"]
    said = "\n".join(found.lines())
    assert "EUR (3600 an hour: the recipe), if that is what this machine costs" in said
    assert "train.budget.cost: 1e-06 will not be enough" in said
    assert "less if it stops early" in said
    assert list(tmp_path.glob("runs/*")) == []
