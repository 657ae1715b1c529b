"""From logits to probabilities that mean what they say: one temperature, fitted on validation rows."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Probabilities over the last axis of logits / temperature; [rows, labels]."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    weights = np.exp(scaled)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def log_loss(logits: Array, truth: Array, temperature: float = 1.0) -> float:
    """Mean negative log-probability in nats of the true label."""
    scaled = logits / temperature
    peak = scaled.max(axis=-1, keepdims=True)
    log_total = peak[:, 0] + np.log(np.exp(scaled - peak).sum(axis=-1))
    return float(np.mean(log_total - scaled[np.arange(len(truth)), truth]))


def fit_temperature(logits: Array, truth: Array) -> float:
    """The temperature between 0.2 and 20 with the least log loss (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda power: log_loss(logits, truth, float(np.exp(power))),
        bounds=(np.log(0.2), np.log(20)),
        method="bounded",
    )
    return float(np.exp(found.x))


BINS = 15


def reliability(confidence: Array, right: Array, bins: int = BINS) -> Array:
    """Bins of equal size by confidence; [bins, 3]: mean confidence, share right, rows.

    Equal confidences share a bin, so there may be fewer bins than asked for.

    Args:
        confidence: probability of the label that was said; [rows]. right: whether it was; [rows].
    """
    if not len(confidence):
        return np.zeros((0, 3))
    order = np.argsort(confidence, kind="stable")
    ranked = confidence[order]
    wanted = np.linspace(0, len(ranked), min(bins, len(ranked)) + 1).round().astype(int)
    # A border inside equal values moves to their end: rows that look alike are judged together.
    borders = np.unique(
        [0, *np.searchsorted(ranked, ranked[wanted[1:-1] - 1], side="right"), len(ranked)]
    )
    sizes = np.diff(borders)
    means = np.add.reduceat(ranked, borders[:-1]) / sizes
    shares = np.add.reduceat(right[order].astype(float), borders[:-1]) / sizes
    return np.stack([means, shares, sizes], axis=1)


def calibration_error(confidence: Array, right: Array, bins: int = BINS) -> float:
    """Adaptive expected calibration error (Nixon et al. 2019): the mean distance of confidence and share
    right over bins of equal size, weighted by their rows. NaN without rows."""
    table = reliability(confidence, right, bins)
    if not len(table):
        return float("nan")
    return float(np.sum(np.abs(table[:, 0] - table[:, 1]) * table[:, 2]) / table[:, 2].sum())
