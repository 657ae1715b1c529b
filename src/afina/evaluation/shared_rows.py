"""Two models on the rows that both may be judged on: an earlier release may have seen some of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from afina.evaluation.answers import TestRows
from afina.evaluation.score import Measured
from afina.evaluation.slices import on_part, rows_of

Array = np.ndarray[Any, np.dtype[Any]]


def own_rows(
    one: Measured, test: TestRows, labels: int, positive: int | None
) -> tuple[Measured, TestRows]:
    """A model's answers to the rows that it may be judged on, and these rows."""
    if one.kept is None:
        return one, test
    part = rows_of(test, one.kept)
    return _on(one, one.kept, part, labels, positive), part


def same_rows(
    a: Measured, b: Measured, test: TestRows, labels: int, positive: int | None
) -> tuple[Measured, Measured, TestRows]:
    """Both models' answers to the rows that both may be judged on, and these rows."""
    if a.kept is None and b.kept is None:
        return a, b, test
    every = np.arange(len(test.rows))
    kept = np.intersect1d(every if a.kept is None else a.kept, every if b.kept is None else b.kept)
    part = rows_of(test, kept)
    return _on(a, kept, part, labels, positive), _on(b, kept, part, labels, positive), part


def _on(one: Measured, rows: Array, part: TestRows, labels: int, positive: int | None) -> Measured:
    metrics = {name: on_part(name, own, part, labels, positive) for name, own in one.metrics.items()}
    return Measured(one.model, one.answers[rows], metrics)
