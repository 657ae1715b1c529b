"""Rows without labels of a new source: what they tell of how often each label occurs there."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_STEPS = 1000
_STEADY = 1e-9
# A label that the rows seem to hold nowhere keeps this share, or it could never be said again.
_LEAST = 1e-4


def shifted(probabilities: Array, before: Array) -> tuple[Array, Array]:
    """Probabilities for a source where the labels occur as often as its own rows say.

    The expectation-maximisation of Saerens, Latinne and Decaestecker (2002), which assumes that texts of
    one label look alike in both places and that only the labels' shares differ.

    Args:
        probabilities: calibrated, of the new rows; [rows, labels].
        before: the labels' shares in the rows that the model was trained on; [labels].
    Returns:
        The new rows' probabilities, [rows, labels], and the labels' shares there, [labels].
    """
    share = before.astype(np.float64).copy()
    found = probabilities.astype(np.float64)
    for _step in range(_STEPS):
        found = probabilities * (share / before)
        found /= found.sum(axis=1, keepdims=True)
        new = np.maximum(found.mean(axis=0), _LEAST)
        new /= new.sum()
        moved, share = float(np.abs(new - share).max()), new
        if moved < _STEADY:
            break
    return found, share
