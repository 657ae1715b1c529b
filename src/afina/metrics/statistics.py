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
# With fewer groups than this, resampling them gives too narrow an interval.
ENOUGH_GROUPS = 5
_NO_SPREAD = 1e-12
ONE_GROUP = "over rows: one group only"
WIDENED = "widened to the value"


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


def group_count(groups: Array | None) -> int | None:
    """How many groups there are; None when rows stand alone."""
    return None if groups is None else int(groups.max()) + 1


def one_group(interval: Interval) -> Interval:
    """An interval over rows, marked: with one group none respects groups."""
    if interval.method == "none":
        return interval
    return Interval(interval.low, interval.high, f"{interval.method.removeprefix('row ')} {ONE_GROUP}")


def joined(by_group: Interval, by_row: Interval) -> Interval:
    """The union of both; the other one alone where one shows no spread."""
    if not by_group.low < by_group.high:
        return by_row
    if not by_row.low < by_row.high:
        return by_group
    low, high = min(by_group.low, by_row.low), max(by_group.high, by_row.high)
    return Interval(low, high, f"{by_group.method} joined with {by_row.method}")


def reaching(interval: Interval, value: float) -> Interval:
    """The interval, widened to the value where it lies outside.

    Resamples of a biased statistic, such as a calibration error of few rows, can all lie on one side of
    the value that was measured.
    """
    if not math.isfinite(value) or interval.low <= value <= interval.high or math.isnan(interval.low):
        return interval
    low, high = min(interval.low, value), max(interval.high, value)
    return Interval(low, high, f"{interval.method} {WIDENED}")


def bootstrap(
    metric: Callable[[Array], float],
    count: int,
    groups: Array | None,
    seed: int,
    by_row: Interval | None = None,
) -> Interval:
    """Percentile interval of a metric, 95 % (Efron & Tibshirani 1993).

    Where resampling whole groups shows no spread at all (all alike), rows are resampled; where rows show
    none either, there is no interval: a width of zero would claim certainty. With 2 to 4 groups the
    interval is the union of that over groups and that over rows; with one it is that over rows, marked.

    Args:
        metric: value on the given row numbers; NaN where it is undefined.
        by_row: the interval over rows, where there is a better one than resampling them; used with
            fewer than 5 groups.
    """
    kinds = group_count(groups)
    found = _percentiles(metric, count, None if kinds == 1 else groups, seed)
    if kinds is not None and kinds < ENOUGH_GROUPS:
        rows = by_row or _percentiles(metric, count, None, seed)
        found = one_group(rows) if kinds == 1 else joined(found, rows)
    elif groups is not None and not found.low < found.high:
        found = _percentiles(metric, count, None, seed)
    if not found.low < found.high:
        return Interval(math.nan, math.nan, "none")
    return reaching(found, metric(np.arange(count)))


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
        minimum_detectable: the difference that a sample like this shows with 80 % power; NaN where
            resampling shows no spread, for then nothing is known of it.
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
        models' answers in whole groups or rows. With one group, both are over rows, and marked.
    """
    count = len(a)
    everything = np.arange(count)
    difference = metric(a, everything) - metric(b, everything)
    kinds = group_count(groups)
    if kinds == 1:
        groups = None
    interval, spread = _difference_interval(
        lambda rows: metric(a, rows) - metric(b, rows), count, groups, seed
    )
    if right is not None and groups is None:
        p_value, test = mcnemar_mid_p(right[0], right[1]), "mid-p McNemar"
    else:
        p_value = permutation_p(metric, a, b, groups, seed)
        test = "row permutation" if groups is None else "group permutation"
    interval = reaching(interval, difference)
    if kinds == 1:
        interval, test = one_group(interval), f"{test.removeprefix('row ')} {ONE_GROUP}"
    detectable = POWER_FACTOR * spread if spread > _NO_SPREAD else math.nan
    needed = None
    if math.isfinite(detectable) and interval.low <= 0 <= interval.high and abs(difference) > 1e-12:
        needed = math.ceil(count * (detectable / abs(difference)) ** 2)
        needed = needed if needed > count else None
    return Comparison(difference, interval, p_value, test, detectable, needed)


def _difference_interval(
    difference: Callable[[Array], float], count: int, groups: Array | None, seed: int
) -> tuple[Interval, float]:
    """Percentile interval of a difference, and its standard error; 0 where nothing can be resampled."""

    def over(codes: Array | None) -> tuple[Interval, float]:
        values = _finite([difference(rows) for rows in resamples(count, codes, seed)])
        name = "row bootstrap" if codes is None else "group bootstrap"
        if not len(values):
            return Interval(math.nan, math.nan, name), 0.0
        low, high = np.percentile(values, [2.5, 97.5])
        return Interval(float(low), float(high), name), float(values.std())

    found, spread = over(groups)
    kinds = group_count(groups)
    if kinds is not None and (kinds < ENOUGH_GROUPS or spread <= _NO_SPREAD):
        # Groups that are all alike show no spread; a width of zero would claim certainty.
        by_row, row_spread = over(None)
        found = by_row if spread <= _NO_SPREAD else joined(found, by_row)
        spread = max(spread, row_spread)
    return found, spread


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
    """Two-sided p-value of swapping the two models' answers at random, by whole groups or rows.

    NaN when the difference itself is undefined. A swap whose difference is undefined counts as extreme.
    """
    random = np.random.default_rng(seed + 1)
    count = len(a)
    everything = np.arange(count)
    observed = abs(metric(a, everything) - metric(b, everything))
    if not math.isfinite(observed):
        return math.nan
    codes = everything if groups is None else groups
    kinds = int(codes.max()) + 1
    extreme = 0
    for _time in range(times):
        swapped = random.random(kinds)[codes] < 0.5
        mask = swapped.reshape(-1, *([1] * (a.ndim - 1)))
        first, second = np.where(mask, b, a), np.where(mask, a, b)
        extreme += not abs(metric(first, everything) - metric(second, everything)) < observed - 1e-12
    return (extreme + 1) / (times + 1)


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): the chance of one false finding stays 5 %.

    NaN stays NaN and counts for nothing.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if math.isfinite(p))
    found, least = list(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        found[place] = least
    return found
