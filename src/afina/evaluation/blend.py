"""The blend: what the tuned model and TF-IDF say together, a model of its own in every table.

The tuned model ranks well on sources never seen and TF-IDF keeps to the words; together they rank best
where neither has seen the source. It is never what is released.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from afina.errors import StorageError
from afina.language import _
from afina.metrics.calibration import log_loss, softmax

Array = np.ndarray[Any, np.dtype[Any]]
BLEND = "predictions/blend.json"
# With fewer validation rows, or of one label, nothing is fitted: both count the same.
FEWEST_ROWS, FEWEST_OF_A_LABEL = 50, 10
# Draws both weights towards one half and the bias towards zero; in rows of log loss.
PULL = 1.0


@dataclass(frozen=True)
class Blend:
    """Label logits = weights[0] · log p(tuned) + weights[1] · log p(tfidf) + bias.

    Attributes:
        weights: of both. bias: of each label. rows: validation rows that they were fitted on.
        fitted: False where there were too few and both count one half.
    """

    weights: tuple[float, float]
    bias: tuple[float, ...]
    rows: int
    fitted: bool

    def probabilities(self, tuned: Array, tfidf: Array) -> Array:
        """Of both models' probabilities; each [rows, labels]."""
        return softmax(self.logits(tuned, tfidf))

    def logits(self, tuned: Array, tfidf: Array) -> Array:
        """Before the softmax; [rows, labels]."""
        first, second = self.weights
        joined = first * _log_odds(tuned) + second * _log_odds(tfidf)
        return np.asarray(joined + np.array(self.bias))

    def as_json(self) -> dict[str, Any]:
        """For predictions/blend.json."""
        return {"schema": "afina/blend/1", **asdict(self)}


def read_blend(value: dict[str, Any]) -> Blend:
    """The blend of `as_json`. Raises StorageError for another value."""
    try:
        return Blend(
            (float(value["weights"][0]), float(value["weights"][1])),
            tuple(map(float, value["bias"])),
            int(value["rows"]),
            bool(value["fitted"]),
        )
    except (KeyError, TypeError, IndexError, ValueError):
        raise StorageError(
            _("this file is damaged: it holds no blend"),
            where=BLEND,
            fix=_("remove the file and run the same command again"),
        ) from None


def fit_blend(tuned: Array, tfidf: Array, truth: Array) -> Blend:
    """The weights and the bias with the least log loss on validation rows, drawn towards the mean.

    Minimised: Σ log loss + PULL · (Σ (w − 1/2)² + Σ bias²), with weights of at least 0: a logistic
    regression on both log-odds ("stacking", Wolpert 1992) that falls back to their mean as rows get
    few. The tuned model's checkpoint, share and temperature were chosen on the same rows, so that it
    may weigh a little too much.

    Args:
        tuned, tfidf: probabilities of the validation rows; [rows, labels]. truth: label codes; [rows].
    """
    from scipy.optimize import minimize

    labels = tuned.shape[1]
    even = Blend((0.5, 0.5), (0.0,) * labels, len(truth), False)
    counts = np.bincount(truth, minlength=labels)
    if len(truth) < FEWEST_ROWS or counts.min() < FEWEST_OF_A_LABEL:
        return even

    def cost(given: Array) -> float:
        blend = Blend((given[0], given[1]), tuple(given[2:]), len(truth), True)
        loss = log_loss(blend.logits(tuned, tfidf), truth) * len(truth)
        return float(loss + PULL * (np.sum((given[:2] - 0.5) ** 2) + np.sum(given[2:] ** 2)))

    start = np.array([0.5, 0.5] + [0.0] * labels)
    bounds = [(0.0, None)] * 2 + [(None, None)] * labels
    found = minimize(cost, start, method="L-BFGS-B", bounds=bounds)
    first, second, *bias = map(float, found.x)
    return Blend((first, second), tuple(bias), len(truth), True)


def _log_odds(probabilities: Array) -> Array:
    """Log-probabilities less their mean over the labels; [rows, labels]. Of two: half the log-odds."""
    logs = np.log(np.clip(probabilities, 1e-12, None))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))
