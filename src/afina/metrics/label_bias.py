"""A prompted model likes some labels for the prompt's sake: two ways of taking that out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.metrics.calibration import fit_temperature, log_loss, softmax

Array = np.ndarray[Any, np.dtype[Any]]
METHODS = ("none", "contextual", "bias")
# Texts without content, as Zhao et al. 2021 take them.
CONTENT_FREE = ("N/A", "", "[MASK]")
# A weak L2 penalty on the numbers of the labels: a few rows of one label ask for an endless one.
_PULL = 0.1
# From a handful of rows no temperature is fitted: it fits anything.
FEWEST_ROWS = 20


@dataclass(frozen=True)
class Calibration:
    """(logits + bias) / temperature.

    Attributes:
        bias: in nats, of each label; [labels].
    """

    method: str
    bias: Array
    temperature: float

    def apply(self, logits: Array) -> Array:
        """Calibrated logits; [rows, labels]."""
        return np.asarray((logits + self.bias) / self.temperature)


def calibrate(method: str, logits: Array, truth: Array, content_free: Array) -> Calibration:
    """What takes the liking for a label out of logits.

    Contextual (Zhao et al. 2021, "Calibrate Before Use"): the probabilities are divided by the mean
    probabilities of texts without content, so that such a text is undecided. Bias: numbers for the
    labels, of sum 0, and a temperature with the least log loss on the given rows. Both end with a
    temperature fitted on the rows (Guo et al. 2017); `none` leaves the logits as they are.

    Args:
        logits: of rows whose label is known; [rows, labels]. truth: label codes; [rows].
        content_free: logits of texts without content; [texts, labels].
    """
    labels = logits.shape[1]
    if method == "none":
        return Calibration(method, np.zeros(labels), 1.0)
    if method == "contextual":
        shares = softmax(content_free).mean(axis=0)
        bias = -np.log(np.maximum(shares, 1e-12))
        bias = bias - bias.mean()
        temperature = fit_temperature(logits + bias, truth) if len(truth) >= FEWEST_ROWS else 1.0
        return Calibration(method, bias, temperature)
    bias, temperature = _fit_bias(logits, truth)
    return Calibration(method, bias, temperature)


def _fit_bias(logits: Array, truth: Array) -> tuple[Array, float]:
    """The numbers and the temperature with the least log loss and penalty; the penalty is on
    bias / temperature, in the units of the calibrated logits."""
    from scipy.optimize import minimize

    labels = logits.shape[1]
    centred = logits - logits.mean(axis=1, keepdims=True)
    start_bias = -np.log(np.maximum(softmax(centred).mean(axis=0), 1e-6))

    def parts(x: Array) -> tuple[Array, float]:
        shift = np.append(x[:-1], -x[:-1].sum())
        return shift, float(np.exp(-x[-1]))

    def loss(x: Array) -> float:
        shift, scale = parts(x)
        return log_loss(centred * scale + shift, truth) + _PULL * float(shift @ shift) / max(
            1, len(truth)
        )

    bias = start_bias - start_bias.mean()
    best = minimize(  # convex in shift and scale, so that one start is enough
        loss,
        np.append(bias[:-1], 0.0),
        method="L-BFGS-B",
        bounds=[(-20.0, 20.0)] * (labels - 1) + [(np.log(0.2), np.log(50.0))],
    )
    shift, scale = parts(np.asarray(best.x))
    return shift / scale, 1 / scale


def folds(truth: Array, count: int, seed: int) -> Array:
    """A fold for each row, seeded, every label spread evenly over the folds; [rows]."""
    random = np.random.default_rng(seed)
    found = np.zeros(len(truth), dtype=np.int64)
    place = 0
    for code in np.unique(truth):
        rows = random.permutation(np.flatnonzero(truth == code))
        found[rows] = (place + np.arange(len(rows))) % count
        place += len(rows)
    return found


def on_unseen_rows(
    method: str, logits: Array, truth: Array, content_free: Array, seed: int, count: int = 5
) -> Array:
    """Calibrated logits of rows, each by a calibration fitted on the other folds; [rows, labels]."""
    if method == "none":
        return logits
    fold = folds(truth, min(count, len(truth)), seed)
    found = np.zeros_like(logits)
    for one in np.unique(fold):
        inside = fold == one
        fitted = calibrate(method, logits[~inside], truth[~inside], content_free)
        found[inside] = fitted.apply(logits[inside])
    return found
