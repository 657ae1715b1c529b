"""Each metric on parts of a test set, by the values of a column, and the gap between best and worst."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from afina.evaluation.answers import TestRows
from afina.evaluation.score import Measured, Metric, label_metric, number, results_of
from afina.metric_names import METRICS
from afina.metrics.statistics import bootstrap

Array = np.ndarray[Any, np.dtype[Any]]
# Values with fewer rows are counted and not measured.
FEWEST_ROWS, MOST_VALUES = 10, 30
SHUFFLES = 500


def values_of(test: TestRows, column: str) -> tuple[list[str], Array] | None:
    """The values of a column that have enough rows, and each row's place among them, -1 for none.

    None when the rows do not have the column, or fewer than two values have enough rows.
    """
    given = [str(row.extra[column]) if column in row.extra else None for row in test.rows]
    if column == "source" and not any(given):
        given = [row.source for row in test.rows]
    names = sorted({value for value in given if value is not None})
    counts = {name: given.count(name) for name in names}
    kept = sorted(names, key=lambda name: (-counts[name], name))[:MOST_VALUES]
    kept = sorted(name for name in kept if counts[name] >= FEWEST_ROWS)
    if len(kept) < 2:
        return None
    places = {name: place for place, name in enumerate(kept)}
    return kept, np.array([places.get(value, -1) if value is not None else -1 for value in given])


def sliced(
    one: Measured, test: TestRows, column: str, labels: int, positive: int | None, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A model's results on each part, and its gaps, as lines of evaluation.json."""
    found = values_of(test, column)
    if found is None:
        return [], []
    names, places = found
    results: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        rows = np.flatnonzero(places == place)
        part = rows_of(test, rows)
        metrics = {m: on_part(m, own, part, labels, positive) for m, own in one.metrics.items()}
        measured = Measured(one.model, one.answers[rows], metrics)
        for line in results_of(measured, part, positive, seed):
            results.append({**line, "slice": {column: name}})
    gaps = []
    for metric in one.metrics:
        gap = _gap(one, test, metric, column, names, places, seed)
        if gap is not None:
            gaps.append(gap)
    return results, gaps


def rows_of(test: TestRows, rows: Array) -> TestRows:
    """Some rows of a set, by row numbers, with their groups numbered anew."""
    truth = test.truth[rows] if len(test.truth) else test.truth
    groups = None if test.groups is None else np.unique(test.groups[rows], return_inverse=True)[1]
    return TestRows(test.name, [test.rows[int(row)] for row in rows], truth, groups)


def on_part(name: str, own: Metric, part: TestRows, labels: int, positive: int | None) -> Metric:
    """A metric of labels with the truth of the part; others read their answers alone."""
    if METRICS[name].needs in ("labels", "alarm"):
        metric = label_metric(name, part.truth, labels, positive)
        assert metric is not None
        return metric
    return own


def _gap(
    one: Measured, test: TestRows, metric: str, column: str, names: list[str], places: Array, seed: int
) -> dict[str, Any] | None:
    """The largest difference of a metric between two values; None where it is undefined for all but one.

    Resampled over rows or groups of the whole set. Even equal parts differ by chance, so the gap of
    equals is above zero, and an interval of a gap never holds zero: `p_value` is the share of random
    divisions into parts of these sizes with a gap as large.
    """
    function = one.metrics[metric]

    def by_value(rows: Array, codes: Array) -> Array:
        return np.array(
            [
                function(one.answers, own) if len(own := rows[codes == place]) else math.nan
                for place in range(len(names))
            ]
        )

    def gap(rows: Array) -> float:
        values = by_value(rows, places[rows])
        known = values[np.isfinite(values)]
        return float(known.max() - known.min()) if len(known) > 1 else math.nan

    everything = np.arange(len(test.rows))
    observed = gap(everything)
    if not math.isfinite(observed):
        return None
    values = by_value(everything, places)
    interval = bootstrap(gap, len(test.rows), test.groups, seed)
    lowest, highest = int(np.nanargmin(values)), int(np.nanargmax(values))
    return {
        "model": one.model,
        "set": test.name,
        "column": column,
        "metric": metric,
        "value": observed,
        "lowest": {"value": names[lowest], "metric": float(values[lowest])},
        "highest": {"value": names[highest], "metric": float(values[highest])},
        "ci95": [number(interval.low), number(interval.high)],
        "method": interval.method,
        "p_value": _shuffled(by_value, observed, test, places, seed),
    }


def _shuffled(
    by_value: Callable[[Array, Array], Array],
    observed: float,
    test: TestRows,
    places: Array,
    seed: int,
) -> float:
    """The share of shuffles of the values, by whole groups or rows, with a gap at least as large."""
    random = np.random.default_rng(seed + 2)
    rows = np.flatnonzero(places >= 0)
    codes = rows if test.groups is None else test.groups[rows]
    kinds, inverse = np.unique(codes, return_inverse=True)
    # A group whose rows have several values is shuffled as the value that most of them have.
    usual = np.array([np.bincount(places[rows][inverse == kind]).argmax() for kind in range(len(kinds))])
    extreme = 0
    for _time in range(SHUFFLES):
        values = by_value(rows, random.permutation(usual)[inverse])
        known = values[np.isfinite(values)]
        extreme += len(known) < 2 or float(known.max() - known.min()) >= observed - 1e-12
    return (extreme + 1) / (SHUFFLES + 1)
