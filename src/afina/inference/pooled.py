"""The pooled head: a standardised linear layer on the mean of the last layer's states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from afina.data.batches import every_row
from afina.data.chat import Encoded
from afina.inference.states import mean_states, measuring
from afina.runs.files import atomic

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class PooledHead:
    """logits = weight · ((x − mean) / scale) + bias, x being the mean state of a text.

    Attributes:
        weight: [labels, hidden]; bias: [labels]; mean: [hidden]; scale: [hidden]. All fp32.
    """

    weight: Array
    bias: Array
    mean: Array
    scale: Array

    def logits(self, features: Array) -> Array:
        """Label logits of mean states; [rows, hidden] to [rows, labels]."""
        return np.asarray(((features - self.mean) / self.scale) @ self.weight.T + self.bias)

    def save(self, path: Path) -> None:
        """Writes the head as safetensors."""
        from safetensors.numpy import save_file

        tensors = {
            name: np.ascontiguousarray(value, dtype=np.float32) for name, value in vars(self).items()
        }
        with atomic(path) as temporary:
            save_file(tensors, str(temporary), metadata={"schema": "afina/pooled_head/1"})


def load_head(path: Path) -> PooledHead:
    """Reads a head that `save` wrote."""
    from safetensors.numpy import load_file

    return PooledHead(**load_file(str(path)))


def features_of(
    model: Any,
    encoded: Sequence[Encoded],
    pad: int,
    token_budget: int,
    check: Callable[[int], None] = lambda _tokens: None,
) -> Array:
    """Mean states of texts; [rows, hidden]. `check` is called before each batch with its tokens."""
    if not encoded:
        return np.zeros((0, model.config.hidden_size), dtype=np.float32)
    features: list[Any] = [None] * len(encoded)
    with measuring(model):
        for batch in every_row(encoded, pad, str(model.device), token_budget):
            check(batch.tokens)
            for row, state in zip(batch.rows, mean_states(model, batch).cpu().numpy(), strict=True):
                features[row] = state
    return np.stack(features)
