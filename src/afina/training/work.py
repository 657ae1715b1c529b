"""What the steps of the train stage hand on: recipe, base, rows and their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from afina.data.roles import Row
from afina.data.table import read_rows
from afina.data.token_cache import encode_rows
from afina.errors import DataError
from afina.language import _
from afina.models.base import FoundBase
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.files import read_json, sha256_of
from afina.runs.folder import Run
from afina.training.loop import TrainingRows
from afina.training.resources import resolve_auto


@dataclass
class Work:
    """What the steps of this stage hand on."""

    run: Run
    recipe: Recipe
    base: FoundBase
    tokens: Tokens
    labels: list[str]
    rows: dict[str, list[Row]]
    encoded: dict[str, TrainingRows]
    precision: str
    bits: int
    checkpointed: bool

    def truth(self, split: str) -> np.ndarray[Any, np.dtype[Any]]:
        """Label codes of a split; [rows]."""
        codes = {label: code for code, label in enumerate(self.labels)}
        return np.array([codes[str(row.label)] for row in self.rows[split]])


def prepare(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens) -> Work:
    """Reads the run's rows as tokens.

    Raises:
        DataError: when no training row has one of the labels.
    """
    precision, bits, checkpointed = resolve_auto(run, recipe, base)
    labels = list(read_json(run.path("data/audit.json"))["labels"])
    rows, encoded = {}, {}
    for split in ("train", "validation"):
        path = run.path(f"data/{split}.parquet")
        rows[split] = read_rows(path)
        pieces, owners = encode_rows(
            tokens, recipe, labels, rows[split], partial(sha256_of, path), run.say, run.progress
        )
        own = [rows[split][number] for number in owners]
        encoded[split] = TrainingRows(pieces, [row.id for row in own], [row.weight for row in own])
    _require_every_label(labels, rows["train"])
    return Work(run, recipe, base, tokens, labels, rows, encoded, precision, bits, checkpointed)


def _require_every_label(labels: list[str], rows: list[Row]) -> None:
    """Refuses a label that no training row has: nothing could be learnt about it."""
    seen = {row.label for row in rows}
    missing = [label for label in labels if label not in seen]
    if missing:
        raise DataError(
            _("no training row has the label {labels}").format(labels=", ".join(map(repr, missing))),
            fix=_("add rows with it, raise data.limit, or take it out of task.labels"),
        )


def is_pooled(recipe: Recipe) -> bool:
    """Whether labels come from a head on the mean state."""
    return recipe.task.kind == "classify" and recipe.task.head == "pooled"
