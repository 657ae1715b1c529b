"""Intervals and paired tests. Where rows belong to groups, whole groups are resampled.

Rows of one group are alike, so an interval over rows would be too narrow: what is claimed is about
groups never seen, and the groups are the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
RESAMPLES = 2000
# 1.96 + 0.84: two-sided 5 % error and 80 % power.
POWER_FACTOR = 2.8


@dataclass(frozen=True)
class Interval:
    """A 95 % interval and how it was made."""

    low: float
    high: float
    method: str


def wilson(hits: int, count: int) -> Interval:
    """Score interval of a proportion (Wilson 1927), 95 %."""
    if count == 0:
        return Interval(math.nan, math.nan, "none")
    z = 1.959964
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    low = max(0.0, middle - half) if hits else 0.0
    high = min(1.0, middle + half) if hits < count else 1.0
    return Interval(low, high, "Wilson score")


def resamples(count: int, groups: Array | None, seed: int, times: int = RESAMPLES) -> Iterator[Array]:
    """Row numbers of bootstrap samples: of whole groups when there are any, else of rows.

    Args:
        count: rows.
        groups: group codes 0 … g-1; [rows], or None.
    """
    random = np.random.default_rng(seed)
    if groups is None:
        for _time in range(times):
            yield random.integers(0, count, count)
        return
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    for _time in range(times):
        yield np.concatenate([members[g] for g in random.integers(0, len(members), len(members))])


def bootstrap(metric: Callable[[Array], float], count: int, groups: Array | None, seed: int) -> Interval:
    """Percentile interval of a metric, 95 % (Efron & Tibshirani 1993).

    Where resampling whole groups shows no spread at all (few groups, or all alike), rows are resampled;
    where rows show none either, there is no interval: a width of zero would claim certainty.

    Args:
        metric: value on the given row numbers; NaN where it is undefined.
    """
    found = _percentiles(metric, count, groups, seed)
    if groups is not None and not found.low < found.high:
        found = _percentiles(metric, count, None, seed)
    return found if found.low < found.high else Interval(math.nan, math.nan, "none")


def _percentiles(
    metric: Callable[[Array], float], count: int, groups: Array | None, seed: int
) -> Interval:
    values = _finite([metric(rows) for rows in resamples(count, groups, seed)])
    name = "row bootstrap" if groups is None else "group bootstrap"
    if len(values) < RESAMPLES // 2:
        return Interval(math.nan, math.nan, name)
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high), name)


@dataclass(frozen=True)
class Comparison:
    """a minus b on the same rows.

    Attributes:
        minimum_detectable: the difference that a sample like this shows with 80 % power.
        rows_needed: rows (of the same kind of groups) to show the observed difference, if it is not
            shown yet; None when it is, or when there is no difference to show.
    """

    difference: float
    interval: Interval
    p_value: float
    test: str
    minimum_detectable: float
    rows_needed: int | None


def compare(
    metric: Callable[[Array, Array], float],
    a: Array,
    b: Array,
    groups: Array | None,
    seed: int,
    right: tuple[Array, Array] | None = None,
) -> Comparison:
    """Paired comparison of two models on the same rows.

    Args:
        metric: (answers, row numbers) to a value; answers are `a`, `b` or a mixture of both by row.
        a, b: each model's answers; first axis rows.
        groups: group codes; [rows], or None.
        right: whether each model is right in each row, when the metric is accuracy.
    Returns:
        The difference with its bootstrap interval, and the p-value of the mid-p McNemar test for
        accuracy over single rows (Fagerland et al. 2013), else of a permutation test that swaps the
        models' answers in whole groups or rows.
    """
    count = len(a)
    everything = np.arange(count)
    difference = metric(a, everything) - metric(b, everything)
    values = _finite([metric(a, rows) - metric(b, rows) for rows in resamples(count, groups, seed)])
    name = "row bootstrap" if groups is None else "group bootstrap"
    if groups is not None and (not len(values) or np.ptp(values) == 0):
        # Groups that are all alike show no spread; a width of zero would claim certainty.
        values = _finite([metric(a, rows) - metric(b, rows) for rows in resamples(count, None, seed)])
        name = "row bootstrap"
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (math.nan, math.nan)
    interval = Interval(float(low), float(high), name)
    if right is not None and groups is None:
        p_value, test = mcnemar_mid_p(right[0], right[1]), "mid-p McNemar"
    else:
        p_value = permutation_p(metric, a, b, groups, seed)
        test = "row permutation" if groups is None else "group permutation"
    detectable = POWER_FACTOR * float(values.std()) if len(values) else math.nan
    needed = None
    if math.isfinite(detectable) and low <= 0 <= high and abs(difference) > 1e-12:
        needed = math.ceil(count * (detectable / abs(difference)) ** 2)
    return Comparison(difference, interval, p_value, test, detectable, needed)


def _finite(values: list[float]) -> Array:
    found = np.array(values)
    return np.asarray(found[np.isfinite(found)])


def mcnemar_mid_p(right_a: Array, right_b: Array) -> float:
    """Two-sided mid-p value of McNemar's test on paired right/wrong answers; [rows] each."""
    from scipy.stats import binom

    only_a = int(np.sum(right_a & ~right_b))
    only_b = int(np.sum(~right_a & right_b))
    total = only_a + only_b
    if total == 0:
        return 1.0
    fewer = min(only_a, only_b)
    tail = 2 * binom.cdf(fewer, total, 0.5) - binom.pmf(fewer, total, 0.5)
    return float(min(1.0, tail))


def permutation_p(
    metric: Callable[[Array, Array], float],
    a: Array,
    b: Array,
    groups: Array | None,
    seed: int,
    times: int = RESAMPLES,
) -> float:
    """Two-sided p-value of swapping the two models' answers at random, by whole groups or rows."""
    random = np.random.default_rng(seed + 1)
    count = len(a)
    everything = np.arange(count)
    observed = abs(metric(a, everything) - metric(b, everything))
    codes = everything if groups is None else groups
    kinds = int(codes.max()) + 1
    extreme = 0
    for _time in range(times):
        swapped = random.random(kinds)[codes] < 0.5
        mask = swapped.reshape(-1, *([1] * (a.ndim - 1)))
        first, second = np.where(mask, b, a), np.where(mask, a, b)
        extreme += abs(metric(first, everything) - metric(second, everything)) >= observed - 1e-12
    return (extreme + 1) / (times + 1)
