"""The learning curve's children: parts of the training rows, and its answers to the test set."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from afina.data.lengths import LengthLimit, LengthReport
from afina.data.parts import nested_order, part_sizes
from afina.data.rows import group_of
from afina.data.table import RowWriter, read_rows
from afina.evaluation.answers import Answers, TestRows
from afina.inference.pooled import load_head
from afina.metrics.calibration import softmax
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.files import atomic, read_json, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.runs.stages import Stage
from afina.training.heads import PROBE

Array = np.ndarray[Any, np.dtype[Any]]
NAME = "learning_curve"
SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Part:
    """A share of the training rows.

    Attributes:
        rows: how many, whole groups and every label; it is also the number of the child.
        chosen: row numbers; [rows].
    """

    share: float
    rows: int
    chosen: Array


def shares_of(recipe: Recipe) -> tuple[float, ...]:
    """The shares of a recipe, or 25 and 50 %; the whole is always among them."""
    return tuple(sorted({*(recipe.evaluate.learning_curve or SHARES), 1.0}))


def parts(run: Run, recipe: Recipe, shares: tuple[float, ...]) -> tuple[list[Part], list[float]]:
    """The parts that a curve is trained on, the smallest first and each inside the next.

    Returns:
        The parts without the whole, and the shares that are left out: whole groups, or one row of every
        label, leave them no part of their own.
    """
    rows = read_rows(run.path("data/train.parquet"))
    _names, labels = np.unique([str(row.label) for row in rows], return_inverse=True)
    units = np.arange(len(rows))
    column = recipe.data.split.group_by
    if column:
        _groups, units = np.unique([group_of(row, column) for row in rows], return_inverse=True)
    order = nested_order(labels, units, recipe.seed)
    found: list[Part] = []
    left_out = []
    for share in sorted(share for share in shares if share < 1):
        count = part_sizes(order, units, labels, share)
        if count == len(rows) or count in (part.rows for part in found):
            left_out.append(share)
        else:
            found.append(Part(share, count, np.sort(order[:count])))
    return found, left_out


def child_recipe(recipe: Recipe) -> Recipe:
    """The recipe of a child: tracked nowhere, without samples and a gate of its own."""
    value = recipe.model_dump(mode="json")
    value["track"], value["gate"] = {}, []
    value["evaluate"]["learning_curve"] = []
    value["train"]["samples"] = 0
    return Recipe.model_validate(value)


def data_stage(parent: Run, target: Run, recipe: Recipe, part: Part, tokens: Tokens) -> Stage:
    """The data stage of a child: the parent's split, with fewer training rows."""
    state = read_json(parent.path("stages/data.json"))
    return Stage(
        "data",
        after=(),
        code=("data/parts",),
        settings=lambda: {"of": state["outputs"], "rows": part.chosen.tolist()},
        outputs=("data",),
        work=lambda: _write_data(parent, target, recipe, part, tokens),
    )


def _write_data(parent: Run, target: Run, recipe: Recipe, part: Part, tokens: Tokens) -> None:
    target.path("data").mkdir(parents=True, exist_ok=True)
    for path in sorted(parent.path("data").glob("*.parquet")):
        if path.name != "train.parquet":
            _link(path, target.path(f"data/{path.name}"))
    rows = read_rows(parent.path("data/train.parquet"))
    chosen = [rows[int(number)] for number in part.chosen]
    with atomic(target.path("data/train.parquet")) as temporary, RowWriter(temporary) as writer:
        for row in chosen:
            writer.write(row)
    audit = read_json(parent.path("data/audit.json"))
    report = LengthReport()
    LengthLimit(tokens, recipe, audit["labels"]).apply(chosen, report)
    audit["splits"]["train"] = report.as_json()
    audit["part"] = {"share": part.share, "rows": part.rows, "of": len(rows), "run": parent.title}
    write_json(target.path("data/audit.json"), audit)


def _link(source: Path, target: Path) -> None:
    """A second name for a finished file (they are replaced, never edited), or a copy elsewhere."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class ChildAnswers(Answers):
    """A child's answers. What the base computes is the same for all: its states are asked for once.

    Args:
        features: of the base by test set, shared among the children; [rows, hidden] each.
    """

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        labels: list[str],
        stop: StopSignal,
        features: dict[int, Array],
    ) -> None:
        super().__init__(run, recipe, labels, stop)
        self._features = features

    def models(self) -> list[str]:
        """Those that were fitted on the child's rows."""
        return [model for model in super().models() if model != "base"]

    def _ask(self, model: str, test: TestRows) -> Array:
        if model != "probe":
            return super()._ask(model, test)
        texts = [row.text for row in test.rows]
        key = hash(tuple(texts))
        if key not in self._features:
            with self.engine.base_only():
                self._features[key] = self.engine.features(texts, self._check)
        logits = load_head(self.run.path(PROBE)).logits(self._features[key])
        return softmax(logits, self.probe_choice[0])
