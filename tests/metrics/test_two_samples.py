"""Figures of two sets of different rows: published examples, formulas, groups, no spread."""

from __future__ import annotations

import math

import numpy as np
import pytest

from afina.metrics.statistics import wilson
from afina.metrics.two_samples import Sample, newcombe, two_sample_bootstrap


def test_newcombe_gives_the_papers_intervals() -> None:
    """Newcombe 1998, table II, method 10: 56/70 − 48/80, 9/10 − 3/10 and 10/10 − 0/20."""
    for hits, expected in (
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((10, 10, 0, 20), (0.6791, 1.0)),
    ):
        found = newcombe(*hits)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-4)
    assert math.isnan(newcombe(0, 0, 1, 2).low)


def test_two_shares_of_zero_still_have_a_width() -> None:
    found = newcombe(0, 50, 0, 50)
    assert found.high == pytest.approx(wilson(0, 50).high)
    assert found.low == -found.high


def mean_difference(a, b):
    return lambda first, second: float(a[first].mean() - b[second].mean())


def test_the_interval_of_a_difference_of_means_is_that_of_the_normal_formula() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(1, 1, 400), random.normal(0, 2, 300)
    found = two_sample_bootstrap(mean_difference(a, b), Sample(400), Sample(300), seed=3)
    half = 1.96 * math.sqrt(a.var() / 400 + b.var() / 300)
    difference = a.mean() - b.mean()
    assert found.low == pytest.approx(difference - half, abs=0.03)
    assert found.high == pytest.approx(difference + half, abs=0.03)
    assert found.method == "row bootstrap"


def test_rows_of_one_group_are_alike_and_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 20)
    a, b = random.normal(0, 1, 10)[groups], random.normal(0, 1, 10)[groups]
    by_row = two_sample_bootstrap(mean_difference(a, b), Sample(200), Sample(200), seed=3)
    by_group = two_sample_bootstrap(
        mean_difference(a, b), Sample(200, groups), Sample(200, groups), seed=3
    )
    assert by_group.method == "group bootstrap"
    assert by_group.high - by_group.low > 2.5 * (by_row.high - by_row.low)


def test_few_groups_join_both_intervals_and_one_is_marked() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, 40), random.normal(0, 1, 40)
    few, one = np.repeat([0, 1], 20), np.zeros(40, dtype=int)
    joined = two_sample_bootstrap(mean_difference(a, b), Sample(40, few), Sample(40, few), seed=3)
    assert joined.method == "group bootstrap joined with row bootstrap"
    alone = two_sample_bootstrap(mean_difference(a, b), Sample(40, one), Sample(40, few), seed=3)
    assert alone.method == "bootstrap over rows: one group only"


def test_no_spread_is_no_interval() -> None:
    a = np.ones(20)
    found = two_sample_bootstrap(mean_difference(a, a), Sample(20), Sample(20), seed=3)
    assert math.isnan(found.low)
    assert found.method == "none"
