"""How much of a trained adapter is released: less of it holds better on sources never seen.

W + w·s·B·A lies for 0 < w < 1 between the base, which the pooled head was fitted on, and the tuned one.
Such models between are often as good on known data and better elsewhere: Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from afina.metrics.statistics import mcnemar_mid_p

Array = np.ndarray[Any, np.dtype[Any]]
WEIGHTS = (0.25, 0.5, 0.75, 1.0)
# Fewer validation rows decide nothing.
FEWEST_ROWS = 20
# Accuracy on known sources that may be given up, in case, for what holds better elsewhere.
MOST_LOST = 0.05


def try_weights(model: Any, logits: Callable[[], Array]) -> dict[float, Array]:
    """What `logits` gives with each of WEIGHTS of the adapter; leaves all of the adapter in place."""
    import torch

    matrices = _second_matrices(model)
    whole = [matrix.detach().clone() for matrix in matrices]
    found = {}
    for weight in WEIGHTS:
        with torch.no_grad():
            for matrix, full in zip(matrices, whole, strict=True):
                matrix.copy_(full * weight)
        found[weight] = logits()
    return found


def least_good_weight(logits: Mapping[float, Array], truth: Array) -> float:
    """The least weight that is not shown to be worse than the best: at most 5 points of accuracy below
    it, and not below it by the mid-p McNemar test on the same rows at 5 %.

    Args:
        logits: by weight; each [rows, labels]. truth: label codes; [rows].
    """
    right = {weight: given.argmax(axis=1) == truth for weight, given in logits.items()}
    best = max(right, key=lambda weight: (right[weight].mean(), -weight))
    for weight in sorted(right):
        lost = float(right[best].mean() - right[weight].mean())
        if lost <= MOST_LOST + 1e-9 and mcnemar_mid_p(right[best], right[weight]) >= 0.05:
            return weight
    return best


def keep_weight(model: Any, weight: float) -> None:
    """Makes the adapter itself the chosen share of it, so that whoever loads it has that."""
    import torch

    with torch.no_grad():
        for matrix in _second_matrices(model):
            matrix.mul_(weight)


def is_untrained(model: Any) -> bool:
    """Whether every B is zero, as before the first step: then no share of the adapter differs."""
    return not any(bool(matrix.detach().any()) for matrix in _second_matrices(model))


def _second_matrices(model: Any) -> list[Any]:
    """Every B of the adapter: W + s·B·A is linear in it."""
    return [parameter for name, parameter in model.named_parameters() if "lora_B" in name]
