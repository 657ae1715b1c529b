"""Turns a base model into one that trains: an adapter or all weights, and noise if it is wanted."""

from __future__ import annotations

from typing import Any

from afina.models.full import train_everything
from afina.models.load import attach_adapter, leave_fast_way
from afina.models.noise import Draws, EmbeddingNoise
from afina.recipe import Recipe


def make_trainable(model: Any, recipe: Recipe, base_id: str, pad: int) -> Any:
    """The model with what the recipe trains.

    Args:
        base_id: what the adapter's files name as their base. pad: the id that fills up rows.
    Returns:
        A model whose trained tensors require gradients, and whose `dropout_masks.at(step, micro_batch)`
        is called before each forward pass in training.
    """
    full = recipe.adapter.kind == "full"
    tuned = (
        train_everything(model) if full else attach_adapter(model, recipe.adapter, base_id, recipe.seed)
    )
    draws = [] if full else [tuned.dropout_masks]
    if recipe.train.neftune_alpha is not None:
        noise = EmbeddingNoise(recipe.train.neftune_alpha, recipe.seed, pad)
        noise.attach(tuned)
        leave_fast_way(tuned)  # the noise is for padded rows, one by one
        draws.append(noise)
    if full or len(draws) > 1:
        tuned.dropout_masks = Draws(*draws)
    return tuned
