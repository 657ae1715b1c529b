"""The evaluate stage: writes predictions/ and evaluation.json."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows, test_rows
from afina.evaluation.details import DETAILS, label_details
from afina.evaluation.false_alarms import false_alarms
from afina.evaluation.score import (
    LABEL_COLUMNS,
    Measured,
    comparison_of,
    label_answers,
    label_metric,
    likelihood_metric,
    number,
    results_of,
)
from afina.evaluation.slices import sliced
from afina.evaluation.swaps import swap_lines
from afina.evaluation.written import measure_written, part_of
from afina.metric_names import AUTO_METRICS, LIKELIHOOD_METRICS, LOWER_IS_BETTER, METRICS, RANKING
from afina.metrics.statistics import group_count, holm
from afina.recipe import Recipe
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal

EVALUATION_SCHEMA = "afina/evaluation/1"


def evaluate(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Measures every model on every test set. Returns evaluation.json's value."""
    labels = list(read_json(run.path("data/audit.json"))["labels"])
    with StopSignal() as stop:
        answers = Answers(run, recipe, labels, stop)
        positive_name = answers.engine.settings.positive
        positive = labels.index(positive_name) if positive_name else None
        report = empty_report(recipe.task.kind, labels, positive_name)
        for name in ("test", *(test.name for test in recipe.data.test)):
            measure_set(report, answers, test_rows(run, recipe, labels, name), positive, stop)
    write_json(run.path("evaluation.json"), report)
    return report


def empty_report(kind: str, labels: list[str], positive: str | None) -> dict[str, Any]:
    """evaluation.json before anything is measured."""
    lists = ("results", "comparisons", *DETAILS, "false_alarms", "gaps", "swaps")
    return {
        "schema": EVALUATION_SCHEMA,
        "kind": kind,
        "labels": labels,
        "positive": positive,
        "sets": {},
        "ranking": {},
        **{name: [] for name in lists},
    }


def measure_set(
    report: dict[str, Any], answers: Answers, test: TestRows, positive: int | None, stop: StopSignal
) -> None:
    """Asks every model about a set and adds what comes of it to the report."""
    recipe = answers.recipe
    measured = [_measure(answers, model, test, positive, stop) for model in answers.models()]
    _add_set(report, recipe, test, measured, positive, stop)
    for kind in recipe.evaluate.swaps:
        stop.check()
        report["swaps"] += swap_lines(answers, test, kind, positive)
    written = written_metrics(recipe)
    if written:
        part = part_of(test, recipe.evaluate.written_rows, recipe.seed)
        measured = [measure_written(answers, model, part, written) for model in answers.models()]
        _add_results(report, recipe, part, measured, None, stop)


def written_metrics(recipe: Recipe) -> list[str]:
    """The metrics of written answers that a recipe asks for."""
    return [name for name in wanted_metrics(recipe) if METRICS[name].needs == "text"]


def wanted_metrics(recipe: Recipe) -> list[str]:
    """The metrics that a recipe asks for."""
    if recipe.evaluate.metrics != "auto":
        return list(recipe.evaluate.metrics)
    return list(AUTO_METRICS[recipe.task.kind])


def _measure(
    answers: Answers, model: str, test: TestRows, positive: int | None, stop: StopSignal
) -> Measured:
    """A model's answers with the label metrics; those of likelihood come beside, in `_add_set`."""
    stop.check()
    recipe = answers.recipe
    if recipe.task.kind != "classify":
        wanted = {
            name: likelihood_metric(name)
            for name in wanted_metrics(recipe)
            if name in LIKELIHOOD_METRICS
        }
        return Measured(model, answers.losses(model, test), wanted)
    found = label_answers(answers.said(model, test), answers.probabilities(model, test), positive)
    metrics = {
        name: metric
        for name in wanted_metrics(recipe)
        if name not in LIKELIHOOD_METRICS
        and (metric := label_metric(name, test.truth, len(answers.labels), positive))
    }
    likelihoods = [name for name in wanted_metrics(recipe) if name in LIKELIHOOD_METRICS]
    if recipe.task.head == "tokens" and model in ("base", "tuned") and likelihoods:
        metrics |= {name: likelihood_metric(name, first=LABEL_COLUMNS) for name in likelihoods}
        found = np.concatenate([found, answers.losses(model, test)], axis=1)
    return Measured(model, found, metrics)


def _add_set(
    report: dict[str, Any],
    recipe: Recipe,
    test: TestRows,
    measured: list[Measured],
    positive: int | None,
    stop: StopSignal,
) -> None:
    labels = report["labels"]
    counts = Counter(str(row.label) for row in test.rows) if labels else Counter()
    report["sets"][test.name] = {
        "rows": len(test.rows),
        "groups": group_count(test.groups),
        "labels": {label: counts[label] for label in labels},
    }
    _add_results(report, recipe, test, measured, positive, stop)
    report["ranking"][test.name] = _ranking(
        [line for line in report["results"] if line["set"] == test.name and line["slice"] is None]
    )
    for one in measured if labels else ():
        for name, value in label_details(one, test, labels, positive).items():
            report[name].append({"model": one.model, "set": test.name, **value})
    if positive is not None:
        tuned = next(one for one in measured if one.model == "tuned")
        for other in measured:
            stop.check()
            if other.model != "tuned":
                found = false_alarms(tuned, other, test, positive, recipe.seed)
                report["false_alarms"] += [found] if found else []


def _add_results(
    report: dict[str, Any],
    recipe: Recipe,
    test: TestRows,
    measured: list[Measured],
    positive: int | None,
    stop: StopSignal,
) -> None:
    """Each model's figures, whole and by slices; the tuned model's comparison with each other one."""
    for one in measured:
        stop.check()
        report["results"] += results_of(one, test, positive, recipe.seed)
        for column in recipe.evaluate.slices:
            stop.check()
            lines, gaps = sliced(one, test, column, len(report["labels"]), positive, recipe.seed)
            report["results"] += lines
            report["gaps"] += gaps
    tuned = next(one for one in measured if one.model == "tuned")
    for other in measured:
        if other.model == "tuned":
            continue
        lines = []
        for name in tuned.metrics:
            if name in other.metrics:
                stop.check()
                lines.append(comparison_of(tuned, other, name, test, recipe.seed))
        for line, p_value in zip(lines, holm([_or_nan(line) for line in lines]), strict=True):
            report["comparisons"].append({**line, "p_holm": number(p_value)})


def _or_nan(line: dict[str, Any]) -> float:
    return math.nan if line["p_value"] is None else float(line["p_value"])


def _ranking(lines: list[dict[str, Any]]) -> list[str]:
    """The models, best first, by the first of these that was measured."""
    for metric in RANKING:
        sign = 1 if metric in LOWER_IS_BETTER else -1
        values = {line["model"]: line["value"] for line in lines if line["metric"] == metric}
        if values:
            return sorted(values, key=lambda model: sign * values[model])
    return []
