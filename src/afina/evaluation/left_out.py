"""Each value of a column left out in turn: what a model is worth on sources that it never saw.

The rows that are answered are those of the split's own test part, so that no near-duplicate and no group
of theirs is trained on. For each fold of values (data/folds.py) a model is made without the fold's rows
in training and validation, and answers the test rows that have these values. The ordinary model answered
the same rows: the drop is paired, row by row.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.data.folds import Folds, counts_of, make_folds, value_of
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.errors import DataError
from afina.evaluation.answers import Answers, TestRows, keep_answers, kept_answers, test_rows
from afina.evaluation.left_out_models import FoldAnswers, answer_fold
from afina.evaluation.score import (
    Measured,
    comparison_of,
    label_answers,
    label_metric,
    number,
    results_of,
)
from afina.inference.engine import decide
from afina.language import _
from afina.metric_names import LOWER_IS_BETTER, RANKING
from afina.metrics.statistics import bootstrap, holm
from afina.recipe_sources import LEFT_OUT_METRICS, left_out_models
from afina.runs.signals import StopSignal

Array = np.ndarray[Any, np.dtype[Any]]
LEFT_OUT = "left_out"
NEEDS_BOTH = ("macro_f1", "auc")


@dataclass(frozen=True)
class LeftOutRows:
    """The rows of a run with their values of the column.

    Attributes:
        train, validation: what a fold's model may be made of. test: what is answered.
        values: of each of them, by split. folds: the values that are left out together.
    """

    column: str
    train: list[Row]
    validation: list[Row]
    test: TestRows
    values: dict[str, list[str | None]]
    folds: Folds

    def inside(self, split: str, fold: tuple[str, ...]) -> Array:
        """Numbers of the rows of a split that have a value of the fold."""
        return np.flatnonzero([value in fold for value in self.values[split]])

    def outside(self, split: str, fold: tuple[str, ...]) -> Array:
        """Numbers of the others; those without a value are among them."""
        return np.flatnonzero([value not in fold for value in self.values[split]])


def left_out_rows(answers: Answers, column: str) -> LeftOutRows:
    """Reads the rows and makes the folds.

    Raises:
        DataError: when no value of the column can be left out.
    """
    run, recipe, labels = answers.run, answers.recipe, answers.labels
    train = read_rows(run.path("data/train.parquet"))
    validation = read_rows(run.path("data/validation.parquet"))
    test = test_rows(run, recipe, labels, "test")
    values = {
        name: [value_of(row, column) for row in rows]
        for name, rows in (("train", train), ("validation", validation), ("test", test.rows))
    }
    bare = [str(row.label) for row, value in zip(train, values["train"], strict=True) if value is None]
    folds = make_folds(
        counts_of(values["test"], [str(row.label) for row in test.rows]),
        counts_of(values["train"], [str(row.label) for row in train]),
        Counter(bare),
        labels,
    )
    if not folds.folds:
        why = ", ".join(f"{value} ({reason})" for value, reason in folds.not_left_out.items())
        raise DataError(
            _("no value of the column `{column}` can be left out: {why}").format(
                column=column, why=why or _("no test row has it")
            ),
            where="evaluate.leave_out",
            fix=_("name a column with several values, or raise data.split.test: 5 test rows are needed"),
        )
    return LeftOutRows(column, train, validation, test, values, folds)


def measure_left_out(
    report: dict[str, Any], answers: Answers, positive: int | None, stop: StopSignal
) -> None:
    """Adds to the report: the set `left_out`, each row answered by a model that never saw its value;
    `left_out`, the figures of each fold beside the ordinary model's; `left_out_folds`, what was done."""
    column = answers.recipe.evaluate.leave_out
    assert column is not None
    rows = left_out_rows(answers, column)
    models = left_out_models(answers.recipe)
    found = {model: _all_folds(answers, model, rows, stop) for model in models}
    report["left_out_folds"] = _about(rows, found)
    chosen = np.sort(np.concatenate([rows.inside("test", fold) for fold in rows.folds.folds]))
    codes = np.unique([str(rows.values["test"][row]) for row in chosen], return_inverse=True)[1]
    pooled = TestRows(LEFT_OUT, [rows.test.rows[row] for row in chosen], rows.test.truth[chosen], codes)
    measured = []
    for model in models:
        said, probabilities = _together(answers, found[model], rows, chosen)
        measured.append(_measured(answers, model, said, probabilities, pooled, positive))
        ordinary = _ordinary(answers, model, rows.test, chosen, pooled, positive)
        stop.check()
        results = results_of(measured[-1], pooled, positive, answers.recipe.seed)
        report["results"] += results
        about: dict[str, Any] = {"column": column, "values": None}
        report["left_out"] += _lines(answers, results, measured[-1], ordinary, pooled, about)
    for place, fold in enumerate(rows.folds.folds):
        stop.check()
        own = rows.inside("test", fold)
        groups = rows.test.groups
        part = TestRows(
            LEFT_OUT,
            [rows.test.rows[row] for row in own],
            rows.test.truth[own],
            None if groups is None else np.unique(groups[own], return_inverse=True)[1],
        )
        for model in models:
            one = found[model][place]
            said = decide(answers.engine.settings, one.probabilities, one.threshold)
            left = _measured(answers, model, said, one.probabilities, part, positive)
            ordinary = _ordinary(answers, model, rows.test, own, part, positive)
            results = results_of(left, part, positive, answers.recipe.seed)
            about = {"column": column, "values": list(fold)}
            report["left_out"] += _lines(answers, results, left, ordinary, part, about)
    _add_set(report, answers, pooled, measured)


def _all_folds(answers: Answers, model: str, rows: LeftOutRows, stop: StopSignal) -> list[FoldAnswers]:
    """A model's answers to each fold; those that are kept are not made again."""
    found = []
    for place, fold in enumerate(rows.folds.folds, start=1):
        stop.check()
        path = answers.run.path(f"predictions/{LEFT_OUT}/{model}.{place}.parquet")
        kept = kept_answers(path)
        if kept is None:
            answers.run.say(
                _("{model} without {values} ({number} of {all})").format(
                    model=model, values=", ".join(fold), number=place, all=len(rows.folds.folds)
                )
            )
            test = [rows.test.rows[row] for row in rows.inside("test", fold)]
            one = answer_fold(answers, model, rows, fold, place, stop)
            said = decide(answers.engine.settings, one.probabilities, one.threshold)
            keep_answers(answers, path, test, said, one.probabilities, one.about())
            kept = kept_answers(path)
            assert kept is not None
        found.append(FoldAnswers.of(*kept))
    return found


def _together(
    answers: Answers, found: list[FoldAnswers], rows: LeftOutRows, chosen: Array
) -> tuple[Array, Array]:
    """Codes said, [rows], and probabilities, [rows, labels], of all rows that are left out."""
    probabilities = np.zeros((len(rows.test.rows), len(answers.labels)))
    said = np.zeros(len(rows.test.rows), dtype=np.int64)
    for fold, one in zip(rows.folds.folds, found, strict=True):
        own = rows.inside("test", fold)
        probabilities[own] = one.probabilities
        said[own] = decide(answers.engine.settings, one.probabilities, one.threshold)
    return said[chosen], probabilities[chosen]


def _ordinary(
    answers: Answers, model: str, test: TestRows, own: Array, part: TestRows, positive: int | None
) -> Measured:
    """What the model that was trained on all sources said of the same rows."""
    said, probabilities = answers.said(model, test)[own], answers.probabilities(model, test)[own]
    return _measured(answers, model, said, probabilities, part, positive)


def _measured(
    answers: Answers,
    model: str,
    said: Array,
    probabilities: Array,
    part: TestRows,
    positive: int | None,
) -> Measured:
    from afina.evaluation.measure import wanted_metrics

    one_label = len(np.unique(part.truth)) < 2
    metrics = {
        name: metric
        for name in wanted_metrics(answers.recipe)
        if name in LEFT_OUT_METRICS
        and not (one_label and name in NEEDS_BOTH)
        and (metric := label_metric(name, part.truth, len(answers.labels), positive))
    }
    return Measured(model, label_answers(said, probabilities, positive), metrics)


def _lines(
    answers: Answers,
    results: list[dict[str, Any]],
    left: Measured,
    ordinary: Measured,
    part: TestRows,
    about: dict[str, Any],
) -> list[dict[str, Any]]:
    """Each metric with its interval, the ordinary model's, and the drop: above 0 is worse left out."""
    lines = []
    everything = np.arange(len(part.rows))
    for line in results:
        metric = left.metrics[line["metric"]]
        sign = -1 if line["metric"] in LOWER_IS_BETTER else 1

        def drop(rows: Array, metric: Any = metric, sign: int = sign) -> float:
            return float(sign * (metric(ordinary.answers, rows) - metric(left.answers, rows)) + 0.0)

        interval = bootstrap(drop, len(part.rows), part.groups, answers.recipe.seed)
        figures = {name: value for name, value in line.items() if name not in ("set", "slice")}
        lines.append(
            {
                **about,
                **figures,
                "ordinary": number(metric(ordinary.answers, everything)),
                "drop": number(drop(everything)),
                "drop_ci95": [number(interval.low), number(interval.high)],
                "drop_method": interval.method,
            }
        )
    return lines


def _about(rows: LeftOutRows, found: dict[str, list[FoldAnswers]]) -> dict[str, Any]:
    """What was left out, from how many rows, with which thresholds."""
    folds = []
    for place, fold in enumerate(rows.folds.folds):
        own = rows.inside("test", fold)
        folds.append(
            {
                "values": list(fold),
                "test_rows": len(own),
                "labels": dict(sorted(Counter(str(rows.test.rows[row].label) for row in own).items())),
                "train_rows": len(rows.outside("train", fold)),
                "train_rows_left_out": len(rows.inside("train", fold)),
                "models": {model: answers[place].about() for model, answers in found.items()},
            }
        )
    return {
        "column": rows.column,
        "folds": folds,
        "not_left_out": rows.folds.not_left_out,
        "test_rows_without_value": sum(value is None for value in rows.values["test"]),
        "train_rows_without_value": sum(value is None for value in rows.values["train"]),
    }


def _add_set(
    report: dict[str, Any],
    answers: Answers,
    pooled: TestRows,
    measured: list[Measured],
) -> None:
    """The set `left_out`, as any other one: its results, ranking and comparisons."""
    counts = Counter(str(row.label) for row in pooled.rows)
    assert pooled.groups is not None
    report["sets"][LEFT_OUT] = {
        "rows": len(pooled.rows),
        "groups": int(pooled.groups.max()) + 1,
        "labels": {label: counts[label] for label in answers.labels},
    }
    seed = answers.recipe.seed
    results = [line for line in report["results"] if line["set"] == LEFT_OUT]
    metric = next((name for name in RANKING if any(r["metric"] == name for r in results)), None)
    ranked = [line for line in results if line["metric"] == metric]
    ranked.sort(key=lambda line: line["value"], reverse=metric not in LOWER_IS_BETTER)
    report["ranking"][LEFT_OUT] = [line["model"] for line in ranked]
    tuned = next((one for one in measured if one.model == "tuned"), None)
    for other in measured:
        if tuned is None or other is tuned:
            continue
        lines = [comparison_of(tuned, other, name, pooled, seed) for name in tuned.metrics]
        known = [float("nan") if line["p_value"] is None else line["p_value"] for line in lines]
        for line, p_value in zip(lines, holm(known), strict=True):
            report["comparisons"].append({**line, "p_holm": number(p_value)})
