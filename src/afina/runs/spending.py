"""What a run has taken: wall time of its stages, at which price; and when its budget is spent.

`spent.json` adds up over resumes. What counts is the wall time of every stage that was worked on, from
its start to its end or to where it was cut off: data, probe, steps, validations, evaluation and so on.
Not counted: the start of Python, the machine's time before and after, and, after a SIGKILL, what was
since the last note (one every twenty seconds and at each checkpoint). A stage taken from an earlier run
costs nothing. Each hour costs what it cost when it was spent; hours without a price cost today's.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from afina.errors import AfinaError, BudgetSpent
from afina.language import _
from afina.recipe import Recipe
from afina.recipe_budget import Budget
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run
from afina.runs.prices import Price, price_of

SPENT_SCHEMA = "afina/spent/1"
FILE = "spent.json"
NOTE_SECONDS = 20.0
# The stages that keep a GPU busy, where there is one.
ON_THE_GPU = ("train", "evaluate", "curve")


@dataclass(frozen=True)
class Spent:
    """What a run has taken so far.

    Attributes:
        hours: of wall time; gpu_hours: those of stages that use GPUs, times the GPUs.
        cost: in `currency`; None without a price.
        price_per_hour, price: today's, and where it is from.
        stages: hours by stage.
        exhausted: whether a limit of the budget is reached.
    """

    hours: float
    gpu_hours: float
    cost: float | None
    currency: str | None
    price_per_hour: float | None
    price: str | None
    stages: dict[str, float]
    exhausted: bool

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        text = _("{hours} of machine time").format(hours=hours_in_words(self.hours))
        if self.gpu_hours:
            text += _(", {hours:.2f} GPU hours").format(hours=self.gpu_hours)
        if self.cost is not None and self.price_per_hour is not None:
            text += _(", {cost} ({price:g} an hour: {source})").format(
                cost=money(self.cost, self.currency),
                price=self.price_per_hour,
                source=source_in_words(self.price),
            )
        return text


def source_in_words(source: str | None, language: str | None = None) -> str:
    """Where a price is from; lines of a price table stay as they are written."""
    return _(source or "", language)


def hours_in_words(hours: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s` or `2 h 7 min`."""
    seconds = hours * 3600
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def money(amount: float, currency: str | None) -> str:
    """`12.30 USD`; small amounts with the digits they need."""
    return f"{amount:.2f} {currency}" if amount >= 1 else f"{amount:.4f} {currency}"


def gpus_in_use(stage: str) -> int:
    """GPUs that a stage of this process group uses: one a process; none without a GPU."""
    if stage not in ON_THE_GPU:
        return 0
    import torch

    return int(os.environ.get("WORLD_SIZE", "1")) if torch.cuda.is_available() else 0


class Meter:
    """Inside `with`, the time of one stage runs; `run.meter` is this."""

    def __init__(
        self, run: Run, recipe: Recipe, stage: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.run, self.stage, self._clock = run, stage, clock
        self._began = self._noted = clock()  # here, since asking for GPUs loads torch
        self.budget = recipe.train.budget
        self.price = price_of(self.budget)
        self.gpus = gpus_in_use(stage)
        self._before = entries_of(run)
        self._require_sense()

    def _require_sense(self) -> None:
        """Refuses limits that could never be reached, or not be counted."""
        if self.budget.gpu_hours is not None and self.stage == "train" and not self.gpus:
            raise AfinaError(
                _("train.budget.gpu_hours is set, and this machine has no GPU that can be used"),
                fix=_("take train.budget.hours: hours of wall time"),
            )
        others = {e["currency"] for e in self._before if e["currency"]} - {self.budget.currency}
        if self.budget.cost is not None and others:
            raise AfinaError(
                _("this run has spent {others} before, and its budget is in {currency}").format(
                    others=", ".join(sorted(others)), currency=self.budget.currency
                ),
                where=str(self.run.path(FILE)),
                fix=_("give cost and price in the currency of before"),
            )

    def __enter__(self) -> Self:
        self.run.meter = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.meter = None
        # A full disk must not hide why the stage stopped.
        with contextlib.suppress(OSError, AfinaError) if kind else contextlib.nullcontext():
            self.note()

    def note(self) -> None:
        """Writes what was spent until now."""
        self._noted = self._clock()
        write_json(self.run.path(FILE), {"schema": SPENT_SCHEMA, "entries": self._entries()})

    def _entries(self) -> list[dict[str, Any]]:
        now: dict[str, Any] = {
            "stage": self.stage,
            "gpus": self.gpus,
            "price_per_hour": self.price.per_hour if self.price else None,
            "currency": self.price.currency if self.price else None,
            "price": self.price.source if self.price else None,
        }
        seconds, found = self._clock() - self._began, []
        for entry in self._before:
            same = all(entry[name] == value for name, value in now.items())
            seconds += entry["seconds"] if same else 0.0
            found += [] if same else [entry]
        return [*found, {**now, "seconds": round(seconds, 3)}]

    def spent(self) -> Spent:
        """What the run has taken until now."""
        return add_up(self._entries(), self.budget, self.price)

    def over(self) -> BudgetSpent | None:
        """The error that says that the budget is spent; None while it is not. Notes now and then."""
        if self._clock() - self._noted > NOTE_SECONDS:
            self.note()
        spent = self.spent()
        return _over(spent, self.budget) if spent.exhausted else None


def over_budget(run: Run) -> Callable[[], BudgetSpent | None]:
    """For StopSignal: asks the run's meter whether training must end."""
    return lambda: run.meter.over() if run.meter is not None else None


def entries_of(run: Run) -> list[dict[str, Any]]:
    """The lines of spent.json. Raises StorageError when it is damaged."""
    path = run.path(FILE)
    return list(read_json(path)["entries"]) if path.exists() else []


def spent_of(run: Run, budget: Budget) -> Spent | None:
    """What a run has taken, by its file; None when nothing is written down."""
    entries = entries_of(run)
    if not entries:
        return None
    return add_up(entries, budget, price_of(budget))


def add_up(entries: list[dict[str, Any]], budget: Budget, price: Price | None) -> Spent:
    """The sums of lines of spent.json, hours without a price at today's."""
    hours = gpu_hours = 0.0
    cost = None
    stages: dict[str, float] = {}
    currency = price.currency if price else next((e["currency"] for e in entries if e["currency"]), None)
    for entry in entries:
        part = entry["seconds"] / 3600
        hours, gpu_hours = hours + part, gpu_hours + part * entry["gpus"]
        stages[entry["stage"]] = stages.get(entry["stage"], 0.0) + part
        rate = entry["price_per_hour"] if entry["currency"] == currency else None
        if rate is None and entry["currency"] is None and price:
            rate = price.per_hour
        if rate is not None:
            cost = (cost or 0.0) + part * rate
    reached = [name for name, spent, most in _limits(hours, gpu_hours, cost, budget) if spent >= most]
    return Spent(
        hours=hours,
        gpu_hours=gpu_hours,
        cost=cost,
        currency=currency,
        price_per_hour=price.per_hour if price else None,
        price=price.source if price else None,
        stages=stages,
        exhausted=bool(reached),
    )


def _limits(
    hours: float, gpu_hours: float, cost: float | None, budget: Budget
) -> list[tuple[str, float, float]]:
    """The limits that are set: (setting, spent, most)."""
    every = (
        ("hours", hours, budget.hours),
        ("gpu_hours", gpu_hours, budget.gpu_hours),
        ("cost", cost or 0.0, budget.cost),
    )
    return [(name, spent, most) for name, spent, most in every if most is not None]


def _over(spent: Spent, budget: Budget) -> BudgetSpent:
    reached = [
        (name, used, most)
        for name, used, most in _limits(spent.hours, spent.gpu_hours, spent.cost, budget)
        if used >= most
    ]
    name, _used, most = reached[0]
    said = ", ".join(f"{one}: {used:.4g} / {limit:g}" for one, used, limit in reached)
    return BudgetSpent(
        _("the budget is spent ({said}): {line}").format(said=said, line=spent.line()),
        where=f"train.budget.{name}",
        fix=_(
            "raise it in the recipe, or give --set train.budget.{name}={more:g} with the recipe, and "
            "run the same command again: it goes on where it stopped, in the same run"
        ).format(name=name, more=2 * most),
    )
