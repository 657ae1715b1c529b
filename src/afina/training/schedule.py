"""The learning rate at each step: a linear rise, then cosine, linear or constant."""

from __future__ import annotations

import math


def learning_rate_at(step: int, total: int, peak: float, schedule: str, warmup_ratio: float) -> float:
    """Learning rate of optimizer step `step` (from 0) of `total`.

    The cosine is that of Loshchilov & Hutter 2017 (SGDR) without restarts, ending at zero.
    """
    warmup = math.ceil(warmup_ratio * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "linear":
        return peak * (1 - done)
    return peak
