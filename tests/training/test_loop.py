"""The training loop on the tiny Llama 3: arithmetic, schedule, when it stops, what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from afina.data.table import read_rows
from afina.errors import AfinaError, DataError
from afina.inference.engine import Engine
from afina.metrics.calibration import log_loss
from afina.runs.stages import state_of
from afina.training import tune
from afina.training.loop import Trainer
from afina.training.schedule import learning_rate_at
from tests.conftest import colour_rows, write_jsonl
from tests.tiny import Tiny, losses, metrics, value


@pytest.fixture
def tiny(tmp_path, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path, llama3_folder, llama3)


class Watched(Trainer):
    """The real trainer, which also keeps the gradient of its first step and itself."""

    last: Watched

    def __init__(self, *given) -> None:
        super().__init__(*given)
        Watched.last = self
        self.gradients: dict[str, torch.Tensor] = {}

    def _update(self, rows, rate):
        if not self.gradients:
            self.optimizer.register_step_pre_hook(self._keep)
        return super()._update(rows, rate)

    def _keep(self, *_given) -> None:
        if not self.gradients:
            self.gradients = {name: tensor.grad.clone() for name, tensor in self.weights.items()}


@pytest.fixture
def watched(monkeypatch) -> type[Watched]:
    monkeypatch.setattr(tune, "Trainer", Watched)
    return Watched


@pytest.mark.parametrize("head", ["pooled", "tokens"])
def test_eight_micro_batches_of_one_row_are_one_of_eight(tiny, watched, head):
    found = {}
    for budget in (16, 4096):
        run = tiny.run(
            f"task.head={head}",
            f"train.micro_batch_tokens={budget}",
            "adapter.dropout=0.0",
            "train.epochs=1",
            "train.max_grad_norm=1e6",
        )
        assert all(len(rows) == 8 for rows in watched.last._order(0))
        found[budget] = (losses(run, "train")[0], watched.last.gradients)
    (small_loss, small), (large_loss, large) = found[16], found[4096]
    assert small_loss == pytest.approx(large_loss, abs=1e-6, rel=1e-6)
    assert max(float(gradient.abs().max()) for gradient in large.values()) > 1e-4
    for name, gradient in large.items():
        torch.testing.assert_close(small[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_gradient_is_scaled_down_to_the_greatest_norm(tiny, watched):
    tiny.run("train.max_grad_norm=0.001", "train.epochs=1")
    gradients = watched.last.gradients
    for head in (True, False):  # the head and the adapter each by themselves
        part = [gradients[name] for name in gradients if name.startswith("head.") == head]
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in part))
        assert norm == pytest.approx(0.001, rel=1e-3)


def test_weight_decay_is_for_matrices_and_not_for_biases_or_magnitudes(tiny, watched):
    tiny.run("train.epochs=1", "adapter.kind=dora", "train.weight_decay=0.5")
    trainer = watched.last
    with torch.no_grad():
        for tensor in trainer.weights.values():
            tensor.fill_(1.0)  # the second LoRA matrix may be zero
    before = {name: tensor.detach().clone() for name, tensor in trainer.weights.items()}
    for tensor in trainer.weights.values():
        tensor.grad = torch.zeros_like(tensor)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.1
    trainer.optimizer.state.clear()  # no momentum: only the decay is left
    trainer.optimizer.step()
    untouched = {name for name, tensor in trainer.weights.items() if torch.equal(tensor, before[name])}
    assert untouched == {name for name in before if name.startswith("head.") or "magnitude" in name}
    assert len(untouched) == 2 + 7 * 2
    for name in before.keys() - untouched:
        torch.testing.assert_close(trainer.weights[name].detach(), before[name] * (1 - 0.1 * 0.5))


@pytest.mark.parametrize(
    ("step", "schedule", "warmup", "expected"),
    [
        (0, "cosine", 0.1, 0.1),  # 10 of 100 steps rise: 1/10 of the peak first
        (9, "cosine", 0.1, 1.0),
        (10, "cosine", 0.1, 1.0),
        (55, "cosine", 0.1, 0.5),
        (100, "cosine", 0.1, 0.0),
        (32, "cosine", 0.0, 0.5 * (1 + math.cos(0.32 * math.pi))),
        (55, "linear", 0.1, 0.5),
        (10, "linear", 0.1, 1.0),
        (99, "linear", 0.0, 0.01),
        (4, "constant", 0.1, 0.5),
        (99, "constant", 0.1, 1.0),
        (0, "constant", 0.0, 1.0),
    ],
)
def test_learning_rates_at_known_steps(step, schedule, warmup, expected):
    assert learning_rate_at(step, 100, 2e-4, schedule, warmup) == pytest.approx(
        2e-4 * expected, abs=1e-12
    )


def test_the_learning_rate_in_the_metrics_is_that_of_the_schedule(tiny):
    run = tiny.run("train.schedule=linear", "train.warmup_ratio=0.25", "train.patience=null")
    rates = [line["learning_rate"] for line in metrics(run) if line["split"] == "train"]
    steps = len(rates)
    assert steps == 12
    assert rates == pytest.approx(
        [learning_rate_at(step, steps, 0.003, "linear", 0.25) for step in range(steps)]
    )
    assert value(run, "train.json")["steps"] == steps


def test_epochs_and_validations_are_as_many_as_the_recipe_says(tiny):
    run = tiny.run("train.evaluations_per_epoch=3", "train.patience=null")
    lines = metrics(run)
    assert [line["step"] for line in lines if line["split"] == "validation"] == [0, 2, 4, 6, 8, 10, 12]
    assert lines[-1]["epoch"] == 2.0
    # Every training row is seen once an epoch: the tokens read are twice those of the split.
    audit = value(run, "data/audit.json")
    assert value(run, "train.json")["tokens"] == 2 * audit["splits"]["train"]["tokens"]


def validation_loss(run) -> float:
    """Of the released model, asked through the engine."""
    engine = Engine(run.path("release"))
    rows = read_rows(run.path("data/validation.parquet"))
    truth = np.array([engine.settings.labels.index(row.label) for row in rows])
    return log_loss(engine.logits([row.text for row in rows]), truth)


def test_early_stopping_ends_and_the_best_step_is_what_is_released(tiny):
    run = tiny.run(
        "train.learning_rate=0.03",
        "train.patience=2",
        "train.epochs=20",
        "train.evaluations_per_epoch=3",
    )
    kept = value(run, "train.json")
    course = [(line["step"], line["loss"]) for line in metrics(run) if line["split"] == "validation"]
    best = min(course, key=lambda point: point[1])
    assert kept["stopped_early"]
    assert kept["steps"] == course[-1][0] < 20 * 6
    assert (kept["best_step"], kept["best_loss"]) == best
    assert [point[1] >= best[1] for point in course[-2:]] == [True, True]
    assert course[-1][1] != best[1]
    assert validation_loss(run) == pytest.approx(best[1], abs=1e-5)


def test_patience_null_never_stops(tiny):
    run = tiny.run("train.learning_rate=0.03", "train.patience=null", "train.epochs=4")
    kept = value(run, "train.json")
    course = losses(run, "validation")
    worse = [loss >= min(course[: index + 1]) for index, loss in enumerate(course)]
    assert sum(worse) > 4
    assert not kept["stopped_early"]
    assert kept["steps"] == 4 * 6


def broken_base(tiny: Tiny, word: str, folder: Path) -> None:
    """A base whose state for one word is not a number: rows that hold the word cannot be trained."""
    shutil.copytree(tiny.model, folder)
    weights = load_file(str(folder / "model.safetensors"))
    # The output head is untied and stays whole: the loss of other rows must stay finite.
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    (number,) = tiny.tokens.tokenizer(word, add_special_tokens=False)["input_ids"]
    weights["model.embed_tokens.weight"][number] = math.nan
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))


@pytest.mark.parametrize(
    ("head", "split", "message"),
    [
        ("tokens", "train", "the loss is not finite at step {step}"),
        ("tokens", "validation", "the validation loss is not finite after step 0"),
        ("pooled", "train", "the base model's states are not finite"),
    ],
)
def test_a_loss_that_is_not_finite_names_its_rows(tiny, tmp_path, head, split, message):
    overrides = [f"task.head={head}", "data.max_length=128"]
    held = {
        row.text for row in read_rows(tiny.run(*overrides, stage="data").path(f"data/{split}.parquet"))
    }
    rows = colour_rows()
    marked = next(row for row in rows if row["text"] in held)
    marked["text"] += " hotel"  # the split goes by the rows' order, so it stays in its split
    broken_base(tiny, " hotel", tmp_path / "broken")
    again = Tiny(tmp_path / "again", tmp_path / "broken", tiny.tokens, rows)
    run = again.run(*overrides, stage="data")
    (number,) = [
        row.id for row in read_rows(run.path(f"data/{split}.parquet")) if row.text == marked["text"]
    ]
    with pytest.raises(AfinaError) as caught:
        again.run(*overrides)
    step = len([line for line in metrics(run) if line["split"] == "train"]) + 1 if "{" in message else 0
    assert caught.value.what == message.format(step=step)
    assert number in caught.value.where
    assert caught.value.where.count(",") < 8  # the rows of one micro-batch at most, not all
    assert caught.value.fix
    assert state_of(run, "train")["state"] == "stopped"


def test_a_label_without_training_rows_is_refused(tiny):
    with pytest.raises(DataError, match="no training row has the label 'wood'"):
        tiny.run("task.labels=[fruit, metal, wood]")


def test_weights_that_leave_no_row_are_refused(tiny):
    with pytest.raises(AfinaError, match="leave no row"):
        tiny.run(f"data.train=[{{source: '{tiny.rows}', weight: 1.0e-9}}]")


def test_fractional_weights_train_to_the_end_though_epochs_differ(tiny):
    run = tiny.run(
        f"data.train=[{{source: '{tiny.rows}', weight: 0.05}}]", "train.epochs=8", "train.patience=null"
    )
    steps = [line for line in metrics(run) if line["split"] == "train"]
    assert (
        value(run, "train.json")["steps"] == len(steps) == 8
    )  # one step in the first epoch, so eight in all


def test_a_source_of_weight_two_is_seen_twice(tiny):
    other = write_jsonl(
        tiny.folder / "other.jsonl", [{**row, "text": row["text"] + " again"} for row in colour_rows(30)]
    )
    run = tiny.run(
        f"data.train=[{{source: '{tiny.rows}'}}, {{source: '{other}', weight: 2.0}}]", "train.epochs=1"
    )
    rows = read_rows(run.path("data/train.parquet"))
    seen = sum(2 if row.source == str(other) else 1 for row in rows)
    assert value(run, "train.json")["steps"] == math.ceil(seen / 8)
