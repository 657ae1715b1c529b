"""The output head and its cross-entropy in blocks: no full logits tensor ever exists."""

from __future__ import annotations

from typing import Any

import torch

# Positions whose logits exist at one time: 512 of 128,256 in fp32 are 260 MB, the whole of a long
# batch would be gigabytes.
LOGIT_BLOCK = 512


def head_losses(head: Any, states: Any, targets: Any) -> Any:
    """Cross-entropy in nats of each target, in fp32; [targets].

    Args:
        head: the output layer, a linear one without bias or with.
        states: of the positions before the targets; [targets, hidden].
        targets: token ids; [targets].
    """
    if torch.is_grad_enabled() and (head.weight.requires_grad or head.bias is not None):
        return _checkpointed(head, states, targets)
    return _FrozenHeadLoss.apply(states, head, targets)  # type: ignore[no-untyped-call]


class _FrozenHeadLoss(torch.autograd.Function):
    """Loss and gradient of a block at once, so that its logits are computed only once.

    The gradient of a token's loss by its logits is softmax - one-hot; the rows of it are scaled by what
    comes from above only in the backward pass, since that is one number a token.
    """

    @staticmethod
    def forward(ctx: Any, states: Any, head: Any, targets: Any) -> Any:
        losses = torch.empty(len(targets), dtype=_wide(states), device=states.device)
        grads = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), LOGIT_BLOCK):
            block = slice(start, start + LOGIT_BLOCK)
            logits = head(states[block]).to(losses.dtype)
            goal = targets[block, None]
            total = logits.logsumexp(dim=-1, keepdim=True)
            losses[block] = (total - logits.gather(1, goal)).squeeze(1)
            if grads is not None:
                odds = logits.sub_(total).exp_()
                odds.scatter_add_(1, goal, odds.new_full(goal.shape, -1.0))
                grads[block] = odds.to(states.dtype) @ head.weight
        ctx.save_for_backward(grads)
        return losses

    @staticmethod
    def backward(ctx: Any, *above: Any) -> Any:
        (grads,) = ctx.saved_tensors
        return grads * above[0][:, None].to(grads.dtype), None, None


def _checkpointed(head: Any, states: Any, targets: Any) -> Any:
    """The same for a head that is trained: logits are computed again in the backward pass."""
    from torch.utils.checkpoint import checkpoint

    def block(part: Any, goal: Any) -> Any:
        logits = head(part)
        return torch.nn.functional.cross_entropy(logits.to(_wide(logits)), goal, reduction="none")

    return torch.cat(
        [
            checkpoint(
                block,
                states[start : start + LOGIT_BLOCK],
                targets[start : start + LOGIT_BLOCK],
                use_reentrant=False,
            )
            for start in range(0, len(targets), LOGIT_BLOCK)
        ]
    )


def _wide(x: Any) -> Any:
    """The format of sums: fp32, or the values' own where that is wider."""
    return torch.promote_types(x.dtype, torch.float32)
