"""Full fine-tuning: every weight is trained in fp32, whatever number format the model computes in.

A bf16 model keeps 8 bits of each weight: a step of a small learning rate would be rounded away. So fp32
copies are trained (Micikevicius et al. 2018, "Mixed Precision Training"), gradients are added up in
fp32, and the model's own weights follow, rounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from afina.models.load import leave_fast_way
from afina.models.tokenizer import Tokens

_FOLLOWERS = "afina_followers"


def train_everything(model: Any) -> Any:
    """The model with all its weights trained: layers, norms, embeddings and output head."""
    leave_fast_way(model)
    model.requires_grad_(True)
    return model


def trained_weights(model: Any) -> dict[str, Any]:
    """What an optimizer works on, by name: the model's trained tensors, or fp32 copies of them.

    A copy takes the gradient of its tensor after each backward pass; `follow` brings its values back.
    """
    import torch

    weights: dict[str, Any] = {}
    followers: list[tuple[Any, Any]] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.dtype == torch.float32:
            weights[name] = parameter
            continue
        copy = parameter.detach().float().requires_grad_(True)
        parameter.register_post_accumulate_grad_hook(_Collector(copy))
        weights[name] = copy
        followers.append((copy, parameter))
    setattr(model, _FOLLOWERS, followers)
    return weights


def follow(model: Any, *_given: Any) -> None:
    """Rounds the fp32 copies into the model's own weights; nothing where there are no copies."""
    import torch

    with torch.no_grad():
        for copy, parameter in getattr(model, _FOLLOWERS, []):
            parameter.copy_(copy)


def save_model(model: Any, tokens: Tokens, folder: Path) -> None:
    """Writes a whole model as others load it: safetensors in parts of 4 GB at most, configuration,
    generation settings with every id that ends an answer, tokenizer with its chat template."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        bos_token_id=tokens.bos, eos_token_id=sorted(tokens.ends), pad_token_id=tokens.pad
    )
    model.save_pretrained(str(folder), max_shard_size="4GB")
    given = tokens.tokenizer.chat_template
    tokens.tokenizer.chat_template = tokens.template
    try:
        tokens.tokenizer.save_pretrained(str(folder))
    finally:
        tokens.tokenizer.chat_template = given


class _Collector:
    """Moves a tensor's gradient to its fp32 copy as soon as it is there."""

    def __init__(self, copy: Any) -> None:
        self.copy = copy

    def __call__(self, parameter: Any) -> None:
        gradient, parameter.grad = parameter.grad.float(), None
        self.copy.grad = gradient if self.copy.grad is None else self.copy.grad.add_(gradient)
