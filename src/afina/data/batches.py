"""Batches of token ids: rows of like length together, right-padded, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.data.chat import Encoded


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass.

    Attributes:
        rows: which of the given rows these are; [rows].
        ids: token ids, right-padded; [rows, length]. A causal model needs no attention mask for it:
            padding comes after everything that is read.
        lengths: tokens of each row; [rows].
        trained: where the loss is taken on predicting the token; [rows, length].
    """

    rows: list[int]
    ids: Any
    lengths: Any
    trained: Any

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return int(self.lengths.sum())


def make_batch(encoded: Sequence[Encoded], rows: Sequence[int], pad: int, device: str) -> Batch:
    """The named rows as one right-padded batch."""
    import torch

    chosen = [encoded[row] for row in rows]
    longest = max(len(item.ids) for item in chosen)
    ids = torch.full((len(chosen), longest), pad, dtype=torch.long)
    trained = torch.zeros((len(chosen), longest), dtype=torch.bool)
    for index, item in enumerate(chosen):
        ids[index, : len(item.ids)] = torch.tensor(item.ids)
        trained[index, : len(item.ids)] = torch.tensor(item.trained)
    lengths = torch.tensor([len(item.ids) for item in chosen])
    return Batch(list(rows), ids.to(device), lengths.to(device), trained.to(device))


def group_by_length(lengths: Sequence[int], rows: Sequence[int], token_budget: int) -> list[list[int]]:
    """Divides `rows` into groups of like length with at most `token_budget` padded tokens each.

    A row that is longer than the budget is a group of its own.
    """
    groups: list[list[int]] = []
    longest = 0
    for row in sorted(rows, key=lambda row: (lengths[row], row)):
        longest = max(longest, lengths[row])
        if groups and (len(groups[-1]) + 1) * longest <= token_budget:
            groups[-1].append(row)
        else:
            groups.append([row])
            longest = lengths[row]
    return groups


def every_row(encoded: Sequence[Encoded], pad: int, device: str, token_budget: int) -> Iterator[Batch]:
    """All rows once, longest last, for measuring; `Batch.rows` says which they are."""
    lengths = [len(item.ids) for item in encoded]
    for group in group_by_length(lengths, range(len(encoded)), token_budget):
        yield make_batch(encoded, group, pad, device)


def epoch_order(
    lengths: Sequence[int], weights: Sequence[float], batch_rows: int, seed: int, epoch: int
) -> list[list[int]]:
    """The optimizer steps of one epoch: lists of row numbers.

    Rows are shuffled; within stretches of 16 steps they are sorted by length, so that a step's rows are
    of like length and little is padded; then the steps are shuffled. A weight of 2 shows a row twice, a
    weight of 0.5 shows it in a seeded half of the epochs.
    """
    random = np.random.default_rng([seed, epoch])
    whole = np.floor(weights).astype(int)
    part = np.asarray(weights) - whole
    times = whole + (random.random(len(lengths)) < part)
    rows = random.permutation(np.repeat(np.arange(len(lengths)), times))
    stretch = 16 * batch_rows
    steps: list[list[int]] = []
    for start in range(0, len(rows), stretch):
        near = sorted(rows[start : start + stretch].tolist(), key=lambda row: lengths[row])
        steps += [near[begin : begin + batch_rows] for begin in range(0, len(near), batch_rows)]
    return [steps[index] for index in random.permutation(len(steps))]
