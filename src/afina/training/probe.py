"""The probe: a linear head fitted alone on the frozen base, where LoRA training starts from.

Fitting the head first keeps the pretrained states from being distorted by a random head: LP-FT,
Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afina.inference.pooled import PooledHead
from afina.metrics.calibration import log_loss

Array = np.ndarray[Any, np.dtype[Any]]

# Inverse strengths of the L2 penalty that are tried; strong ones win with hundreds of rows.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
MOST_ROWS = 50_000


def fit_probe(
    features: Array,
    truth: Array,
    labels: int,
    check_features: Array,
    check_truth: Array,
    seed: int,
    weights: Array | None = None,
) -> tuple[PooledHead, float]:
    """The head whose penalty has the least validation log loss.

    Args:
        features: mean states of the training rows; [rows, hidden]. truth: label codes; [rows].
        check_features, check_truth: the same of the validation rows.
        seed: of the rows taken when there are more than MOST_ROWS.
        weights: how much each training row counts; [rows], None for all the same.
    Returns:
        The head and the inverse strength of its penalty.
    """
    best: tuple[float, PooledHead, float] | None = None
    for strength in STRENGTHS:
        head = fit_head(features, truth, labels, strength, seed, weights)
        loss = log_loss(head.logits(check_features), check_truth)
        if best is None or loss < best[0]:
            best = (loss, head, strength)
    assert best is not None
    return best[1], best[2]


def fit_head(
    features: Array,
    truth: Array,
    labels: int,
    strength: float,
    seed: int,
    weights: Array | None = None,
) -> PooledHead:
    """A standardised logistic regression with an L2 penalty of inverse strength `strength`."""
    from sklearn.linear_model import LogisticRegression

    if len(features) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(features), MOST_ROWS, replace=False))
        features, truth = features[rows], truth[rows]
        weights = None if weights is None else weights[rows]
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = (features.std(axis=0, dtype=np.float64) + 1e-6).astype(np.float32)
    model = LogisticRegression(C=strength, max_iter=2000)
    model.fit((features - mean) / scale, truth, sample_weight=weights)
    return _as_head(model, labels, mean, scale)


def _as_head(model: Any, labels: int, mean: Array, scale: Array) -> PooledHead:
    """scikit-learn's coefficients as one row of weights a label; two labels share theirs halved."""
    weight, bias = model.coef_, model.intercept_
    if labels == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return PooledHead(weight.astype(np.float32), bias.astype(np.float32), mean, scale)
