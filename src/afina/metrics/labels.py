"""Metrics of classifiers. Labels are codes 0 … k-1; `positive` is the code an alarm is about."""

from __future__ import annotations

import math
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


def micro_f1(truth: Array, said: Array) -> float:
    """F1 over all decisions together; with one label a row it is the accuracy."""
    return accuracy(truth, said)


def matthews(truth: Array, said: Array, labels: int) -> float:
    """Matthews' correlation of truth and answer, -1 to 1, for any number of labels (Gorodkin 2004).

    0 where either takes one label only, as scikit-learn does.
    """
    table = confusion(truth, said, labels).astype(float)
    total, hits = float(table.sum()), float(np.trace(table))
    true, told = table.sum(axis=1), table.sum(axis=0)
    spread = (total**2 - float(told @ told)) * (total**2 - float(true @ true))
    return (hits * total - float(told @ true)) / math.sqrt(spread) if spread > 0 else 0.0


def by_label(truth: Array, said: Array, labels: int) -> Array:
    """Precision, recall and F1 of each label; [labels, 3], NaN where there is nothing to divide by."""
    table = confusion(truth, said, labels).astype(float)
    hits, told, true = np.diag(table), table.sum(axis=0), table.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.stack([hits / told, hits / true, f1_by_label(truth, said, labels)], axis=1)


def _above(truth: Array, score: Array, positive: int) -> tuple[Array, Array, Array]:
    """Positive rows and others that score at least as much as each score that occurs, and these scores,
    falling; [points] each."""
    order = np.argsort(-score, kind="stable")
    ranked, is_positive = score[order], (truth == positive)[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True)[: len(ranked)])
    return np.cumsum(is_positive)[last], np.cumsum(~is_positive)[last], ranked[last]


def roc_curve(truth: Array, score: Array, positive: int) -> Array:
    """False-positive rate, recall and threshold at every score that occurs, falling; [points, 3].

    The first point, (0, 0, inf), is that of no alarm at all. NaN where a kind of row is missing.
    """
    hits, alarms, thresholds = _above(truth, score, positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = alarms / np.sum(truth != positive)
        recalls = hits / np.sum(truth == positive)
    return np.concatenate([[[0.0, 0.0, np.inf]], np.stack([rates, recalls, thresholds], axis=1)])


def precision_recall_curve(truth: Array, score: Array, positive: int) -> Array:
    """Recall, precision and threshold at every score that occurs, falling; [points, 3]."""
    hits, alarms, thresholds = _above(truth, score, positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = hits / np.sum(truth == positive)
    return np.stack([recalls, hits / (hits + alarms), thresholds], axis=1)


def recall_at(truth: Array, score: Array, positive: int, most: float = 0.01) -> float:
    """The highest recall at a threshold whose false-positive rate is at most `most`; NaN without both
    kinds of rows."""
    is_positive = truth == positive
    if is_positive.all() or not is_positive.any():
        return float("nan")
    curve = roc_curve(truth, score, positive)
    return float(curve[curve[:, 0] <= most + 1e-12, 1].max())


def false_positive_rate_at(truth: Array, score: Array, positive: int, least: float) -> float:
    """The lowest false-positive rate at a threshold whose recall is at least `least`; NaN without both
    kinds of rows."""
    is_positive = truth == positive
    if is_positive.all() or not is_positive.any():
        return float("nan")
    curve = roc_curve(truth, score, positive)
    return float(curve[curve[:, 1] >= least - 1e-12, 0].min())
