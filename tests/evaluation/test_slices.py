"""Metrics by the values of a column, and their gap: counted by hand, and by lot."""

from __future__ import annotations

import numpy as np
import pytest

from afina.errors import AfinaError
from afina.evaluation.limits import _check
from afina.evaluation.score import label_metric
from afina.evaluation.slices import sliced, values_of
from afina.recipe import Limit
from tests.evaluation.test_score import measured


def of(countries: list[str], truth, said, groups=None):
    one, test = measured(truth, said, [float(code) for code in said], groups)
    for row, country in zip(test.rows, countries, strict=True):
        row.extra["country"] = country
    return one, test


def two_countries(wrong_mx: int, wrong_ar: int, each: int = 40):
    """Forty rows of each country, so many of them wrong."""
    truth = np.tile([0, 1], each)
    countries = ["MX"] * each + ["AR"] * each
    wrong = np.zeros(2 * each, dtype=bool)
    wrong[:wrong_mx] = True
    wrong[each : each + wrong_ar] = True
    return of(countries, truth, np.where(wrong, 1 - truth, truth))


def gaps_of(one, test, **other):
    results, gaps = sliced(one, test, "country", 2, 1, 3)
    return results, {line["metric"]: line for line in gaps}


def test_each_value_has_its_figures_and_the_gap_is_their_difference() -> None:
    results, gaps = gaps_of(*two_countries(4, 12))
    found = {(line["slice"]["country"], line["metric"]): (line["value"], line["n"]) for line in results}
    assert found[("MX", "accuracy")] == (0.9, 40)
    assert found[("AR", "accuracy")] == (0.7, 40)
    assert found[("AR", "false_positive_rate")] == (pytest.approx(6 / 20), 20)
    gap = gaps["accuracy"]
    assert gap["value"] == pytest.approx(0.2)
    assert gap["lowest"] == {"value": "AR", "metric": pytest.approx(0.7)}
    assert gap["highest"] == {"value": "MX", "metric": pytest.approx(0.9)}
    low, high = gap["ci95"]
    assert low < 0.2 < high
    assert gap["p_value"] < 0.06


def test_a_gap_that_lots_have_too_is_no_gap() -> None:
    _results, gaps = gaps_of(*two_countries(6, 5))
    assert gaps["accuracy"]["p_value"] > 0.3


def test_the_p_of_equal_parts_is_below_a_twentieth_in_a_twentieth() -> None:
    random = np.random.default_rng(0)
    found = []
    for _trial in range(120):
        truth = random.integers(0, 2, 90)
        said = np.where(random.random(90) < 0.2, 1 - truth, truth)
        one, test = of([*random.permutation(["MX", "AR", "CO"] * 30)], truth, said)
        one = type(one)(one.model, one.answers, {"accuracy": label_metric("accuracy", truth, 2, 1)})
        _results, gaps = gaps_of(one, test)
        found.append(gaps["accuracy"]["p_value"])
    assert np.mean(np.array(found) < 0.05) <= 0.1
    assert 0.35 < np.mean(found) < 0.75


def test_values_with_few_rows_and_columns_that_are_not_there() -> None:
    one, test = of(["MX"] * 12 + ["AR"] * 11 + ["CO"] * 3, [0, 1] * 13, [0, 1] * 13)
    names, places = values_of(test, "country")
    assert names == ["AR", "MX"]
    assert (places == -1).sum() == 3
    assert values_of(test, "channel") is None
    assert sliced(one, test, "channel", 2, 1, 3) == ([], [])
    alone, test = of(["MX"] * 26, [0, 1] * 13, [0, 1] * 13)
    assert sliced(alone, test, "country", 2, 1, 3) == ([], [])


def test_groups_are_resampled_and_shuffled_whole() -> None:
    truth, groups = np.tile([0, 1], 40), np.repeat(np.arange(8), 10)
    countries = ["MX"] * 40 + ["AR"] * 40
    wrong = np.isin(groups, [7])  # one group of AR is all wrong: that says little about AR
    one, test = of(countries, truth, np.where(wrong, 1 - truth, truth), groups.tolist())
    _results, gaps = gaps_of(one, test)
    assert gaps["accuracy"]["value"] == pytest.approx(0.25)
    assert "group" in gaps["accuracy"]["method"]
    assert gaps["accuracy"]["p_value"] > 0.5


@pytest.mark.parametrize(
    ("most", "verdict"), [(0.5, "pass"), (0.2, "undecided"), (0.01, "fail"), (1.0, "pass")]
)
def test_the_gate_decides_a_gap_on_its_interval(most, verdict) -> None:
    one, test = two_countries(4, 14)
    _results, gaps = sliced(one, test, "country", 2, 1, 3)
    limit = Limit(metric="accuracy", max_gap=most, by="country")
    check = _check(limit, {"results": [], "comparisons": [], "gaps": gaps})
    assert check["verdict"] == verdict
    assert check["name"] == "gap in accuracy of tuned on test by country"


def test_a_gap_that_was_not_measured_says_what_it_needs() -> None:
    limit = Limit(metric="accuracy", max_gap=0.1, by="country")
    with pytest.raises(AfinaError, match="no gap in accuracy of tuned on test by country"):
        _check(limit, {"results": [], "comparisons": []})
