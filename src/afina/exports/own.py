"""What the run's own model says, with which every export is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from afina.exports.asked import PROMPTS, Asked, Said, TorchReader, ask, asked_of
from afina.exports.check import top1_share
from afina.inference.engine import Engine
from afina.language import _
from afina.models.load import count_parameters, leave_fast_way, take_fast_way
from afina.models.memory import free_bytes
from afina.runs.folder import Run
from afina.runs.signals import StopSignal

_ROOM = 1.2  # fp32 weights, and what a pass needs beside them


@dataclass(frozen=True)
class Own:
    """The run's own model and what it said.

    Attributes:
        engine: the released model, its adapter on it; in fp32 where it was widened.
        said: next tokens and losses of the reference; labels as the run's own model says them, those of
            a pooled head, by which an export is judged, by the reference's mean states.
        reference: {"computed_in": …, "own_rounding": share of places or None}. A model that computes in
            bf16 is compared by the same weights computed in fp32, since bf16 rounds its own likeliest
            token away at some places; `own_rounding` is the share at which it agrees with itself.
    """

    engine: Engine
    asked: Asked
    said: Said
    reference: dict[str, Any]


def ask_own(run: Run, say: Callable[[str], None], most: int = PROMPTS) -> Own:
    """Loads the released model and asks it the prompts of the check."""
    say(_("asking the run's own model, to compare with"))
    engine = Engine(run.path("release"), say)
    asked = asked_of(run, run.recipe(), engine, most)
    with StopSignal() as stop:
        said = ask(TorchReader(engine.model), asked, stop.check)
        reference: dict[str, Any] = {"computed_in": engine.settings.precision, "own_rounding": None}
        if widen(engine):
            exact = ask(TorchReader(engine.model), asked, stop.check)
            reference = {"computed_in": "fp32", "own_rounding": top1_share(said, exact)}
            said = exact if asked.head is not None else replace(exact, labels=said.labels)
    return Own(engine, asked, said, reference)


def widen(engine: Engine) -> bool:
    """Makes a model that computes in bf16 compute in fp32, with the same weights.

    A base of 4 or 8 bits, and one that would not fit, stay as they are. Returns whether it was done.
    """
    model, settings = engine.model, engine.settings
    if settings.precision != "bf16" or settings.bits != 16:
        return False
    if 4 * count_parameters(model) * _ROOM > free_bytes():
        return False
    leave_fast_way(model)
    model.float()
    take_fast_way(model)
    return True
