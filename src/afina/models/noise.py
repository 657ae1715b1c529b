"""NEFTune: noise on the embeddings in training, drawn from a counter as dropout masks are.

Jain et al. 2023, "NEFTune: Noisy Embeddings Improve Instruction Finetuning".
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

_KEY = zlib.crc32(b"embeddings")


class EmbeddingNoise:
    """Uniform noise in [-m, m], m = alpha / sqrt(L · d), L being the row's tokens without padding.

    Depends only on seed, step and micro-batch: going on from a checkpoint draws the same.

    Args:
        alpha: scale; the expected norm of a row's noise is alpha / sqrt(3).
        seed: of all noise. pad: the id that rows are filled up with at their end.
    """

    def __init__(self, alpha: float, seed: int, pad: int) -> None:
        self.alpha, self._seed, self._pad = alpha, seed, pad
        self._place = (0, 0)

    def at(self, step: int, micro_batch: int) -> None:
        """Says which forward pass comes next."""
        self._place = (step, micro_batch)

    def attach(self, model: Any) -> None:
        """Adds the noise to a model's embeddings while it trains, never while it is evaluated."""
        model.get_input_embeddings().register_forward_hook(self._hook)

    def _hook(self, module: Any, given: tuple[Any, ...], embedded: Any) -> Any:
        return embedded + self.draw(given[0], embedded) if module.training else embedded

    def draw(self, ids: Any, embedded: Any) -> Any:
        """Noise like `embedded`, [rows, length, width], for ids [rows, length]."""
        import torch

        state = [self._seed, *self._place, _KEY]
        if embedded.device.type == "cpu":
            random = np.random.Generator(np.random.SFC64(state))
            uniform = torch.from_numpy(random.random(tuple(embedded.shape), dtype=np.float32))
        else:
            generator = torch.Generator(embedded.device)
            generator.manual_seed(
                int(np.random.SeedSequence(state).generate_state(1, np.uint64)[0] >> 1)
            )
            uniform = torch.rand(embedded.shape, generator=generator, device=embedded.device)
        lengths = ids.shape[1] - (ids.flip(1) != self._pad).int().argmax(dim=1)
        largest = self.alpha / (lengths * embedded.shape[-1]).sqrt()
        return ((2 * uniform - 1) * largest[:, None, None]).to(embedded.dtype)


class Draws:
    """All that is drawn anew in each forward pass of a model: told of it together."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def at(self, step: int, micro_batch: int) -> None:
        """Says which forward pass comes next."""
        for part in self._parts:
            part.at(step, micro_batch)
