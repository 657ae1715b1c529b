"""The evaluate stage: writes predictions/ and evaluation.json."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows, test_rows
from afina.evaluation.details import DETAILS, label_details
from afina.evaluation.false_alarms import false_alarms
from afina.evaluation.further import further_models
from afina.evaluation.left_out import measure_left_out
from afina.evaluation.others import OtherModel, enough_rows, say_what_was_seen
from afina.evaluation.overfitting import overfitting
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
from afina.evaluation.shared_rows import own_rows, same_rows
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
_READ = ("base", "tuned")  # whose likelihood of the right label is read


def evaluate(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Measures every model on every test set. Returns evaluation.json's value."""
    labels = list(read_json(run.path("data/audit.json"))["labels"])
    with StopSignal() as stop:
        answers = Answers(run, recipe, labels, stop)
        answers.further = further_models(answers)
        positive_name = answers.settings.positive
        positive = labels.index(positive_name) if positive_name else None
        report = empty_report(recipe.task.kind, labels, positive_name)
        names = ("test", *(test.name for test in recipe.data.test))
        tests = [test_rows(run, recipe, labels, name) for name in names]
        _ask_in_turn(answers, tests, positive, stop)
        for test in tests:
            measure_set(report, answers, test, positive, stop)
        for model in answers.further.values():
            report["prompts"] += model.report()
        if recipe.evaluate.leave_out is not None:
            measure_left_out(report, answers, positive, stop)
        report["overfitting"] = overfitting(answers)
    write_json(run.path("evaluation.json"), report)
    return report


def _ask_in_turn(
    answers: Answers, tests: list[TestRows], positive: int | None, stop: StopSignal
) -> None:
    """Asks one model after the other about every set, so that no two of other weights are in memory.

    What is measured then reads the answers from their files.
    """
    others = [name for name, model in answers.further.items() if isinstance(model, OtherModel)]
    if not others:
        return
    for name in [model for model in answers.models() if model not in others] + others:
        if name == others[0]:
            answers.let_go()
        for test in tests:
            _measure(answers, name, test, positive, stop)
            if written_metrics(answers.recipe):
                part = part_of(test, answers.recipe.evaluate.written_rows, answers.recipe.seed)
                answers.written(name, part)
        if name in others:
            answers.further[name].let_go()


def empty_report(kind: str, labels: list[str], positive: str | None) -> dict[str, Any]:
    """evaluation.json before anything is measured."""
    lists = (
        *("results", "comparisons", *DETAILS, "false_alarms", "gaps", "swaps"),
        *("prompts", "compared", "left_out"),
    )
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
    measured = []
    for model in answers.models():
        one = _measure(answers, model, test, positive, stop)
        other = answers.further.get(model)
        if isinstance(other, OtherModel) and other.run is not None:
            report["compared"].append(say_what_was_seen(model, other, test, one.kept))
        if enough_rows(one.kept):
            measured.append(one)
    _add_set(report, recipe, test, measured, positive, stop)
    for kind in recipe.evaluate.swaps:
        stop.check()
        report["swaps"] += swap_lines(answers, test, kind, positive)
    written = written_metrics(recipe)
    if written:
        part = part_of(test, recipe.evaluate.written_rows, recipe.seed)
        measured = [
            replace(measure_written(answers, model, part, written), kept=_kept(answers, model, part))
            for model in answers.models()
        ]
        measured = [one for one in measured if enough_rows(one.kept)]
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
        losses = answers.losses(model, test)
        if model in answers.further and _other_tokens(losses, answers.losses("tuned", test)):
            wanted.pop("perplexity", None)  # of other tokens: only bits per byte can be compared
        return Measured(model, losses, wanted, _kept(answers, model, test))
    found = label_answers(answers.said(model, test), answers.probabilities(model, test), positive)
    metrics = {
        name: metric
        for name in wanted_metrics(recipe)
        if name not in LIKELIHOOD_METRICS
        and (metric := label_metric(name, test.truth, len(answers.labels), positive))
    }
    likelihoods = [name for name in wanted_metrics(recipe) if name in LIKELIHOOD_METRICS]
    reads = answers.further[model].likelihoods if model in answers.further else model in _READ
    if recipe.task.head == "tokens" and reads and likelihoods:
        metrics |= {name: likelihood_metric(name, first=LABEL_COLUMNS) for name in likelihoods}
        found = np.concatenate([found, answers.losses(model, test)], axis=1)
    return Measured(model, found, metrics, _kept(answers, model, test))


def _kept(answers: Answers, model: str, test: TestRows) -> Any:
    """The rows that a model may be judged on; None for all."""
    return answers.further[model].kept(test) if model in answers.further else None


def _other_tokens(losses: Any, own: Any) -> bool:
    """Whether the right answers of some row are of another number of tokens."""
    return bool(np.any(losses[:, 1] != own[:, 1]))


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
    # A model that is judged on a part of the rows has no place among those judged on all.
    ranked = {one.model for one in measured if one.kept is None}
    report["ranking"][test.name] = _ranking(
        [
            line
            for line in report["results"]
            if line["set"] == test.name and line["slice"] is None and line["model"] in ranked
        ]
    )
    for one in measured if labels else ():
        own, part = own_rows(one, test, len(labels), positive)
        for name, value in label_details(own, part, labels, positive).items():
            report[name].append({"model": one.model, "set": test.name, **value})
    if positive is not None:
        tuned = next(one for one in measured if one.model == "tuned")
        for other in measured:
            stop.check()
            if other.model != "tuned":
                a, b, part = same_rows(tuned, other, test, len(labels), positive)
                found = false_alarms(a, b, part, positive, recipe.seed)
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
    labels = len(report["labels"])
    for whole in measured:
        stop.check()
        one, part = own_rows(whole, test, labels, positive)
        report["results"] += results_of(one, part, positive, recipe.seed)
        for column in recipe.evaluate.slices:
            stop.check()
            lines, gaps = sliced(one, part, column, labels, positive, recipe.seed)
            report["results"] += lines
            report["gaps"] += gaps
    tuned = next(one for one in measured if one.model == "tuned")
    for other in measured:
        if other.model == "tuned":
            continue
        lines = []
        a, b, part = same_rows(tuned, other, test, labels, positive)
        for name in a.metrics:
            if name in b.metrics:
                stop.check()
                lines.append(comparison_of(a, b, name, part, recipe.seed))
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
