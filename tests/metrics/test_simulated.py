"""Our intervals and tests on data whose truth is known: how often they err, and how often they hold it.

A thousand samples tell an error of 5 % to ± 1.4 points.
"""

from __future__ import annotations

import numpy as np
import pytest

from afina.metrics import statistics
from afina.metrics.labels import macro_f1
from afina.metrics.statistics import bootstrap, mcnemar_mid_p, permutation_p, wilson

SAMPLES = 1000
SIZES = (200, 1000)


def resample_less(monkeypatch) -> None:
    """300 resamples instead of 2,000: the ends of an interval wobble, its coverage hardly moves."""
    few = statistics.resamples
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    monkeypatch.setattr(statistics, "resamples", lambda n, groups, seed: few(n, groups, seed, 300))


def paired(random: np.random.Generator, rows: int, discordance: float, gain: float):
    """Whether each of two models is right in each row; a is right more often by `gain`. [rows] each."""
    kind = random.random(rows)
    only_a = (discordance + gain) / 2
    both = 0.8 - only_a
    a = kind < 0.8
    b = (kind < both) | ((kind >= 0.8) & (kind < 0.8 + discordance - only_a))
    return a, b


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("discordance", [0.05, 0.1, 0.2])
def test_mcnemar_finds_a_difference_where_there_is_none_in_one_of_twenty(rows, discordance) -> None:
    random = np.random.default_rng(rows)
    found = [mcnemar_mid_p(*paired(random, rows, discordance, 0.0)) for _sample in range(2 * SAMPLES)]
    # With 10 rows that differ, as at 200 rows and 5 %, no test can reach 5 % exactly.
    assert np.mean(np.array(found) < 0.05) <= 0.064
    if rows * discordance >= 20:
        assert np.mean(np.array(found) < 0.05) >= 0.036


def test_the_permutation_test_of_macro_f1_errs_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    low = 0
    for sample in range(SAMPLES):
        truth = random.integers(0, 2, 200)
        a, b = (np.where(random.random(200) < 0.15, 1 - truth, truth) for _model in range(2))

        def metric(answers, rows, truth=truth):
            return macro_f1(truth[rows], answers[rows], 2)

        low += permutation_p(metric, a, b, None, sample, times=99) <= 0.05
    assert low / SAMPLES == pytest.approx(0.05, abs=0.0141)


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_wilson_holds_the_share(rows, share) -> None:
    random = np.random.default_rng(rows)
    held = 0
    for hits in random.binomial(rows, share, 4 * SAMPLES):
        found = wilson(int(hits), rows)
        held += found.low <= share <= found.high
    assert held / (4 * SAMPLES) >= 0.93


@pytest.mark.parametrize(("rows", "samples"), [(200, SAMPLES), (1000, 400)])
def test_the_bootstrap_holds_macro_f1(monkeypatch, rows, samples) -> None:
    resample_less(monkeypatch)
    random = np.random.default_rng(2)
    # Recalls of 0.9 and 0.8 with labels in equal shares: F1 of 2 · 0.9 / (1 + 0.9 + 0.2) and so on.
    first, second = 2 * 0.9 / (1 + 0.9 + 0.2), 2 * 0.8 / (1 + 0.8 + 0.1)
    true = (first + second) / 2
    held = 0
    for sample in range(samples):
        truth = random.integers(0, 2, rows)
        said = np.where(random.random(rows) < np.where(truth == 0, 0.9, 0.8), truth, 1 - truth)
        found = bootstrap(lambda r, t=truth, s=said: macro_f1(t[r], s[r], 2), rows, None, sample)
        held += found.low <= true <= found.high
    assert held / samples >= 0.93 - (0.02 if samples < SAMPLES else 0)


@pytest.mark.parametrize("groups", [20, 40])
def test_the_group_bootstrap_holds_a_share_where_rows_of_a_group_are_alike(monkeypatch, groups) -> None:
    resample_less(monkeypatch)
    random = np.random.default_rng(groups)
    held = by_row = 0
    for sample in range(600):
        codes = np.repeat(np.arange(groups), 10)
        right = random.random(len(codes)) < random.beta(8, 2, groups)[codes]  # 0.8 on average
        found = bootstrap(lambda rows, r=right: float(r[rows].mean()), len(codes), codes, sample)
        held += found.low <= 0.8 <= found.high
        alone = wilson(int(right.sum()), len(right))
        by_row += alone.low <= 0.8 <= alone.high
    assert held / 600 >= 0.9  # 20 groups are few; 93 % is reached from about 40 on
    assert held > by_row
    if groups >= 40:
        assert held / 600 >= 0.92
