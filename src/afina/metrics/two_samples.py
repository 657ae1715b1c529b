"""Figures of two sets of different rows, such as training rows and rows never trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.metrics.statistics import (
    ENOUGH_GROUPS,
    RESAMPLES,
    Interval,
    group_count,
    joined,
    one_group,
    resamples,
    wilson,
)

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Sample:
    """One set of rows.

    Attributes:
        count: how many rows.
        groups: group codes; [rows], or None when rows stand alone.
    """

    count: int
    groups: Array | None = None


def two_sample_bootstrap(
    metric: Callable[[Array, Array], float], first: Sample, second: Sample, seed: int
) -> Interval:
    """Percentile interval, 95 %, of a figure of two sets, each resampled by itself (Efron & Tibshirani
    1993).

    Each set is resampled by whole groups where it has any. Where one has fewer than 5 groups, the
    interval is the union with that over rows; where one has a single group, it is that over rows,
    marked. No interval where resampling shows no spread.

    Args:
        metric: the figure of the given row numbers of the first set and of the second; NaN where it is
            undefined.
    """
    kinds = [known for s in (first, second) if (known := group_count(s.groups)) is not None]
    found = _percentiles(metric, first, second, seed) if not kinds or min(kinds) > 1 else None
    if found is None or (kinds and (min(kinds) < ENOUGH_GROUPS or not found.low < found.high)):
        by_row = _percentiles(metric, Sample(first.count), Sample(second.count), seed)
        if found is None:
            found = one_group(by_row)
        else:
            found = joined(found, by_row) if min(kinds) < ENOUGH_GROUPS else by_row
    return found if found.low < found.high else Interval(math.nan, math.nan, "none")


def _percentiles(
    metric: Callable[[Array, Array], float], first: Sample, second: Sample, seed: int
) -> Interval:
    pairs = zip(
        resamples(first.count, first.groups, seed),
        resamples(second.count, second.groups, seed + 1),
        strict=True,
    )
    values = np.array([metric(a, b) for a, b in pairs])
    values = values[np.isfinite(values)]
    grouped = first.groups is not None or second.groups is not None
    name = "group bootstrap" if grouped else "row bootstrap"
    if len(values) < RESAMPLES // 2:
        return Interval(math.nan, math.nan, name)
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high), name)


def newcombe(hits_a: int, count_a: int, hits_b: int, count_b: int) -> Interval:
    """Interval, 95 %, of the difference of two shares of different rows, a minus b.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10:
    the score intervals of both shares put together. It has a width also where both shares are 0 or 1.
    """
    if not count_a or not count_b:
        return Interval(math.nan, math.nan, "none")
    a, b = hits_a / count_a, hits_b / count_b
    of_a, of_b = wilson(hits_a, count_a), wilson(hits_b, count_b)
    low = a - b - math.hypot(a - of_a.low, of_b.high - b)
    high = a - b + math.hypot(of_a.high - a, b - of_b.low)
    return Interval(max(-1.0, low), min(1.0, high), "Newcombe score")
