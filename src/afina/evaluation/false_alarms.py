"""False alarms of two models at the same recall: what a security team asks of a new model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from afina.evaluation.answers import TestRows
from afina.evaluation.score import Measured, number
from afina.metrics.labels import false_positive_rate_at, recall
from afina.metrics.statistics import Interval, bootstrap

Array = np.ndarray[Any, np.dtype[Any]]


def false_alarms(
    a: Measured, b: Measured, test: TestRows, positive: int, seed: int
) -> dict[str, Any] | None:
    """How many more or fewer false alarms `a` gives than `b` when both find as much.

    The recall is that of `a` at its own threshold; both thresholds are set anew, in every resample too,
    so that each model reaches it. `relative_change` is FPR(a) / FPR(b) − 1; −0.4 means 40 % fewer, and
    None stands where `b` gives none. None when `a` finds nothing or one kind of rows is missing.
    """
    truth, score_a, score_b = test.truth, a.answers[:, 1], b.answers[:, 1]
    level = recall(truth, a.answers[:, 0], positive)
    if not level > 0 or not np.any(truth != positive):
        return None

    def rate(score: Array, rows: Array) -> float:
        return false_positive_rate_at(truth[rows], score[rows], positive, level)

    def change(rows: Array) -> float:
        before = rate(score_b, rows)
        return rate(score_a, rows) / before - 1 if before > 0 else math.nan

    everything = np.arange(len(truth))
    value = change(everything)
    interval = Interval(math.nan, math.nan, "none")
    if math.isfinite(value):
        interval = bootstrap(change, len(truth), test.groups, seed)
    return {
        "a": a.model,
        "b": b.model,
        "set": test.name,
        "recall": level,
        "rate_a": rate(score_a, everything),
        "rate_b": rate(score_b, everything),
        "relative_change": number(value),
        "ci95": [number(interval.low), number(interval.high)],
        "method": interval.method,
        "n": int(np.sum(truth != positive)),
    }
