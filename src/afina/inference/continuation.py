"""How a model goes on with many beginnings at once, by the likeliest token each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from afina.data.batches import group_by_length
from afina.inference.states import measuring
from afina.models.load import decoder, output_head


def continue_greedily(
    model: Any,
    beginnings: Sequence[list[int]],
    counts: Sequence[int],
    pad: int,
    token_budget: int,
    check: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """The next tokens after each beginning; the same as one beginning after the other, up to rounding.

    End tokens end nothing: a text that was learnt by heart may hold them.

    Args:
        beginnings: token ids, none of them empty; [rows] of [tokens].
        counts: how many tokens are wanted after each; [rows].
        token_budget: tokens, beginning and what follows, that are held at one time.
        check: called before each token.
    Returns:
        Token ids; [rows] of [counts].
    """
    found: list[list[int]] = [[] for _row in beginnings]
    lengths = [len(ids) + count for ids, count in zip(beginnings, counts, strict=True)]
    with measuring(model):
        for group in group_by_length(lengths, range(len(lengths)), token_budget):
            longest = max(counts[row] for row in group)
            part = _continue(model, [beginnings[row] for row in group], longest, pad, check)
            for row, ids in zip(group, part, strict=True):
                found[row] = ids[: counts[row]]
    return found


def left_padded(rows: Sequence[list[int]], pad: int) -> tuple[Any, Any]:
    """Rows that end at the same place, so that each goes on at its own end.

    Returns:
        Token ids, and 1 where a row has one; [rows, length] both.
    """
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    seen = torch.zeros((len(rows), width), dtype=torch.long)
    for row, own in enumerate(rows):
        ids[row, width - len(own) :] = torch.tensor(own)
        seen[row, width - len(own) :] = 1
    return ids, seen


def _continue(
    model: Any, beginnings: list[list[int]], count: int, pad: int, check: Callable[[], None]
) -> list[list[int]]:
    """One batch, padded on the left, so that every row's next token is at the same place."""
    import torch

    ids, seen = left_padded(beginnings, pad)
    given, seen = ids.to(model.device), seen.to(model.device)
    places = (seen.cumsum(dim=1) - 1).clamp(min=0)
    memory, written = None, []
    for step in range(count):
        check()
        done = decoder(model)(
            input_ids=given,
            attention_mask=seen,
            position_ids=places,
            past_key_values=memory,
            use_cache=True,
        )
        memory = done.past_key_values
        given = output_head(model)(done.last_hidden_state[:, -1]).argmax(dim=-1, keepdim=True)
        written.append(given)
        if step + 1 < count:
            seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
            places = places[:, -1:] + 1
    return torch.cat(written, dim=1).tolist() if written else [[] for _row in beginnings]
