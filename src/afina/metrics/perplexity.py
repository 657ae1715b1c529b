"""Perplexity, weighted by token: exp of the mean loss over all tokens, not over rows or batches."""

from __future__ import annotations

import math
from collections.abc import Sequence


def perplexity(loss_sums: Sequence[float], token_counts: Sequence[int]) -> float:
    """exp(total loss in nats / total tokens). Infinite above exp(700); NaN without tokens."""
    tokens = sum(token_counts)
    if not tokens:
        return math.nan
    mean = sum(loss_sums) / tokens
    return math.exp(mean) if mean < 700 else math.inf
