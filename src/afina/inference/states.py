"""The forward pass: states of the last layer, their mean, and the loss on trained positions only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from afina.data.batches import Batch, every_row
from afina.data.chat import Encoded
from afina.models.load import decoder, output_head

# Positions whose logits exist at one time: 512 of 128,256 in fp32 are 260 MB, the whole of a long
# batch would be gigabytes.
LOGIT_BLOCK = 512


def last_states(model: Any, batch: Batch) -> Any:
    """States of the last layer after its norm; [rows, length, hidden]."""
    return decoder(model)(input_ids=batch.ids, use_cache=False).last_hidden_state


def mean_states(model: Any, batch: Batch) -> Any:
    """Mean of the last layer's states over each row's own tokens, in fp32; [rows, hidden]."""
    import torch

    states = last_states(model, batch).float()
    positions = torch.arange(states.shape[1], device=states.device)
    inside = (positions[None, :] < batch.lengths[:, None]).unsqueeze(-1)
    return (states * inside).sum(dim=1) / batch.lengths[:, None]


def token_losses(model: Any, batch: Batch) -> Any:
    """Cross-entropy in nats of every trained token, in fp32; [trained tokens], row by row.

    The output head is applied only to positions before a trained token, in blocks whose logits are
    computed again in the backward pass, so that no full logits tensor ever exists.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    states = last_states(model, batch)[:, :-1]
    where = batch.trained[:, 1:]
    chosen, targets = states[where], batch.ids[:, 1:][where]
    head = output_head(model)

    def block(part: Any, goal: Any) -> Any:
        return torch.nn.functional.cross_entropy(head(part).float(), goal, reduction="none")

    losses = []
    for start in range(0, len(targets), LOGIT_BLOCK):
        part, goal = chosen[start : start + LOGIT_BLOCK], targets[start : start + LOGIT_BLOCK]
        if torch.is_grad_enabled():
            losses.append(checkpoint(block, part, goal, use_reentrant=False))
        else:
            losses.append(block(part, goal))
    return torch.cat(losses)


@contextmanager
def measuring(model: Any) -> Iterator[None]:
    """Inside, no gradients and no dropout; afterwards the model is as it was."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def row_losses(
    model: Any,
    encoded: list[Encoded],
    pad: int,
    token_budget: int,
    check: Callable[[], None] = lambda: None,
) -> tuple[list[float], list[int]]:
    """Summed loss in nats and number of trained tokens of each row."""
    sums, counts = [0.0] * len(encoded), [0] * len(encoded)
    with measuring(model):
        for batch in every_row(encoded, pad, str(model.device), token_budget):
            check()
            losses = token_losses(model, batch).double().cpu()
            per_row = batch.trained[:, 1:].sum(dim=1).tolist()
            for row, part in zip(batch.rows, losses.split(per_row), strict=True):
                sums[row], counts[row] = float(part.sum()), len(part)
    return sums, counts
