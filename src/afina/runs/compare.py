"""Runs side by side: how far each one is, its main figure, and what differs between runs.

A run may be half done or damaged: what can be read is shown, and the damage is named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from afina.errors import AfinaError
from afina.language import _
from afina.recipe_file import Yaml12Loader
from afina.runs.files import read_json
from afina.runs.folder import Run, list_runs
from afina.runs.spending import FILE as SPENT_FILE
from afina.runs.spending import Spent, spent_of
from afina.runs.stages import is_done, state_of

ORDER = ("data", "train", "evaluate", "gate", "release", "report")
MAIN_METRICS = ("macro_f1", "perplexity")
State = Literal["done", "waiting", "stopped", "interrupted", "working", "damaged", "empty"]
_ON_PURPOSE = (
    "Interrupted",
    "Stopped",
    "BudgetSpent",
    "KeyboardInterrupt",
    "Unwound",
    "Abort",
    "SystemExit",
)
_UNREADABLE = (AfinaError, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)


@dataclass(frozen=True)
class Figure:
    """One measured value; low and high bound its 95 % interval, where there is one."""

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int | None


@dataclass(frozen=True)
class RunSummary:
    """One run in a line.

    Attributes:
        title: `phishing@2`; folder: where its files are.
        state: done; waiting (its next stage was not begun); stopped (by an error); interrupted (by a
            person, a signal or a crash); working (a process has it); damaged; empty.
        stage: the one it stands at; None when it is done, empty or cannot be known.
        gate: what the gate said; None before it was asked.
        figure: of the tuned model on the test set: macro-F1, or perplexity.
        seconds: spent in its own stages; size_bytes: of all its files.
        damage: what cannot be read.
        spent: machine time and cost so far (runs/spending.py); None when nothing is written down.
    """

    title: str
    folder: str
    state: State
    stage: str | None
    made_at: str | None
    base: str | None
    kind: str | None
    gate: bool | None
    figure: Figure | None
    seconds: float
    size_bytes: int
    damage: tuple[str, ...]
    spent: Spent | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


@dataclass(frozen=True)
class SettingDifference:
    """A setting by its dotted name, with the value in each run; None where it has none."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class FigureRow:
    """One figure by set, model and metric, in each run; None where it was not measured."""

    set: str
    model: str
    metric: str
    values: tuple[Figure | None, ...]


@dataclass(frozen=True)
class RunComparison:
    """What differs between runs; every tuple of values is in the order of `titles`."""

    titles: tuple[str, ...]
    settings: tuple[SettingDifference, ...]
    figures: tuple[FigureRow, ...]
    damage: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"schema": "afina/comparison/1", **asdict(self)}


class _Reader:
    """Reads a run's files and notes those that cannot be read."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.damage: list[str] = []

    def attempt(self, name: str, read: Callable[[Path], Any]) -> Any:
        """What `read` makes of a file of the run; None when it is absent or damaged."""
        path = self.run.path(name)
        if not path.exists():
            return None
        try:
            return read(path)
        except _UNREADABLE as error:
            what = error.what if isinstance(error, AfinaError) else f"{type(error).__name__}: {error}"
            self.damage.append(f"{name}: {what.splitlines()[0] if what else ''}")
            return None

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON object; empty when it is absent or damaged."""
        return self.attempt(name, lambda path: _mapping(read_json(path))) or {}

    def settings(self) -> dict[str, Any]:
        """The recipe as written, nested; old forms of recipes too."""

        def read(path: Path) -> dict[str, Any]:
            return _mapping(yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml12Loader))  # noqa: S506

        return self.attempt("recipe.yaml", read) or {}


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(_("this does not hold what belongs here"))
    return value


def summaries(runs: str) -> list[RunSummary]:
    """Every run of a folder or URI, by name and number; damaged ones too."""
    return [summarize(run) for run in list_runs(runs)]


def summarize(run: Run) -> RunSummary:
    """One run in a line."""
    reader = _Reader(run)
    marker, recipe = reader.mapping("run.json"), reader.settings()
    files = [path for path in run.root.rglob("*") if path.is_file() and path.name != ".lock"]
    decided = reader.mapping("gate.json").get("passed")
    gate = decided if isinstance(decided, bool) else None
    state, stage = _state(reader, gate)
    if not files:
        state, stage = "empty", None
    else:
        for name in ("run.json", "recipe.yaml"):
            if not run.path(name).exists():
                reader.damage.append(_("{file} is missing").format(file=name))
    spent = reader.attempt(SPENT_FILE, lambda _path: spent_of(run, run.recipe().train.budget))
    figures = _figures(reader)
    main = [figures[key] for metric in MAIN_METRICS if (key := ("test", "tuned", metric)) in figures]
    return RunSummary(
        title=run.title,
        folder=str(run.root),
        state="damaged" if reader.damage else state,
        stage=stage,
        made_at=_text(marker.get("made_at")),
        base=_text(_inner(recipe, "base", "model")),
        kind=_text(_inner(recipe, "task", "kind")),
        gate=gate,
        figure=main[0] if main else None,
        seconds=_seconds(run),
        size_bytes=sum(path.lstat().st_size for path in files if path.exists()),
        damage=tuple(reader.damage),
        spent=spent,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _inner(recipe: dict[str, Any], section: str, name: str) -> Any:
    inner = recipe.get(section)
    return inner.get(name) if isinstance(inner, dict) else inner if section == "base" else None


def _state(reader: _Reader, gate: bool | None) -> tuple[State, str | None]:
    """How far a run is, and the first stage that still needs doing."""
    run = reader.run
    wanted = [name for name in ORDER if name != "release" or gate is not False]
    for name in wanted:
        state = reader.attempt(f"stages/{name}.json", lambda path: _mapping(read_json(path)))
        if state is None:
            begun = run.path(f"stages/{name}.json").exists()
        elif reader.attempt(f"stages/{name}.json", lambda _path, name=name: is_done(run, name)):  # type: ignore[misc]
            continue
        else:
            begun = state.get("state") == "stopped"
        if is_locked(run):
            return "working", name
        if not begun:
            return "waiting", name
        return ("stopped" if _ended_by_error(run) else "interrupted"), name
    return "done", None


def is_locked(run: Run) -> bool:
    """Whether a process is working on this run."""
    path = run.path(".lock")
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _ended_by_error(run: Run) -> bool:
    """Whether the last event is an end by an error; a crash or a kill leaves no such event."""
    path = run.path("events.jsonl")
    try:
        last = json.loads(path.read_text(encoding="utf-8").rstrip().rpartition("\n")[2])
        return last["event"] == "stopped" and last.get("error") not in _ON_PURPOSE
    except _UNREADABLE:
        return False


def _seconds(run: Run) -> float:
    """Time spent in the run's own stages; those taken from an earlier run cost it nothing."""
    total = 0.0
    for name in ORDER:
        try:
            state = state_of(run, name) or {}
            total += 0.0 if state.get("reused_from") else float(state.get("seconds", 0.0))
        except _UNREADABLE:
            continue
    return round(total, 3)


def _figures(reader: _Reader) -> dict[tuple[str, str, str], Figure]:
    """The figures of evaluation.json over whole sets, by set, model and metric."""
    found = {}
    lines = reader.mapping("evaluation.json").get("results", [])
    for line in lines if isinstance(lines, list) else []:
        try:
            if line.get("slice") is None and math.isfinite(line["value"]):
                low, high = (
                    None if end is None else float(end) for end in line.get("ci95") or (None, None)
                )
                key = (str(line["set"]), str(line["model"]), str(line["metric"]))
                found[key] = Figure(key[2], float(line["value"]), low, high, line.get("n"))
        except _UNREADABLE:
            what = _("a line of results cannot be read")
            if f"evaluation.json: {what}" not in reader.damage:
                reader.damage.append(f"evaluation.json: {what}")
    return found


def compare_runs(runs: list[Run]) -> RunComparison:
    """What differs between runs: settings by dotted name, figures side by side.

    A run whose recipe cannot be read takes no part in deciding which settings differ.
    """
    readers = [_Reader(run) for run in runs]
    settings = [_settings(reader) for reader in readers]
    readable = [one for one in settings if one]
    names = dict.fromkeys(name for one in readable for name in one)
    missing = object()
    differing = [
        SettingDifference(name, tuple(one.get(name) for one in settings))
        for name in names
        if any(one.get(name, missing) != readable[0].get(name, missing) for one in readable)
    ]
    figures = [_figures(reader) for reader in readers]
    keys = dict.fromkeys(key for one in figures for key in one)
    return RunComparison(
        titles=tuple(run.title for run in runs),
        settings=tuple(differing),
        figures=tuple(FigureRow(*key, tuple(one.get(key) for one in figures)) for key in keys),
        damage=tuple(f"{reader.run.title}: {what}" for reader in readers for what in reader.damage),
    )


def _settings(reader: _Reader) -> dict[str, Any]:
    """All settings of a run by dotted name, with what each `auto` became."""
    flat = _flat(reader.settings())
    resolved = reader.mapping("run.json").get("resolved")
    if flat and isinstance(resolved, dict):
        flat.update(resolved)
    return flat


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name: {"gate.0.max": 0.05}; lists of plain values stay whole."""
    if isinstance(value, dict) and value:
        entries = [(str(name), inner) for name, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        entries = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return {prefix.rstrip("."): value} if prefix else {}
    return {name: one for key, inner in entries for name, one in _flat(inner, f"{prefix}{key}.").items()}
