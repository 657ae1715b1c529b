"""The optimizer: AdamW with the groups of weights that differ in decay and learning rate."""

from __future__ import annotations

from typing import Any

from afina.recipe import Recipe


def make_optimizer(weights: dict[str, Any], head: set[str], recipe: Recipe) -> tuple[Any, list[str]]:
    """AdamW (Loshchilov & Hutter 2019) over the adapter's weights and, at its own rate, the head's.

    Args:
        weights: trained tensors by name; head: the names of those of the pooled head.
    Returns:
        The optimizer, each group of which holds its `share` of the learning rate; and the names in the
        order of the optimizer's state.
    """
    import torch

    settings = recipe.train
    adapter = [name for name in weights if name not in head]
    # Weight decay is for matrices; biases and norms are left out.
    decayed = [name for name in adapter if weights[name].ndim >= 2]
    others = [name for name in adapter if weights[name].ndim < 2]
    fitted = [name for name in weights if name in head]
    shares = {"adapter": 1.0, "head": settings.head_learning_rate / settings.learning_rate}
    groups = [
        (decayed, settings.weight_decay, shares["adapter"]),
        (others, 0.0, shares["adapter"]),
        (fitted, 0.0, shares["head"]),
    ]
    optimizer = torch.optim.AdamW(
        [
            {"params": [weights[name] for name in names], "weight_decay": decay, "share": share}
            for names, decay, share in groups
        ],
        lr=settings.learning_rate,
        fused=True,  # hundreds of small tensors: one call instead of ten a tensor
    )
    return optimizer, [name for names, _decay, _share in groups for name in names]
