"""Perplexity, weighted by token, and bits per byte: over all tokens, not over rows or batches."""

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


def bits_per_byte(loss_sums: Sequence[float], byte_counts: Sequence[float]) -> float:
    """Total loss in bits / UTF-8 bytes of the text that was predicted; NaN without bytes.

    Unlike perplexity it compares models with different tokenizers (Gao et al. 2020, "The Pile").
    """
    size = sum(byte_counts)
    return sum(loss_sums) / math.log(2) / size if size else math.nan
