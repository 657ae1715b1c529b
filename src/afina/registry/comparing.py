"""Two releases side by side: paired where both answered the same test rows; where not, it says so."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from afina.evaluation.answers import TestRows, predicted_bytes, read_column, test_rows
from afina.evaluation.score import (
    Measured,
    Metric,
    comparison_of,
    label_answers,
    label_metric,
    likelihood_metric,
    number,
)
from afina.language import _
from afina.metric_names import LIKELIHOOD_METRICS, METRICS
from afina.metrics.statistics import holm
from afina.runs.files import read_json
from afina.runs.folder import Run

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class SetOfRows:
    """A test set of either release.

    Attributes:
        name: test, or the name of a further set. rows: how many, where both have the same; else None.
        same_rows: whether both were measured on the same rows, by the hash of the prepared set.
        paired: whether their answers were compared row by row. why: why not; empty when they were.
    """

    name: str
    rows: int | None
    same_rows: bool
    paired: bool
    why: str


@dataclass(frozen=True)
class FigurePair:
    """One figure of the tuned models; a value has value, ci95 and n, None where it was not measured.

    Attributes:
        paired: A minus B on the same rows with interval, p-value and Holm's correction over the metrics
            of the set, as a line of evaluation.json; None where rows or answers are not the same.
    """

    set: str
    metric: str
    a: dict[str, Any] | None
    b: dict[str, Any] | None
    paired: dict[str, Any] | None


@dataclass(frozen=True)
class ReleaseComparison:
    """Two releases: their sets, their figures, and the parents that differ, as (name, of A, of B)."""

    a: str
    b: str
    sets: tuple[SetOfRows, ...]
    figures: tuple[FigurePair, ...]
    parents: tuple[tuple[str, str | None, str | None], ...]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"schema": "afina/registry-comparison/1", **asdict(self)}


@dataclass(frozen=True)
class Side:
    """What is compared: a name for people, its run, and its parents by dotted name."""

    title: str
    run: Run
    parents: dict[str, str]


def compare_releases(a: Side, b: Side) -> ReleaseComparison:
    """Compares the tuned models of two runs on every test set that either has."""
    found = [_figures(side.run) for side in (a, b)]
    names = dict.fromkeys(set_name for one in found for set_name, _metric in one)
    sets, figures = [], []
    for name in names:
        looked, lines = _paired(a.run, b.run, name)
        sets.append(looked)
        metrics = dict.fromkeys(metric for one in found for own, metric in one if own == name)
        for metric in metrics:
            values = [one.get((name, metric)) for one in found]
            figures.append(FigurePair(name, metric, values[0], values[1], lines.get(metric)))
    keys = dict.fromkeys([*a.parents, *b.parents])
    differ = [
        (key, a.parents.get(key), b.parents.get(key))
        for key in keys
        if a.parents.get(key) != b.parents.get(key)
    ]
    return ReleaseComparison(a.title, b.title, tuple(sets), tuple(figures), tuple(differ))


def _figures(run: Run) -> dict[tuple[str, str], dict[str, Any]]:
    """The tuned model's figures on whole sets, by set and metric."""
    return {
        (line["set"], line["metric"]): {key: line.get(key) for key in ("value", "ci95", "n")}
        for line in _evaluation(run)["results"]
        if line["model"] == "tuned" and line["slice"] is None
    }


def _evaluation(run: Run) -> dict[str, Any]:
    """evaluation.json as it is in the release, else in the run."""
    inside = run.path("release/evaluation.json")
    return dict(read_json(inside if inside.exists() else run.path("evaluation.json")))


def _paired(a: Run, b: Run, name: str) -> tuple[SetOfRows, dict[str, dict[str, Any]]]:
    """Whether a set is the same in both, and the paired comparison of each metric where it is."""
    hashes = [_hash_of_set(run, name) for run in (a, b)]
    same = hashes[0] is not None and hashes[0] == hashes[1]
    if not same:
        return SetOfRows(name, None, False, False, _unlike(hashes)), {}
    rows = _evaluation(a)["sets"][name]["rows"]
    if not all(_has_answers(run, name) for run in (a, b)):
        why = _("the answers of one of them are not here any more")
        return SetOfRows(name, rows, True, False, why), {}
    sides = [_measured(run, name, _labels(a)) for run in (a, b)]
    if sides[0] is None or sides[1] is None:
        return SetOfRows(name, rows, True, False, _("they do other tasks, or have other labels")), {}
    test = sides[0][1]
    if [row.id for row in test.rows] != [row.id for row in sides[1][1].rows]:
        return SetOfRows(name, rows, True, False, _("their answers are not of the same rows")), {}
    left, right = sides[0][0], sides[1][0]
    seed = a.recipe().seed
    metrics = [metric for metric in left.metrics if metric in right.metrics]
    if _other_tokens(left, right):
        metrics = [metric for metric in metrics if metric != "perplexity"]
    lines = [comparison_of(left, right, metric, test, seed) for metric in metrics]
    corrected = holm([math.nan if line["p_value"] is None else line["p_value"] for line in lines])
    found = {
        line["metric"]: {**line, "a": a.title, "b": b.title, "p_holm": number(p_value)}
        for line, p_value in zip(lines, corrected, strict=True)
    }
    return SetOfRows(name, rows, True, True, ""), found


def _unlike(hashes: list[str | None]) -> str:
    if hashes[0] is None and hashes[1] is None:
        return _("neither says on which rows it was measured")
    if None in hashes:
        return _("only one of them was measured on this set, or says on which rows")
    return _("they were measured on other rows: the hashes of the sets differ")


def _hash_of_set(run: Run, name: str) -> str | None:
    """SHA-256 of a prepared test set, as the release's manifest has it among its parents."""
    path = run.path("release/manifest.json")
    data = read_json(path)["parents"].get("data", {}) if path.exists() else {}
    found = data.get("data/test.parquet" if name == "test" else f"data/test_{name}.parquet")
    return None if found is None else str(found)


def _answer_file(run: Run, name: str) -> str:
    kind = _evaluation(run)["kind"]
    return f"predictions/{name}/tuned.{'parquet' if kind == 'classify' else 'losses.parquet'}"


def _has_answers(run: Run, name: str) -> bool:
    """Whether the run still has its tuned model's answers, and the rows that they answer."""
    data = "data/test.parquet" if name == "test" else f"data/test_{name}.parquet"
    return run.path(_answer_file(run, name)).exists() and run.path(data).exists()


def _labels(run: Run) -> list[str]:
    return list(_evaluation(run)["labels"])


def _measured(run: Run, name: str, labels: list[str]) -> tuple[Measured, TestRows] | None:
    """The tuned model's kept answers to a set, codes and probabilities in the order of `labels`.

    None for another task or other labels.
    """
    evaluation, recipe = _evaluation(run), run.recipe()
    own = list(evaluation["labels"])
    if sorted(own) != sorted(labels):
        return None
    test = test_rows(run, recipe, labels, name)
    path = run.path(_answer_file(run, name))
    wanted = [
        line["metric"]
        for line in evaluation["results"]
        if (line["model"], line["set"], line["slice"]) == ("tuned", name, None)
    ]
    metrics: dict[str, Metric] = {}
    if evaluation["kind"] != "classify":
        sizes = [float(predicted_bytes(recipe, row)) for row in test.rows]
        columns = [read_column(path, "loss"), read_column(path, "tokens"), sizes]
        metrics = {
            metric: likelihood_metric(metric) for metric in wanted if metric in LIKELIHOOD_METRICS
        }
        return Measured("tuned", np.stack(columns, axis=1), metrics), test
    positive = labels.index(evaluation["positive"]) if evaluation["positive"] else None
    places = [own.index(label) for label in labels]
    probabilities = np.array(read_column(path, "probabilities"))[:, places]
    said = np.array([labels.index(label) for label in read_column(path, "said")])
    for metric in wanted:
        if METRICS[metric].needs not in ("labels", "alarm") or metric in LIKELIHOOD_METRICS:
            continue
        function = label_metric(metric, test.truth, len(labels), positive)
        if function is not None:
            metrics[metric] = function
    return Measured("tuned", label_answers(said, probabilities, positive), metrics), test


def _other_tokens(a: Measured, b: Measured) -> bool:
    """Whether the right answers of some row are of another number of tokens: not one tokenizer."""
    return "perplexity" in a.metrics and bool(np.any(a.answers[:, 1] != b.answers[:, 1]))
