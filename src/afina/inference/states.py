"""The forward pass: states of the last layer, their mean, and the loss on trained positions only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from afina.data.batches import Batch, every_row
from afina.data.chat import Encoded
from afina.inference.head_loss import head_losses
from afina.models.load import decoder, fast_decoder, output_head
from afina.models.packed import Packed, common_prefix, pack

# A shorter one costs more in bookkeeping than it saves.
SHORTEST_PREFIX = 8


def mean_states(model: Any, batch: Batch) -> Any:
    """Mean of the last layer's states over each row's own tokens, in fp32; [rows, hidden]."""
    import torch

    fast = fast_decoder(model)
    if fast is not None:
        packed = pack(batch.ids, batch.lengths.tolist())
        states = fast.states(packed).float()
        sums = states.new_zeros(len(batch.rows), states.shape[1])
        return sums.index_add(0, packed.row_of_token(), states) / batch.lengths[:, None]
    states = _padded_states(model, batch).float()
    positions = torch.arange(states.shape[1], device=states.device)
    inside = (positions[None, :] < batch.lengths[:, None]).unsqueeze(-1)
    return (states * inside).sum(dim=1) / batch.lengths[:, None]


def token_losses(model: Any, batch: Batch) -> Any:
    """Cross-entropy in nats of every trained token, in fp32; [trained tokens], row by row.

    The output head is applied only to positions before a trained token.
    """
    where = batch.trained[:, 1:]
    targets = batch.ids[:, 1:][where]
    fast = fast_decoder(model)
    if fast is not None:
        packed = _packed_for_tokens(batch)
        rows, positions = where.nonzero(as_tuple=True)
        packed.wanted = packed.first_token()[rows] + positions - packed.prefix
        return head_losses(output_head(model), fast.states(packed), targets)
    return head_losses(output_head(model), _padded_states(model, batch)[:, :-1][where], targets)


def _padded_states(model: Any, batch: Batch) -> Any:
    """States of the last layer after its norm; [rows, length, hidden]."""
    return decoder(model)(input_ids=batch.ids, use_cache=False).last_hidden_state


def _packed_for_tokens(batch: Batch) -> Packed:
    """The batch's rows packed; the prefix that they share, a question's instruction, is read once."""
    lengths = batch.lengths.tolist()
    prefix = 0
    if len(lengths) > 1:
        # The token before the first trained one stays each row's own: its state is asked for.
        limit = min(int(batch.trained.int().argmax(dim=1).min()) - 1, min(lengths) - 1)
        prefix = common_prefix(batch.ids, limit) if limit >= SHORTEST_PREFIX else 0
    return pack(batch.ids, lengths, prefix if prefix >= SHORTEST_PREFIX else 0)


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
    encoded: Sequence[Encoded],
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
