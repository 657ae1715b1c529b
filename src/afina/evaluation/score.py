"""From answers to numbers: each metric with its interval, each pair of models with its test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.evaluation.answers import TestRows
from afina.metric_names import LIKELIHOOD_METRICS
from afina.metrics import labels as label_metrics
from afina.metrics.calibration import calibration_error
from afina.metrics.perplexity import bits_per_byte, perplexity
from afina.metrics.statistics import Interval, bootstrap, compare, group_count, one_group, wilson

Array = np.ndarray[Any, np.dtype[Any]]
# On answers [rows, 3]: the code said, the probability of the positive label, and of the one said.
Metric = Callable[[Array, Array], float]

LABEL_COLUMNS = 3


@dataclass(frozen=True)
class Measured:
    """What one model answered in one test set, and the metrics that are taken on it.

    Attributes:
        kept: the row numbers that it may be judged on; None for all.
    """

    model: str
    answers: Array
    metrics: dict[str, Metric]
    kept: Array | None = None


def label_answers(said: Array, probabilities: Array, positive: int | None) -> Array:
    """Said code, probability of the positive label, and of the label that is said; [rows, 3]."""
    score = probabilities[:, positive] if positive is not None else np.zeros(len(said))
    return np.stack([said.astype(float), score, probabilities[np.arange(len(said)), said]], axis=1)


def label_metric(name: str, truth: Array, labels: int, positive: int | None) -> Metric | None:
    """A metric of label answers as a function of row numbers; None when it needs a positive label."""
    if name == "accuracy":
        return lambda answers, rows: label_metrics.accuracy(truth[rows], answers[rows, 0])
    if name == "macro_f1":
        return lambda answers, rows: label_metrics.macro_f1(
            truth[rows], answers[rows, 0].astype(int), labels
        )
    if name == "micro_f1":
        return lambda answers, rows: label_metrics.micro_f1(truth[rows], answers[rows, 0])
    if name == "mcc":
        return lambda answers, rows: label_metrics.matthews(
            truth[rows], answers[rows, 0].astype(int), labels
        )
    if name == "calibration_error":
        return lambda answers, rows: calibration_error(answers[rows, 2], answers[rows, 0] == truth[rows])
    if positive is None:
        return None
    if name == "auc":
        return lambda answers, rows: label_metrics.auc(truth[rows], answers[rows, 1], positive)
    if name == "recall_at_1_fpr":
        return lambda answers, rows: label_metrics.recall_at(truth[rows], answers[rows, 1], positive)
    function = getattr(label_metrics, name)
    return lambda answers, rows: function(truth[rows], answers[rows, 0], positive)


def likelihood_metric(name: str, first: int = 0) -> Metric:
    """Perplexity or bits per byte of answers whose columns from `first` are loss, tokens, bytes."""
    function, over = {"perplexity": (perplexity, 1), "bits_per_byte": (bits_per_byte, 2)}[name]
    return lambda answers, rows: function(
        answers[rows, first].tolist(), answers[rows, first + over].tolist()
    )


def results_of(
    measured: Measured, test: TestRows, positive: int | None, seed: int
) -> list[dict[str, Any]]:
    """One line of evaluation.json for each metric."""
    everything = np.arange(len(test.rows))
    lines = []
    for name, metric in measured.metrics.items():
        value = metric(measured.answers, everything)
        if not math.isfinite(value):
            continue
        count, interval = _interval(name, measured.answers, test, positive, metric, seed)
        lines.append(
            {
                "model": measured.model,
                "set": test.name,
                "slice": None,
                "metric": name,
                "value": value,
                "n": count,
                "groups": group_count(test.groups),
                "ci95": [number(interval.low), number(interval.high)],
                "method": interval.method,
            }
        )
    return lines


def _interval(
    name: str, answers: Array, test: TestRows, positive: int | None, metric: Metric, seed: int
) -> tuple[int, Interval]:
    """How many rows a metric rests on, and its interval: a score interval for a share of single rows."""
    truth, said = test.truth, answers[:, 0]
    over = {
        "accuracy": np.ones(len(truth), dtype=bool),
        "micro_f1": np.ones(len(truth), dtype=bool),
        "recall": truth == positive,
        "false_positive_rate": truth != positive,
        "precision": said == positive if len(truth) else np.zeros(0, dtype=bool),
    }
    by_row, count = None, len(test.rows)
    if name in over and len(truth):
        chosen = over[name]
        hit = said[chosen] == (truth[chosen] if name in ("accuracy", "micro_f1") else positive)
        if name == "precision":
            hit = truth[chosen] == positive
        count = int(chosen.sum())
        by_row = wilson(int(hit.sum()), count)
        if test.groups is None:
            return count, by_row
    interval = bootstrap(lambda rows: metric(answers, rows), len(test.rows), test.groups, seed, by_row)
    if not math.isfinite(interval.low):
        # No error at all, say: resampling shows no spread, the score interval does.
        value = metric(answers, np.arange(len(test.rows)))
        if name in over:
            interval = wilson(round(value * count), count)
        elif name in ("macro_f1", "auc") and value == 1:
            interval = _without_errors(name, truth, positive)
        if group_count(test.groups) == 1:
            interval = one_group(interval)
    return count, interval


def _without_errors(name: str, truth: Array, positive: int | None) -> Interval:
    """Interval of a macro-F1 or an AUC of 1: every label's recall at the low end of its score interval.

    The macro-F1 is that of the table of counts with these recalls, the misses shared out evenly. The
    AUC is that of the two lines through the one point of the ROC curve with these rates.
    """
    codes, counts = np.unique(truth, return_counts=True)
    low = np.array([wilson(int(count), int(count)).low for count in counts])
    method = "Wilson score of each label's recall"
    if name == "auc":
        others = float(np.sum(truth != positive))
        at = wilson(int(others), int(others)).low
        return Interval(float(low[codes == positive][0] + at) / 2, 1.0, method)
    missed = counts * (1 - low)
    wrong = (missed.sum() - missed) / max(1, len(codes) - 1)
    hits = counts * low
    return Interval(float(np.mean(2 * hits / (2 * hits + missed + wrong))), 1.0, method)


def comparison_of(a: Measured, b: Measured, name: str, test: TestRows, seed: int) -> dict[str, Any]:
    """One paired comparison as a line of evaluation.json."""
    right = None
    if name in ("accuracy", "micro_f1"):
        right = (a.answers[:, 0] == test.truth, b.answers[:, 0] == test.truth)
    width = min(a.answers.shape[1], b.answers.shape[1]) if name not in LIKELIHOOD_METRICS else None
    found = compare(
        a.metrics[name], a.answers[:, :width], b.answers[:, :width], test.groups, seed, right
    )
    return {
        "a": a.model,
        "b": b.model,
        "set": test.name,
        "slice": None,
        "metric": name,
        "difference": number(found.difference),
        "ci95": [number(found.interval.low), number(found.interval.high)],
        "p_value": number(found.p_value),
        "test": f"{found.test}; interval by {found.interval.method}",
        "minimum_detectable": number(found.minimum_detectable),
        "rows_needed": found.rows_needed,
    }


def number(value: float) -> float | None:
    """A finite number, or None: JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
