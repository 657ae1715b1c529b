"""The optimizer: AdamW with the groups of weights that differ in decay and learning rate."""

from __future__ import annotations

from functools import partial
from typing import Any

from afina.errors import AfinaError, MissingExtra
from afina.language import _
from afina.models.load import device
from afina.recipe import Recipe


def make_optimizer(weights: dict[str, Any], head: set[str], recipe: Recipe) -> tuple[Any, list[str]]:
    """AdamW (Loshchilov & Hutter 2019) over the trained weights and, at its own rate, the head's.

    Args:
        weights: trained tensors by name; head: the names of those of the pooled head.
    Returns:
        The optimizer, each group of which holds its `share` of the learning rate; and the names in the
        order of the optimizer's state.
    Raises:
        AfinaError: for a paged optimizer without a GPU; MissingExtra without bitsandbytes.
    """
    settings = recipe.train
    adapter = [name for name in weights if name not in head]
    decayed = [name for name in adapter if _is_decayed(name, weights[name])]
    others = [name for name in adapter if not _is_decayed(name, weights[name])]
    fitted = [name for name in weights if name in head]
    shares = {"adapter": 1.0, "head": settings.head_learning_rate / settings.learning_rate}
    groups = [
        (decayed, settings.weight_decay, shares["adapter"]),
        (others, 0.0, shares["adapter"]),
        (fitted, 0.0, shares["head"]),
    ]
    optimizer = _kind(settings.optimizer)(
        [
            {"params": [weights[name] for name in names], "weight_decay": decay, "share": share}
            for names, decay, share in groups
        ],
        lr=settings.learning_rate,
    )
    return optimizer, [name for names, _decay, _share in groups for name in names]


def _is_decayed(name: str, tensor: Any) -> bool:
    """Weight decay is for matrices: biases and norms are left out.

    So are embeddings and output head: decoupled decay would shrink the tokens that no row has.
    """
    vocabulary = "embed_tokens" in name or "lm_head" in name
    return tensor.ndim >= 2 and (not vocabulary or "lora_" in name)


def _kind(name: str) -> Any:
    """What makes the optimizer. bitsandbytes' are those of Dettmers et al. 2022 and 2023."""
    import torch

    if name == "adamw":  # fused: one call for hundreds of small tensors instead of ten a tensor
        return partial(torch.optim.AdamW, fused=True)
    if name.startswith("paged") and device() == "cpu":
        raise AfinaError(
            _("{name} needs a GPU: it moves the GPU's memory to the machine's").format(name=name),
            where="train.optimizer",
            fix=_("set train.optimizer to adamw or adamw_8bit"),
        )
    try:
        from bitsandbytes import optim
    except ImportError:
        raise MissingExtra(
            _("{name} needs bitsandbytes").format(name=name),
            where="train.optimizer",
            fix=_("pip install 'afina[quantize]', or set train.optimizer: adamw"),
        ) from None
    return {
        "adamw_8bit": optim.AdamW8bit,
        "paged_adamw": optim.PagedAdamW32bit,
        "paged_adamw_8bit": optim.PagedAdamW8bit,
    }[name]
