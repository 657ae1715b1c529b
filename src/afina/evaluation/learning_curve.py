"""From the answers of models trained on parts of the rows to a curve: figures, gains, a power law.

Every model is asked about the same test rows, so that differences are paired. One training at each
share: what another seed would change is not in the intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows
from afina.evaluation.score import (
    Measured,
    comparison_of,
    label_answers,
    label_metric,
    likelihood_metric,
    number,
    results_of,
)
from afina.metrics.power_law import PowerLaw, fit_power_law
from afina.metrics.statistics import ENOUGH_GROUPS, group_count, resamples
from afina.recipe import Recipe

Array = np.ndarray[Any, np.dtype[Any]]
CURVE_SCHEMA = "afina/learning_curve/1"
METRICS = {"classify": ("macro_f1", "accuracy"), "generate": ("perplexity",), "text": ("perplexity",)}
# What the law is asked: how many rows leave so much of the error. Farther than ten times the rows it is
# not asked.
LEFT_OF_ERROR, FARTHEST = 0.75, 10.0
FEWEST_POINTS = 3


@dataclass(frozen=True)
class Point:
    """The models that were fitted on a part of the training rows."""

    share: float
    rows: int
    measured: dict[str, Measured]


def point_of(answers: Answers, test: TestRows, share: float, rows: int) -> Point:
    """Asks the models of one run about the test set; answers that are there are not asked for again."""
    kind = answers.recipe.task.kind
    models = [model for model in answers.models() if model != "base"]
    measured = {}
    for model in models:
        answers.stop.check()
        if kind != "classify":
            metrics = {name: likelihood_metric(name) for name in METRICS[kind]}
            measured[model] = Measured(model, answers.losses(model, test), metrics)
            continue
        found = label_answers(answers.said(model, test), answers.probabilities(model, test), None)
        metrics = {
            name: metric
            for name in METRICS[kind]
            if (metric := label_metric(name, test.truth, len(answers.labels), None))
        }
        measured[model] = Measured(model, found, metrics)
    return Point(share, rows, measured)


def curve(recipe: Recipe, points: list[Point], left_out: list[float], test: TestRows) -> dict[str, Any]:
    """learning_curve.json.

    Args:
        points: the fewest rows first; the last one is the run itself.
        left_out: shares that were asked for and have no part of their own.
    """
    main = METRICS[recipe.task.kind][0]
    return {
        "schema": CURVE_SCHEMA,
        "set": test.name,
        "n": len(test.rows),
        "groups": group_count(test.groups),
        "main_metric": main,
        "left_out": left_out,
        "points": [
            {"share": point.share, "rows": point.rows, **_kept(line)}
            for point in points
            for one in point.measured.values()
            for line in results_of(one, test, None, recipe.seed)
        ],
        "gains": _gains(points, test, recipe.seed),
        "fit": _fit(points, main, test, recipe.seed),
    }


def _kept(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("model", "metric", "value", "ci95", "method")}


def _gains(points: list[Point], test: TestRows, seed: int) -> list[dict[str, Any]]:
    """What the last rows brought: the whole minus the part before it, paired over the test rows."""
    if len(points) < 2:
        return []
    before, whole = points[-2], points[-1]
    lines = []
    for model, one in whole.measured.items():
        for metric in one.metrics:
            found = comparison_of(one, before.measured[model], metric, test, seed)
            wanted = ("metric", "difference", "ci95", "p_value", "test", "minimum_detectable")
            lines.append(
                {
                    "model": model,
                    "from_rows": before.rows,
                    "to_rows": whole.rows,
                    **{name: found[name] for name in wanted},
                }
            )
    return lines


def _errors(points: list[Point], metric: str, rows: Array) -> Array:
    """What the tuned model still lacks on these test rows: loss, or 1 minus the share; [points]."""
    values = np.array(
        [p.measured["tuned"].metrics[metric](p.measured["tuned"].answers, rows) for p in points]
    )
    return np.log(values) if metric == "perplexity" else 1 - values


def _fit(points: list[Point], metric: str, test: TestRows, seed: int) -> dict[str, Any]:
    """A power law through the errors, and how many rows would leave three quarters of the last one.

    Meaningful when there are three points or more, each error is below the one before, the exponent's
    whole 95 % interval (test rows or groups resampled) is above 0, and the rows are at most ten times
    those that there are. `why` says what is missing.
    """
    rows = np.array([point.rows for point in points], dtype=float)
    errors = _errors(points, metric, np.arange(len(test.rows)))
    law = fit_power_law(rows, errors)
    few_groups = test.groups is not None and (group_count(test.groups) or 0) < ENOUGH_GROUPS
    found: dict[str, Any] = {
        "metric": metric,
        "errors": [number(error) for error in errors],
        "exponent": number(law.exponent) if law else None,
        "exponent_ci95": [None, None],
        "target_error": number(LEFT_OF_ERROR * errors[-1]),
        "rows_needed": None,
        "rows_needed_ci95": [None, None],
        "meaningful": False,
    }
    if law is None:
        return {**found, "why": "few_points" if len(points) < 2 else "no_error"}
    if len(points) < FEWEST_POINTS:
        return {**found, "why": "few_points"}
    laws = [
        one
        for part in resamples(len(test.rows), None if few_groups else test.groups, seed)
        if (one := fit_power_law(rows, _errors(points, metric, part)))
    ]
    if laws:
        low, high = np.percentile([one.exponent for one in laws], [2.5, 97.5])
        found["exponent_ci95"] = [float(low), float(high)]
    if not (np.diff(errors) < 0).all():
        return {**found, "why": "not_falling"}
    if few_groups:
        return {**found, "why": "few_groups"}
    if not laws or found["exponent_ci95"][0] <= 0:
        return {**found, "why": "uncertain"}
    return {**found, **_needed(law, laws, float(rows[-1]))}


def _needed(law: PowerLaw, laws: list[PowerLaw], rows: float) -> dict[str, Any]:
    """How many rows leave three quarters of the error, each law starting from its own last error."""
    needed = law.rows(LEFT_OF_ERROR * law.error(rows))
    if not needed <= FARTHEST * rows:
        return {"why": "too_far"}
    spread = [one.rows(LEFT_OF_ERROR * one.error(rows)) for one in laws]
    low, high = np.percentile(spread, [2.5, 97.5])
    return {
        "rows_needed": math.ceil(needed),
        "rows_needed_ci95": [math.floor(low), math.ceil(high) if high <= FARTHEST * rows else None],
        "meaningful": True,
        "why": None,
    }
