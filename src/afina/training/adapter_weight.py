"""How much of a trained adapter is released: less of it holds better on sources never seen.

W + w·s·B·A lies for 0 < w < 1 between the base, which the pooled head was fitted on, and the tuned one.
Such models between are often as good on known data and better elsewhere: Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
WEIGHTS = (0.25, 0.5, 0.75, 1.0)
# Fewer validation rows decide nothing.
FEWEST_ROWS = 20


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
    """The least weight whose accuracy is within one standard error of the best one's.

    The error is that of the difference on the same rows; the rule is that of Breiman et al. 1984.

    Args:
        logits: by weight; each [rows, labels]. truth: label codes; [rows].
    """
    right = {weight: (given.argmax(axis=1) == truth).astype(int) for weight, given in logits.items()}
    best = max(right, key=lambda weight: (right[weight].mean(), -weight))
    for weight in sorted(right):
        lost = right[best] - right[weight]
        if lost.sum() <= math.sqrt(np.abs(lost).sum()):
            return weight
    return best


def keep_weight(model: Any, weight: float) -> None:
    """Makes the adapter itself the chosen share of it, so that whoever loads it has that."""
    import torch

    with torch.no_grad():
        for matrix in _second_matrices(model):
            matrix.mul_(weight)


def _second_matrices(model: Any) -> list[Any]:
    """Every B of the adapter: W + s·B·A is linear in it."""
    return [parameter for name, parameter in model.named_parameters() if "lora_B" in name]
