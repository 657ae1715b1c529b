"""`afina recipe estimate`: memory, time and cost of a recipe, from a short rehearsal on this machine."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.data.prepare import prepare
from afina.estimates.evaluation import rehearse as rehearse_evaluation
from afina.estimates.training import rehearse as rehearse_training
from afina.language import _
from afina.models.base import find_base
from afina.models.memory import GIB, free_bytes
from afina.models.tokenizer import load_tokens
from afina.recipe import Recipe
from afina.runs.folder import open_run
from afina.runs.prices import price_of
from afina.runs.spending import gpus_in_use, hours_in_words, money, source_in_words

ESTIMATE_SCHEMA = "afina/estimate/1"


@dataclass(frozen=True)
class Estimate:
    """What a recipe will take on this machine.

    Attributes:
        stages: seconds of the stages data, train and evaluate; gate, release and report take seconds.
        parts: the same by part.
        memory_bytes: the peak of training; free_bytes: what there was before.
        steps: without early stopping; shortest: where early stopping could come first.
        hours, gpu_hours, cost: of all stages; cost is None without a price.
        price_per_hour, currency, price: the price, and where it is from.
        over: the limits of train.budget that this would reach.
        rehearsal_seconds: what the estimate itself took.
    """

    stages: dict[str, float]
    parts: dict[str, dict[str, float]]
    memory_bytes: int
    free_bytes: int
    steps: int
    shortest: int
    timed_steps: int
    precision: str
    bits: int
    checkpoint_activations: bool
    hours: float
    gpu_hours: float
    cost: float | None
    price_per_hour: float | None
    currency: str | None
    price: str | None
    over: dict[str, float]
    rehearsal_seconds: float

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"schema": ESTIMATE_SCHEMA, **asdict(self)}

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            _("{steps:,} steps, {precision}, base in {bits} bits; {timed} of them were tried").format(
                steps=self.steps, precision=self.precision, bits=self.bits, timed=self.timed_steps
            ),
            _("memory in training: {total:.1f} GiB of {free:.1f} GiB free").format(
                total=self.memory_bytes / GIB, free=self.free_bytes / GIB
            ),
        ]
        for stage, seconds in self.stages.items():
            parts = ", ".join(
                f"{_(part)} {hours_in_words(value / 3600)}" for part, value in self.parts[stage].items()
            )
            line = f"{_(stage)}: {hours_in_words(seconds / 3600)}"
            lines.append(f"{line} ({parts})" if parts else line)
        lines.append(_("together: {time} on this machine").format(time=hours_in_words(self.hours)))
        if self.shortest < self.steps:
            lines.append(
                _("less if it stops early, which it can from step {step:,} on").format(
                    step=self.shortest
                )
            )
        if self.cost is not None and self.price_per_hour is not None:
            lines.append(
                _(
                    "cost: {cost} ({price:g} an hour: {source}), if that is what this machine costs"
                ).format(
                    cost=money(self.cost, self.currency),
                    price=self.price_per_hour,
                    source=source_in_words(self.price),
                )
            )
            lines.append(_("another machine takes another time: estimate it there"))
        for name, most in self.over.items():
            lines.append(
                _(
                    "train.budget.{name}: {most:g} will not be enough; training would stop before "
                    "its end"
                ).format(name=name, most=most)
            )
        return lines


def estimate_recipe(
    recipe: Recipe, say: Callable[[str], None] = lambda _text: None, seconds: float = 60.0
) -> Estimate:
    """Rehearses a recipe in a temporary folder. Raises AfinaError.

    Args:
        seconds: how long optimizer steps are tried; all else takes about as much again, and fitting and
            statistics what they take.
    """
    began = time.perf_counter()
    price = price_of(recipe.train.budget)
    import torch  # noqa: F401 - in a fresh process it takes seconds, of the train stage

    importing = time.perf_counter() - began
    free = free_bytes()
    _forget_peak()
    parts: dict[str, dict[str, float]] = {"data": {}}
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(recipe, folder)
        say(_("reading the data"))
        started = time.perf_counter()
        base = find_base(recipe.base.model, recipe.base.revision, say)
        tokens = load_tokens(base.folder)
        prepare(recipe, tokens, run.path("data"), say)
        stages = {"data": time.perf_counter() - started}
        say(_("trying the parts of training"))
        training = rehearse_training(run, recipe, base, tokens, seconds)
        training.seconds["loading"] += importing
        say(_("trying the parts of the evaluation"))
        parts |= {"train": training.seconds, "evaluate": rehearse_evaluation(run, recipe)}
    stages |= {stage: sum(parts[stage].values()) for stage in ("train", "evaluate")}
    smaller = [share for share in recipe.evaluate.learning_curve if share < 1]
    if smaller:
        asking = parts["evaluate"]["asking"] * len(smaller)
        parts["curve"] = {"training": sum(smaller) * stages["train"], "asking": asking}
        stages["curve"] = sum(parts["curve"].values())
    hours = sum(stages.values()) / 3600
    gpu_hours = sum(stages[stage] / 3600 * gpus_in_use(stage) for stage in stages)
    cost = hours * price.per_hour if price else None
    budget = recipe.train.budget
    before = hours - stages["evaluate"] / 3600  # the evaluation is not stopped by the budget
    taken = {
        "hours": before,
        "gpu_hours": stages["train"] / 3600 * gpus_in_use("train"),
        "cost": before * price.per_hour if price else 0.0,
    }
    limits = {"hours": budget.hours, "gpu_hours": budget.gpu_hours, "cost": budget.cost}
    return Estimate(
        stages=stages,
        parts=parts,
        memory_bytes=training.memory_bytes,
        free_bytes=free,
        steps=training.steps,
        shortest=training.shortest,
        timed_steps=training.timed_steps,
        precision=training.precision,
        bits=training.bits,
        checkpoint_activations=training.checkpointed,
        hours=hours,
        gpu_hours=gpu_hours,
        cost=cost,
        price_per_hour=price.per_hour if price else None,
        currency=price.currency if price else None,
        price=price.source if price else None,
        over={name: most for name, most in limits.items() if most is not None and taken[name] > most},
        rehearsal_seconds=time.perf_counter() - began,
    )


def _forget_peak() -> None:
    """Lets this process's highest memory begin anew, where Linux allows it, and the GPU's."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
