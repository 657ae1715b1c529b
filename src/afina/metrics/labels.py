"""Metrics of classifiers. Labels are codes 0 … k-1; `positive` is the code an alarm is about."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def accuracy(truth: Array, said: Array) -> float:
    """Share of rows whose label is right; both [rows]."""
    return float(np.mean(truth == said))


def confusion(truth: Array, said: Array, labels: int) -> Array:
    """Counts by true (rows) and said (columns) label; [labels, labels]."""
    table = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(table, (truth, said), 1)
    return table


def f1_by_label(truth: Array, said: Array, labels: int) -> Array:
    """F1 of each label, 0 where it neither occurs nor is said; [labels]."""
    table = confusion(truth, said, labels)
    hits = np.diag(table)
    total = table.sum(axis=0) + table.sum(axis=1)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros(labels), where=total > 0))


def macro_f1(truth: Array, said: Array, labels: int) -> float:
    """Mean F1 over the labels that occur or are said (as scikit-learn does)."""
    table = confusion(truth, said, labels)
    present = (table.sum(axis=0) + table.sum(axis=1)) > 0
    return float(f1_by_label(truth, said, labels)[present].mean())


def recall(truth: Array, said: Array, positive: int) -> float:
    """Share of the positive rows that are found; NaN when there are none."""
    rows = truth == positive
    return float(np.mean(said[rows] == positive)) if rows.any() else float("nan")


def precision(truth: Array, said: Array, positive: int) -> float:
    """Share of the alarms that are right; NaN when there are none."""
    rows = said == positive
    return float(np.mean(truth[rows] == positive)) if rows.any() else float("nan")


def false_positive_rate(truth: Array, said: Array, positive: int) -> float:
    """Share of the other rows that raise an alarm; NaN when there are none."""
    rows = truth != positive
    return float(np.mean(said[rows] == positive)) if rows.any() else float("nan")


def auc(truth: Array, score: Array, positive: int) -> float:
    """Area under the ROC curve: the chance that a positive row scores above another (Mann-Whitney).

    Args:
        truth: label codes; [rows].
        score: score or probability of the positive label; [rows]. Ties count one half.
    """
    is_positive = truth == positive
    hits, others = int(is_positive.sum()), int((~is_positive).sum())
    if not hits or not others:
        return float("nan")
    order = np.argsort(score, kind="stable")
    _values, inverse, counts = np.unique(score[order], return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = np.empty(len(score))
    ranks[order] = (last - (counts - 1) / 2)[inverse]
    return float((ranks[is_positive].sum() - hits * (hits + 1) / 2) / (hits * others))
