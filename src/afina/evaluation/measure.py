"""The evaluate stage: writes predictions/ and evaluation.json."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows, test_rows
from afina.evaluation.score import (
    LABEL_METRICS,
    Measured,
    comparison_of,
    label_answers,
    label_metric,
    likelihood_metric,
    results_of,
)
from afina.metrics.labels import confusion
from afina.metrics.statistics import group_count
from afina.recipe import Recipe
from afina.recipe_rules import LIKELIHOOD_METRICS
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal

# The metrics that rank, the first that was measured; 1: less is better.
_BEST_FIRST = (
    ("macro_f1", -1),
    ("accuracy", -1),
    ("auc", -1),
    ("perplexity", 1),
    ("bits_per_byte", 1),
    ("recall", -1),
    ("precision", -1),
    ("false_positive_rate", 1),
)
EVALUATION_SCHEMA = "afina/evaluation/1"


def evaluate(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Measures every model on every test set. Returns evaluation.json's value."""
    labels = list(read_json(run.path("data/audit.json"))["labels"])
    with StopSignal() as stop:
        answers = Answers(run, recipe, labels, stop)
        positive_name = answers.engine.settings.positive
        positive = labels.index(positive_name) if positive_name else None
        report: dict[str, Any] = {
            "schema": EVALUATION_SCHEMA,
            "kind": recipe.task.kind,
            "labels": labels,
            "positive": positive_name,
            "sets": {},
            "ranking": {},
            "results": [],
            "comparisons": [],
            "confusion": [],
        }
        for name in ("test", *(test.name for test in recipe.data.test)):
            test = test_rows(run, recipe, labels, name)
            measured = [_measure(answers, model, test, positive, stop) for model in answers.models()]
            _add_set(report, recipe, test, measured, positive, stop)
    write_json(run.path("evaluation.json"), report)
    return report


def wanted_metrics(recipe: Recipe) -> list[str]:
    """The metrics that a recipe asks for."""
    if recipe.evaluate.metrics != "auto":
        return list(recipe.evaluate.metrics)
    return [*LABEL_METRICS, "perplexity"] if recipe.task.kind == "classify" else list(LIKELIHOOD_METRICS)


def _measure(
    answers: Answers, model: str, test: TestRows, positive: int | None, stop: StopSignal
) -> Measured:
    """A model's answers with the label metrics; those of likelihood come beside, in `_add_set`."""
    stop.check()
    recipe = answers.recipe
    if recipe.task.kind != "classify":
        wanted = {name: likelihood_metric(name) for name in wanted_metrics(recipe)}
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
        metrics |= {name: likelihood_metric(name, first=2) for name in likelihoods}
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
    lines = []
    for one in measured:
        stop.check()
        lines += results_of(one, test, positive, recipe.seed)
        if labels:
            table = confusion(test.truth, one.answers[:, 0].astype(int), len(labels))
            report["confusion"].append({"model": one.model, "set": test.name, "counts": table.tolist()})
    report["results"] += lines
    report["ranking"][test.name] = _ranking(lines)
    tuned = next(one for one in measured if one.model == "tuned")
    for other in measured:
        if other.model != "tuned":
            for name in tuned.metrics:
                if name in other.metrics:
                    stop.check()
                    report["comparisons"].append(comparison_of(tuned, other, name, test, recipe.seed))


def _ranking(lines: list[dict[str, Any]]) -> list[str]:
    """The models, best first, by the first of these that was measured."""
    for metric, sign in _BEST_FIRST:
        values = {line["model"]: line["value"] for line in lines if line["metric"] == metric}
        if values:
            return sorted(values, key=lambda model: sign * values[model])
    return []
