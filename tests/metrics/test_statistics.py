"""Intervals and tests against published values, scipy, and simulations with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kstest

from afina.metrics import statistics
from afina.metrics.statistics import (
    bootstrap,
    compare,
    holm,
    mcnemar_mid_p,
    permutation_p,
    resamples,
    wilson,
)


def test_wilson_of_newcombes_table() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    for hits, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        found = wilson(hits, count)
        assert found.low == pytest.approx(low, abs=1e-4)
        assert found.high == pytest.approx(high, abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_scipy(counts) -> None:
    hits, count = counts
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count).low == pytest.approx(expected.low, abs=1e-6)
    assert wilson(hits, count).high == pytest.approx(expected.high, abs=1e-6)


def test_no_rows_have_no_interval() -> None:
    assert math.isnan(wilson(0, 0).low)


def test_mid_p_mcnemar_is_the_published_value() -> None:
    # Fagerland, Lydersen & Laake 2013, table 3 (airway hyper-responsiveness): b = 1, c = 7.
    # Exact p = 0.0703, mid-p = 0.0391.
    right_a = np.array([True] * 1 + [False] * 7 + [True] * 8 + [False] * 5)
    right_b = np.array([False] * 1 + [True] * 7 + [True] * 8 + [False] * 5)
    assert mcnemar_mid_p(right_a, right_b) == pytest.approx(0.0391, abs=1e-4)
    assert mcnemar_mid_p(right_b, right_a) == mcnemar_mid_p(right_a, right_b)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30))
def test_mid_p_lies_between_half_the_exact_p_and_itself(b: int, c: int) -> None:
    right_a = np.array([True] * b + [False] * c, dtype=bool)
    found = mcnemar_mid_p(right_a, ~right_a)
    exact = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert found <= exact + 1e-12
    assert found >= exact / 2 - 1e-12


def test_whole_groups_are_resampled() -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    for rows in resamples(6, groups, seed=3, times=50):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[1] == counts[2]
        assert counts[4] == counts[5]
        assert counts[0] + counts[3] + counts[4] == 3


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(1).normal(size=50)
    first = bootstrap(lambda rows: float(values[rows].mean()), 50, None, seed=7)
    assert first == bootstrap(lambda rows: float(values[rows].mean()), 50, None, seed=7)
    assert first != bootstrap(lambda rows: float(values[rows].mean()), 50, None, seed=8)
    assert first.low < values.mean() < first.high


def test_group_intervals_cover_where_row_intervals_do_not(monkeypatch) -> None:
    """40 groups of 10 rows that are alike within a group; the truth is 0. Nominal coverage 95 %."""
    few = statistics.resamples
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    monkeypatch.setattr(statistics, "resamples", lambda n, groups, seed: few(n, groups, seed, 200))
    random = np.random.default_rng(11)
    groups = np.repeat(np.arange(40), 10)
    covered = {"groups": 0, "rows": 0}
    for trial in range(150):
        values = random.normal(size=40)[groups] + random.normal(0, 0.3, 400)

        def mean(rows, values=values):
            return float(values[rows].mean())

        by_group, by_row = bootstrap(mean, 400, groups, trial), bootstrap(mean, 400, None, trial)
        covered["groups"] += by_group.low <= 0 <= by_group.high
        covered["rows"] += by_row.low <= 0 <= by_row.high
    assert 0.87 <= covered["groups"] / 150 <= 1.0
    assert covered["rows"] / 150 < 0.65


def test_a_resampling_without_spread_falls_back_to_rows_and_never_claims_certainty() -> None:
    values = np.array([0.0, 1.0] * 10)
    alike = np.repeat([0, 1], 10)  # both groups have the same mean
    found = bootstrap(lambda rows: float(values[rows].mean()), 20, alike, seed=1)
    assert found.method == "row bootstrap"
    assert found.low < 0.5 < found.high
    same = bootstrap(lambda rows: 1.0, 20, alike, seed=1)
    assert math.isnan(same.low)
    assert same.method == "none"


def test_permutation_p_is_uniform_when_the_models_are_alike() -> None:
    random = np.random.default_rng(3)
    found = []
    for trial in range(150):
        a, b = random.normal(size=(2, 40))
        found.append(
            permutation_p(
                lambda answers, rows: float(answers[rows].mean()), a, b, None, trial, times=199
            )
        )
    assert kstest(found, "uniform").pvalue > 0.01


def test_permutation_p_is_small_for_a_real_difference_and_one_for_none() -> None:
    random = np.random.default_rng(4)
    a = random.normal(1, 0.1, 40)
    b = random.normal(0, 0.1, 40)

    def mean(answers, rows):
        return float(answers[rows].mean())

    assert permutation_p(mean, a, b, None, 1, times=999) == pytest.approx(0.001)
    assert permutation_p(mean, a, a, None, 1, times=99) == 1.0
    # Two groups can be swapped in 4 ways only, 2 of which are as extreme.
    assert permutation_p(mean, a, b, np.repeat([0, 1], 20), 1, times=999) == pytest.approx(0.5, abs=0.06)


def _accuracy(answers, rows):
    return float(answers[rows].mean())


def test_a_comparison_over_rows_uses_mcnemar_and_says_what_it_could_have_seen() -> None:
    a = np.array([1.0] * 90 + [0.0] * 10)
    b = np.array([1.0] * 70 + [0.0] * 30)
    found = compare(_accuracy, a, b, None, 5, right=(a > 0, b > 0))
    assert found.difference == pytest.approx(0.2)
    assert found.test == "mid-p McNemar"
    assert found.p_value == pytest.approx(mcnemar_mid_p(a > 0, b > 0))
    assert found.interval.low > 0
    assert found.rows_needed is None
    # The standard error of 20 differing pairs of 100 is 0.04; 2.8 of them can be seen.
    assert found.minimum_detectable == pytest.approx(2.8 * 0.04, rel=0.1)


def test_a_difference_not_shown_yet_says_how_many_rows_would_show_it() -> None:
    a = np.array([1.0] * 51 + [0.0] * 49)
    b = np.array([0.0] * 49 + [1.0] * 51)
    found = compare(_accuracy, a, b, np.arange(100) // 2, 5, right=(a > 0, b > 0))
    assert found.test == "group permutation"
    assert found.interval.low < 0 < found.interval.high
    same = compare(_accuracy, a, a, None, 5)
    assert same.rows_needed is None
    assert same.p_value == 1.0
    few = compare(
        _accuracy, np.array([1.0, 1, 1, 0] * 5), np.array([1.0, 0, 1, 1] * 4 + [1, 0, 1, 0.0]), None, 5
    )
    assert few.rows_needed is not None
    assert few.rows_needed > 20


def test_groups_that_are_all_alike_do_not_make_a_difference_certain() -> None:
    """Each group: the one model right in both rows, the other in one of two."""
    a, b = np.ones(20), np.tile([1.0, 0.0], 10)
    found = compare(_accuracy, a, b, np.arange(20) // 2, 5, right=(a > 0, b > 0))
    assert found.interval.method == "row bootstrap"
    assert found.interval.low < 0.5 < found.interval.high


def test_a_share_of_one_or_none_reaches_the_end_of_its_interval() -> None:
    for count in range(1, 200):
        assert wilson(count, count).high == 1.0
        assert wilson(0, count).low == 0.0


def _undefined(answers, rows):
    return math.nan


def test_an_undefined_difference_has_no_p_value() -> None:
    a, b = np.ones(8), np.zeros(8)
    for groups in (None, np.arange(8) // 2):
        assert math.isnan(permutation_p(_undefined, a, b, groups, 1, times=19))
    # A swap that cannot be told counts as extreme: the p-value is not made smaller by it.

    def of_whole(answers, rows):
        return float(answers[0]) if len(set(answers[rows])) == 1 else math.nan

    assert permutation_p(of_whole, a, b, None, 1, times=99) == 1.0


def test_without_spread_nothing_is_said_of_what_could_be_seen() -> None:
    right = np.array([1.0, 0.0] * 10)
    for groups in (None, np.arange(20) // 10, np.arange(20) // 2, np.zeros(20, dtype=int)):
        found = compare(_accuracy, right, right, groups, 5)
        assert found.difference == 0
        assert math.isnan(found.minimum_detectable)
        assert found.rows_needed is None


def test_one_group_gives_an_interval_over_rows_that_says_so() -> None:
    values = np.array([0.0, 1.0] * 10)
    one = np.zeros(20, dtype=int)
    plain = bootstrap(lambda rows: float(values[rows].mean()), 20, None, seed=1)
    found = bootstrap(lambda rows: float(values[rows].mean()), 20, one, seed=1)
    assert (found.low, found.high) == (plain.low, plain.high)
    assert found.method == "bootstrap over rows: one group only"
    share = bootstrap(lambda rows: float(values[rows].mean()), 20, one, 1, wilson(10, 20))
    assert (share.low, share.high) == (wilson(10, 20).low, wilson(10, 20).high)
    assert share.method == "Wilson score over rows: one group only"
    other = np.array([1.0] * 15 + [0.0] * 5)
    both = compare(_accuracy, other, values, one, 5, right=(other > 0, values > 0))
    alone = compare(_accuracy, other, values, None, 5, right=(other > 0, values > 0))
    assert both.p_value == alone.p_value
    assert (both.interval.low, both.interval.high) == (alone.interval.low, alone.interval.high)
    assert both.test == "mid-p McNemar over rows: one group only"
    assert both.interval.method == "bootstrap over rows: one group only"
    assert compare(_accuracy, other, values, one, 5).test == "permutation over rows: one group only"


@pytest.mark.parametrize("kinds", [2, 3, 4, 5])
def test_with_few_groups_the_interval_holds_that_over_rows_too(kinds: int) -> None:
    """Groups that are nearly alike: over them alone the interval would be far too narrow."""
    groups = np.repeat(np.arange(kinds), 10)
    values = np.tile([0.0, 1.0], 5 * kinds)
    values[0] = 1.0
    hits = int(values.sum())
    plain = wilson(hits, len(values))
    found = bootstrap(lambda rows: float(values[rows].mean()), len(values), groups, 3, plain)
    other = np.zeros(len(values))
    difference = compare(_accuracy, values, other, groups, 3)
    if kinds == 5:
        assert found.method == difference.interval.method == "group bootstrap"
        assert found.high - found.low < plain.high - plain.low
        return
    assert found.method == "group bootstrap joined with Wilson score"
    assert found.low <= plain.low
    assert found.high >= plain.high
    alone = compare(_accuracy, values, other, None, 3)
    assert difference.interval.method == "group bootstrap joined with row bootstrap"
    assert difference.interval.low <= alone.interval.low
    assert difference.interval.high >= alone.interval.high
    assert difference.minimum_detectable == pytest.approx(alone.minimum_detectable)


def test_few_groups_that_differ_keep_the_wider_interval_over_groups() -> None:
    groups = np.repeat(np.arange(3), 40)
    values = np.repeat([1.0, 0.5, 0.0], 40)
    plain = bootstrap(lambda rows: float(values[rows].mean()), 120, None, 3)
    found = bootstrap(lambda rows: float(values[rows].mean()), 120, groups, 3)
    assert found.low < plain.low - 0.2
    assert found.high > plain.high + 0.2


def test_an_interval_holds_the_value_that_was_measured() -> None:
    """A biased statistic: resamples of distinct values hold fewer distinct ones than the sample does."""
    sample = np.arange(20)

    def distinct(rows):
        return float(len(np.unique(sample[rows])))

    found = bootstrap(distinct, 20, None, 1)
    assert found.high == 20.0
    assert found.low < 13
    assert found.method == "row bootstrap widened to the value"
    assert bootstrap(lambda rows: float(sample[rows].mean()), 20, None, 1).method == "row bootstrap"

    def answers(values, rows):
        return float(len(np.unique(values[rows])))

    against = compare(answers, sample, np.zeros(20, dtype=int), None, 1)
    assert against.difference == against.interval.high == 19.0


def test_holm_is_that_of_the_paper() -> None:
    # Holm 1979: times 4, 3, 2, 1 from the smallest up, never falling, at most 1.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
    found = holm([math.nan, 0.02, 0.03])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([0.04, 0.04])
