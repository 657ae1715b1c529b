"""What `auto` becomes: precision, bits and activation checkpointing, chosen once and kept on resume."""

from __future__ import annotations

from afina.models.base import FoundBase
from afina.models.memory import estimate_memory, free_bytes
from afina.models.precision import choose_precision
from afina.recipe import Recipe
from afina.runs.folder import Run


def resolve_auto(run: Run, recipe: Recipe, base: FoundBase) -> tuple[str, int, bool]:
    """Precision, bits and activation checkpointing of this run: chosen once, kept on resume."""
    known = run.resolved()
    precision = known.get("train.precision") or choose_precision(recipe.train.precision)
    bits, checkpointed = choose_memory(recipe, base, precision, free_bytes())
    bits = known.get("base.bits", bits)
    checkpointed = known.get("train.checkpoint_activations", checkpointed)
    run.resolve(base__bits=bits, train__precision=precision, train__checkpoint_activations=checkpointed)
    return precision, bits, checkpointed


def choose_memory(recipe: Recipe, base: FoundBase, precision: str, free: int) -> tuple[int, bool]:
    """Bits of the base and whether activations are computed again, so that `free` bytes are enough.

    Takes the first that fits of: 16 bits, then with activation checkpointing, then 8 and 4 bits with it.
    """
    wanted_bits, wanted = recipe.base.bits, recipe.train.checkpoint_activations
    choices = [(16, False), (16, True)]
    if recipe.adapter.kind != "full":  # weights of fewer bits cannot be trained
        choices += [(8, True), (4, True), (8, False), (4, False)]
    allowed = [
        (bits, checkpointed)
        for bits, checkpointed in choices
        if wanted_bits in ("auto", bits) and wanted in ("auto", checkpointed)
    ]
    for bits, checkpointed in allowed:
        if estimate_memory(base.folder, recipe, precision, bits, checkpointed).total <= 0.9 * free:
            return bits, checkpointed
    free_choice = wanted_bits == "auto" and wanted == "auto" and recipe.adapter.kind != "full"
    return (4, True) if free_choice else allowed[-1]
