"""Collects the numbers of a run's files into dataclasses; any file but the recipe may be missing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.metric_names import LOWER_IS_BETTER, RANKING, is_share
from afina.recipe import Recipe
from afina.reports.formats import Interval
from afina.reports.words import METRIC_ORDER
from afina.runs.files import read_json
from afina.runs.folder import Run
from afina.runs.spending import Spent, spent_of

STAGES = ("data", "train", "evaluate", "gate")
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Result:
    """One measured value."""

    model: str
    set: str
    slice: dict[str, Any] | None
    metric: str
    value: float | None
    n: int | None
    groups: int | None
    ci95: Interval | None
    method: str


@dataclass(frozen=True)
class Comparison:
    """One paired difference, a minus b."""

    a: str
    b: str
    set: str
    slice: dict[str, Any] | None
    metric: str
    difference: float | None
    ci95: Interval | None
    p_value: float | None
    test: str
    minimum_detectable: float | None
    rows_needed: int | None
    p_holm: float | None = None

    def better(self) -> bool | None:
        """Whether a is better than b; None when the rows cannot tell, or nothing was tested."""
        if self.difference is None or not self.difference or not self.tested():
            return None
        unclear = self.ci95 is not None and self.ci95[0] <= 0 <= self.ci95[1]
        p_value = self.p_value if self.p_holm is None else self.p_holm
        if unclear or (p_value is not None and p_value >= 0.05):
            return None
        return (self.difference < 0) == (self.metric in LOWER_IS_BETTER)

    def tested(self) -> bool:
        """Whether there is an interval or a p-value to decide on."""
        return self.ci95 is not None or self.p_value is not None

    def sees_nothing(self) -> bool:
        """Whether even the largest difference that two shares can have would not be seen."""
        smallest = self.minimum_detectable
        return is_share(self.metric) and smallest is not None and smallest >= 1


@dataclass(frozen=True)
class Confusion:
    """Counts of one model on one set: rows true, columns said."""

    model: str
    set: str
    counts: list[list[int]]


@dataclass(frozen=True)
class Check:
    """One limit of the gate."""

    name: str
    limit: str
    value: float | None
    ci95: Interval | None
    verdict: str
    rows_needed: int | None
    why: str
    groups: int | None = None


@dataclass(frozen=True)
class Gate:
    """What the gate decided."""

    passed: bool
    checks: list[Check]


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json."""

    kind: str
    labels: list[str]
    positive: str | None
    sets: dict[str, dict[str, Any]]
    ranking: dict[str, list[str]]
    results: list[Result]
    comparisons: list[Comparison]
    confusion: list[Confusion]
    by_label: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    reliability: list[dict[str, Any]]
    false_alarms: list[dict[str, Any]]
    gaps: list[dict[str, Any]]
    left_out: list[dict[str, Any]]
    left_out_folds: dict[str, Any] | None
    swaps: list[dict[str, Any]]
    prompts: list[dict[str, Any]] = field(default_factory=list)
    compared: list[dict[str, Any]] = field(default_factory=list)
    overfitting: dict[str, Any] | None = None

    @property
    def main_metric(self) -> str:
        """The metric that ranks the models."""
        return _main_metric(self.results)

    @property
    def main_set(self) -> str | None:
        """The set that the verdict is about."""
        return "test" if "test" in self.sets else next(iter(self.sets), None)

    def result(self, model: str, test_set: str, metric: str) -> Result | None:
        """The value of a model on a whole set."""
        for result in self.results:
            if (result.model, result.set, result.metric, result.slice) == (
                model,
                test_set,
                metric,
                None,
            ):
                return result
        return None

    def comparison(self, a: str, b: str, test_set: str, metric: str) -> Comparison | None:
        """The difference a minus b on a whole set, turned round when it was measured as b minus a."""
        for found in self.comparisons:
            if (found.set, found.metric, found.slice) != (test_set, metric, None):
                continue
            if (found.a, found.b) == (a, b):
                return found
            if (found.a, found.b) == (b, a):
                return _turned(found)
        return None

    def metrics(self, test_set: str) -> list[str]:
        """The metrics measured on a set, the main ones first."""
        found = {result.metric for result in self.results if result.set == test_set}
        known = [metric for metric in METRIC_ORDER if metric in found]
        return known + sorted(found - set(known))

    def models(self, test_set: str) -> list[str]:
        """The models measured on a set, best first."""
        ranked = list(self.ranking.get(test_set, []))
        found = {result.model for result in self.results if result.set == test_set}
        return [model for model in ranked if model in found] + sorted(found - set(ranked))


@dataclass(frozen=True)
class Curves:
    """The points of metrics.jsonl: (step, value)."""

    train_loss: Points = field(default_factory=list)
    validation_loss: Points = field(default_factory=list)
    train_perplexity: Points = field(default_factory=list)
    validation_perplexity: Points = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    """All that a report says about a run, but the rows it shows."""

    title: str
    made_at: str | None
    recipe: Recipe
    resolved: dict[str, Any]
    stage_seconds: dict[str, float]
    audit: dict[str, Any] | None
    train: dict[str, Any] | None
    curves: Curves
    evaluation: Evaluation | None
    gate: Gate | None
    spent: Spent | None = None
    learning_curve: dict[str, Any] | None = None
    profile: dict[str, Any] | None = None


def collect(run: Run) -> Figures:
    """Reads the run's files."""
    marker = _json_or_none(run.path("run.json")) or {}
    recipe = run.recipe()
    evaluation = _json_or_none(run.path("evaluation.json"))
    gate = _json_or_none(run.path("gate.json"))
    states = {stage: _json_or_none(run.path(f"stages/{stage}.json")) for stage in STAGES}
    return Figures(
        title=run.title,
        made_at=marker.get("made_at"),
        recipe=recipe,
        resolved=dict(marker.get("resolved") or {}),
        stage_seconds={
            stage: float(state["seconds"])
            for stage, state in states.items()
            if state and state.get("state", "done") == "done" and state.get("seconds") is not None
        },
        audit=_json_or_none(run.path("data/audit.json")),
        train=_json_or_none(run.path("train.json")),
        curves=_curves(run.path("metrics.jsonl")),
        evaluation=_evaluation(evaluation, recipe.task.kind) if evaluation else None,
        gate=_gate(gate) if gate else None,
        spent=_spent(run, recipe),
        learning_curve=_json_or_none(run.path("learning_curve.json")),
        profile=_json_or_none(run.path("profile.json")),
    )


def _spent(run: Run, recipe: Recipe) -> Spent | None:
    """Machine time and cost; None when a price cannot be read, which must not keep the report away."""
    try:
        return spent_of(run, recipe.train.budget)
    except AfinaError:
        return None


def _json_or_none(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _interval(value: Any) -> Interval | None:
    if not value or value[0] is None or value[1] is None:
        return None
    return float(value[0]), float(value[1])


def _evaluation(value: dict[str, Any], kind: str) -> Evaluation:
    results = [
        Result(
            model=item["model"],
            set=item["set"],
            slice=item.get("slice"),
            metric=item["metric"],
            value=item.get("value"),
            n=item.get("n"),
            groups=item.get("groups"),
            ci95=_interval(item.get("ci95")),
            method=item.get("method") or "",
        )
        for item in value.get("results") or []
    ]
    kind = value.get("kind") or kind
    sets = dict(value.get("sets") or {})
    for result in results:
        sets.setdefault(result.set, {})
    main = _main_metric(results)
    ranking = {name: _ranked(results, name, main) for name in sets} | dict(value.get("ranking") or {})
    return Evaluation(
        kind=kind,
        labels=list(value.get("labels") or []),
        positive=value.get("positive"),
        sets=sets,
        ranking=ranking,
        results=results,
        comparisons=[_comparison(item) for item in value.get("comparisons") or []],
        confusion=[Confusion(c["model"], c["set"], c["counts"]) for c in value.get("confusion") or []],
        by_label=list(value.get("by_label") or []),
        curves=list(value.get("curves") or []),
        reliability=list(value.get("reliability") or []),
        false_alarms=list(value.get("false_alarms") or []),
        gaps=list(value.get("gaps") or []),
        left_out=list(value.get("left_out") or []),
        left_out_folds=value.get("left_out_folds"),
        prompts=list(value.get("prompts") or []),
        compared=list(value.get("compared") or []),
        overfitting=value.get("overfitting"),
        swaps=list(value.get("swaps") or []),
    )


def _main_metric(results: list[Result]) -> str:
    """The first of these that was measured; the order is that of the evaluation's own ranking."""
    measured = {result.metric for result in results}
    return next((metric for metric in RANKING if metric in measured), RANKING[0])


def _ranked(results: list[Result], test_set: str, metric: str) -> list[str]:
    """Models of a set, best first; those without a value are left out."""
    values = {
        result.model: result.value
        for result in results
        if result.set == test_set
        and result.metric == metric
        and result.slice is None
        and result.value is not None
    }
    return sorted(values, key=lambda model: values[model], reverse=metric not in LOWER_IS_BETTER)


def _comparison(item: dict[str, Any]) -> Comparison:
    return Comparison(
        a=item["a"],
        b=item["b"],
        set=item["set"],
        slice=item.get("slice"),
        metric=item["metric"],
        difference=item.get("difference"),
        ci95=_interval(item.get("ci95")),
        p_value=item.get("p_value"),
        test=item.get("test") or "",
        minimum_detectable=item.get("minimum_detectable"),
        rows_needed=item.get("rows_needed"),
        p_holm=item.get("p_holm"),
    )


def _turned(found: Comparison) -> Comparison:
    return Comparison(
        a=found.b,
        b=found.a,
        set=found.set,
        slice=found.slice,
        metric=found.metric,
        difference=None if found.difference is None else -found.difference,
        ci95=None if found.ci95 is None else (-found.ci95[1], -found.ci95[0]),
        p_value=found.p_value,
        test=found.test,
        minimum_detectable=found.minimum_detectable,
        rows_needed=found.rows_needed,
    )


def _gate(value: dict[str, Any]) -> Gate:
    checks = [
        Check(
            name=item.get("name") or "",
            limit=item.get("limit") or "",
            value=item.get("value"),
            ci95=_interval(item.get("ci95")),
            verdict=item.get("verdict") or "undecided",
            rows_needed=item.get("rows_needed"),
            why=item.get("why") or "",
            groups=item.get("groups"),
        )
        for item in value.get("checks") or []
    ]
    return Gate(passed=bool(value.get("passed")), checks=checks)


def _curves(path: Path) -> Curves:
    """The curves of metrics.jsonl; a line cut short by a crash is passed over."""
    curves = Curves()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for text in lines:
        try:
            line = json.loads(text)
            step, loss, perplexity = float(line["step"]), line["loss"], line.get("perplexity")
        except (ValueError, KeyError, TypeError):
            continue
        training = line.get("split") == "train"
        for points, value in (
            (curves.train_loss if training else curves.validation_loss, loss),
            (curves.train_perplexity if training else curves.validation_perplexity, perplexity),
        ):
            if value is not None and math.isfinite(value):
                points.append((step, float(value)))
    return curves
