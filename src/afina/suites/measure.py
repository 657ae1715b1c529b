"""The suites stage: writes suites/TASK/MODEL.json and suites.json.

A task that was answered is not asked again, so that an interrupted stage goes on.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from afina.evaluation.score import number
from afina.inference.engine import Engine
from afina.language import _
from afina.metrics.statistics import (
    Comparison,
    Interval,
    bootstrap,
    compare,
    group_count,
    holm,
    resamples,
    wilson,
)
from afina.recipe import Recipe
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.suites.ask import SCHEMA, Asked, ask
from afina.suites.catalogue import suite_figure
from afina.suites.scores import KINDS
from afina.suites.tasks import SuiteTask, chosen_rows, load_tasks, require_harness

SUITES_SCHEMA = "afina/suites/1"
MODELS = ("base", "tuned")
Array = np.ndarray[Any, np.dtype[Any]]


def measure_suites(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Asks every task of both models. Returns suites.json's value."""
    settings = recipe.evaluate.suites
    require_harness()
    tasks = load_tasks(run, recipe)
    with StopSignal() as stop:
        answers = _answers(run, recipe, tasks, stop)
    report = {
        "schema": SUITES_SCHEMA,
        "chat_template": settings.chat_template,
        "shots": settings.shots,
        "most_rows": settings.rows,
        "data": "folder" if settings.data else "hub",
        "harness": version("lm-eval"),
        **_figures(tasks, answers, recipe.seed),
    }
    write_json(run.path("suites.json"), report)
    return report


def _answers(
    run: Run, recipe: Recipe, tasks: list[SuiteTask], stop: StopSignal
) -> dict[str, dict[str, Asked]]:
    settings, engine = recipe.evaluate.suites, None
    found: dict[str, dict[str, Asked]] = {}
    for task in tasks:
        rows = chosen_rows(task, settings.rows, recipe.seed)
        for model in MODELS:
            path = run.path(f"suites/{task.name.replace('/', '.')}/{model}.json")
            if not path.exists():
                stop.check()
                engine = engine or Engine(run.path("release"), run.say, signed=False)
                run.say(
                    _("{task}: asking {model} about {count} of {all} rows").format(
                        task=task.name, model=model, count=len(rows), all=task.rows
                    )
                )
                asked = _ask(engine, model, task, rows, recipe, stop)
                if asked.cut:
                    run.say(
                        _("{count} contexts were too long and lost their beginning").format(
                            count=asked.cut
                        )
                    )
                write_json(path, {"schema": SCHEMA, **asdict(asked)})
            stored = read_json(path)
            stored.pop("schema")
            found.setdefault(task.name, {})[model] = Asked(**stored)
    return found


def _ask(
    engine: Engine, model: str, task: SuiteTask, rows: list[int], recipe: Recipe, stop: StopSignal
) -> Asked:
    settings, seed = recipe.evaluate.suites, recipe.seed
    if model == "tuned":
        return ask(task, rows, engine.model, engine.tokens, settings, seed, stop.check)
    with engine.base_only():
        return ask(task, rows, engine.model, engine.tokens, settings, seed, stop.check)


def _figures(tasks: list[SuiteTask], answers: dict[str, dict[str, Asked]], seed: int) -> dict[str, Any]:
    """Results of each task and model, the paired differences, and the suites' own figures."""
    results: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for task in tasks:
        asked = answers[task.name]
        for metric, kind in asked["base"].kinds.items():
            for model in MODELS:
                line = _result(task, asked[model], model, metric, kind, seed)
                results += [line] if line else []
            if kind:
                comparisons.append(_comparison(task, asked, metric, kind, seed))
    known = [math.nan if line["p_value"] is None else line["p_value"] for line in comparisons]
    for line, corrected in zip(comparisons, holm(known), strict=True):
        line["p_holm"] = number(corrected)
    return {
        "results": results,
        "comparisons": comparisons,
        "suites": [
            line
            for suite in dict.fromkeys(task.suite for task in tasks)
            if (line := _suite_figure(suite, tasks, answers, seed)) is not None
        ],
    }


def _values(asked: Asked, metric: str) -> tuple[Array, Array | None]:
    """Answers, [rows, 1 or 2], and group codes."""
    groups = None if asked.groups is None else np.array(asked.groups)
    return np.array(asked.answers[metric]), groups


def _result(
    task: SuiteTask, asked: Asked, model: str, metric: str, kind: str, seed: int
) -> dict[str, Any] | None:
    """One line; without an interval where the metric is no function of rows known here."""
    interval, groups = Interval(math.nan, math.nan, "none"), None
    value = asked.reported.get(metric, math.nan)
    if kind:
        found, groups = _values(asked, metric)
        value = KINDS[kind](found)
        by_row = None
        if kind == "mean" and set(np.unique(found[:, 0])) <= {0.0, 1.0}:
            by_row = wilson(int(found[:, 0].sum()), len(found))
        interval = (
            by_row
            if by_row is not None and groups is None
            else bootstrap(lambda rows: KINDS[kind](found[rows]), len(found), groups, seed, by_row)
        )
    if not math.isfinite(value):
        return None
    return {
        "model": model,
        "suite": task.suite,
        "task": task.name,
        "metric": metric,
        "value": value,
        "n": len(asked.rows),
        "of": task.rows,
        "groups": group_count(groups),
        "ci95": [number(interval.low), number(interval.high)],
        "method": interval.method,
    }


def _comparison(
    task: SuiteTask, asked: dict[str, Asked], metric: str, kind: str, seed: int
) -> dict[str, Any]:
    """The tuned model minus the base on the same rows."""
    (tuned, groups), (base, _groups) = (_values(asked[model], metric) for model in ("tuned", "base"))
    right = None
    if kind == "mean" and set(np.unique([tuned, base])) <= {0.0, 1.0}:
        right = (tuned[:, 0] == 1, base[:, 0] == 1)
    found: Comparison = compare(
        lambda values, rows: KINDS[kind](values[rows]), tuned, base, groups, seed, right
    )
    # No row answered otherwise shows no spread: a width of zero would claim certainty.
    spread = found.interval.low < found.interval.high
    return {
        "a": "tuned",
        "b": "base",
        "suite": task.suite,
        "task": task.name,
        "metric": metric,
        "lower_is_better": metric in asked["tuned"].lower,
        "difference": number(found.difference),
        "ci95": [number(found.interval.low), number(found.interval.high)] if spread else [None, None],
        "p_value": number(found.p_value),
        "test": f"{found.test}; interval by {found.interval.method}",
        "minimum_detectable": number(found.minimum_detectable),
        "rows_needed": found.rows_needed,
    }


def _suite_figure(
    suite: str, tasks: list[SuiteTask], answers: dict[str, dict[str, Asked]], seed: int
) -> dict[str, Any] | None:
    """A suite's one figure of both models and their difference, each task's rows resampled apart.

    None for a suite of which a counted task is missing.
    """
    own = [task for task in tasks if task.suite == suite]
    draws: dict[str, Any] = {}
    for place, task in enumerate(own):
        asked = answers[task.name]["base"]
        groups = None if asked.groups is None else np.array(asked.groups)
        draws[task.name] = resamples(len(asked.rows), groups, seed + place)

    def figure(model: str, rows: dict[str, Array] | None) -> float | None:
        found: dict[str, dict[str, float]] = {}
        for task in own:
            chosen = slice(None) if rows is None else rows[task.name]
            found[task.name] = {
                metric: KINDS[kind](arrays[model, task.name, metric][chosen])
                for metric, kind in answers[task.name][model].kinds.items()
                if kind
            }
        return suite_figure(suite, found)

    arrays = {
        (model, task.name, metric): np.array(values)
        for model in MODELS
        for task in own
        for metric, values in answers[task.name][model].answers.items()
    }
    whole = {model: figure(model, None) for model in MODELS}
    if whole["base"] is None or whole["tuned"] is None:
        return None
    samples: dict[str, list[float]] = {model: [] for model in MODELS}
    for drawn in zip(*draws.values(), strict=True):
        rows = dict(zip(draws, drawn, strict=True))
        for model in MODELS:
            found = figure(model, rows)
            samples[model].append(math.nan if found is None else found)
    both = {model: np.array(values) for model, values in samples.items()}
    return {
        "suite": suite,
        "n": sum(len(answers[task.name]["base"].rows) for task in own),
        "models": {
            model: {"value": whole[model], "ci95": _percentiles(both[model])} for model in MODELS
        },
        "difference": whole["tuned"] - whole["base"],
        "ci95": _percentiles(both["tuned"] - both["base"]),
        "method": "bootstrap by task",
    }


def _percentiles(values: Array) -> list[float | None]:
    known = values[np.isfinite(values)]
    if len(known) < len(values) // 2:
        return [None, None]
    low, high = np.percentile(known, [2.5, 97.5])
    return [float(low), float(high)]
