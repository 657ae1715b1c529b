"""Rows that the released model was trained on, and rows that it was not, as sets to ask about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from afina.data.batches import epoch_order
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.data.token_cache import encode_rows
from afina.evaluation.answers import Answers, TestRows, set_of
from afina.runs.files import read_json, sha256_of

Array = np.ndarray[Any, np.dtype[Any]]
# More would make the intervals little narrower: a share is known to 2 points with 2,000 rows.
MOST_ROWS = 2000
# The folder of the answers; no test set can have a name with a slash.
FOLDER = "overfitting"


@dataclass(frozen=True)
class Compared:
    """A seeded part of the training rows, and as many rows that were not trained on.

    Attributes:
        of_train, of_unseen: how many rows there were to choose from.
    """

    train: TestRows
    unseen: TestRows
    of_train: int
    of_unseen: int


def trained_rows(answers: Answers) -> list[Row]:
    """The training rows whose every token was read up to the released step.

    Part of an epoch, an early best step and sources of a weight below 1 leave rows out. All rows where
    nothing was learnt (best step 0).
    """
    run, recipe = answers.run, answers.recipe
    path = run.path("data/train.parquet")
    rows = read_rows(path)
    best = int(read_json(run.path("train.json"))["best_step"])
    whole = all(row.weight == 1 for row in rows) and recipe.task.kind != "text"
    if best == 0 or (whole and best >= math.ceil(len(rows) / recipe.train.batch_rows)):
        return rows
    pieces, owners = encode_rows(
        answers.engine.tokens,
        recipe,
        answers.labels,
        rows,
        partial(sha256_of, path),
        run.say,
        run.progress,
    )
    read = _read_pieces(
        [len(piece.ids) for piece in pieces],
        [rows[owner].weight for owner in owners],
        best,
        recipe.train.batch_rows,
        recipe.seed,
    )
    missed = {owner for piece, owner in enumerate(owners) if not read[piece]}
    return [row for number, row in enumerate(rows) if number not in missed] or rows


def _read_pieces(
    lengths: list[int], weights: list[float], steps: int, batch_rows: int, seed: int
) -> Array:
    """Whether each piece was in one of the first steps; [pieces]. The training loop's own order."""
    read, done, epoch = np.zeros(len(lengths), dtype=bool), 0, 0
    while done < steps:
        for step in epoch_order(lengths, weights, batch_rows, seed, epoch)[: steps - done]:
            read[step] = True
            done += 1
        epoch += 1
        if read.all():
            break
    return read


def train_and_validation(answers: Answers) -> Compared:
    """Validation rows, and as many training rows; a seeded part of both where there are over 2,000."""
    validation = read_rows(answers.run.path("data/validation.parquet"))
    return _compared(answers, validation, MOST_ROWS, ("train", "validation"))


def train_and_unseen(answers: Answers, most: int) -> Compared:
    """At most so many training rows, and as many of the test and validation rows."""
    unseen = [
        row
        for name in ("test", "validation")
        for row in read_rows(answers.run.path(f"data/{name}.parquet"))
    ]
    return _compared(answers, unseen, most, ("trained", "unseen"))


def _compared(answers: Answers, unseen: list[Row], most: int, names: tuple[str, str]) -> Compared:
    """Equal parts of both, each with a seed of its own."""
    trained = trained_rows(answers)
    count = min(most, len(trained), len(unseen))
    seed = answers.recipe.seed
    chosen = _draw(trained, count, [seed, 1]), _draw(unseen, count, [seed, 2])
    sets = [
        set_of(answers.recipe, answers.labels, f"{FOLDER}/{part}", rows)
        for part, rows in zip(names, chosen, strict=True)
    ]
    return Compared(sets[0], sets[1], len(trained), len(unseen))


def _draw(rows: list[Row], count: int, seed: list[int]) -> list[Row]:
    if len(rows) <= count:
        return rows
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    return [rows[int(row)] for row in chosen]
