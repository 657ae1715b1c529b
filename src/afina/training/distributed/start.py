"""Where the processes that train together come from: this machine, torchrun, or a Ray cluster."""

from __future__ import annotations

from afina.models.base import FoundBase
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.folder import Run
from afina.training.distributed.torchrun import lead, under_torchrun


def train_together(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens) -> None:
    """Trains by several processes; in the end the run's checkpoints hold the result."""
    if recipe.train.distributed.engine == "ray":
        from afina.training.distributed.ray_job import train_on_ray

        train_on_ray(run, recipe, base)
    elif under_torchrun():
        lead(run, recipe, base, tokens)
    else:
        from afina.training.distributed.launch import train_on_this_machine

        train_on_this_machine(run, recipe, base)
