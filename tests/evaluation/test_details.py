"""Curves, labels, reliability and false alarms at equal recall: answers that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from afina.evaluation.details import MOST_POINTS, label_details
from afina.evaluation.false_alarms import false_alarms
from afina.metrics.labels import auc
from tests.evaluation.test_score import measured

LABELS = ["legitimate", "phishing"]


def of(truth, score, threshold=0.5, **other):
    said = (np.array(score) >= threshold).astype(int)
    return measured(truth, said, score, **other)


def test_what_is_kept_of_a_small_set() -> None:
    one, test = of([0, 0, 0, 1, 1], [0.1, 0.2, 0.9, 0.8, 0.3])
    found = label_details(one, test, LABELS, 1)
    assert found["confusion"]["counts"] == [[2, 1], [1, 1]]
    assert found["by_label"]["labels"]["phishing"] == {
        "precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2,
    }  # fmt: skip
    assert found["by_label"]["labels"]["legitimate"]["precision"] == pytest.approx(2 / 3)
    third = round(1 / 3, 6)
    assert found["curves"]["roc"] == [
        [0, 0], [third, 0], [third, 0.5], [third, 1], [round(2 / 3, 6), 1], [1, 1],
    ]  # fmt: skip
    assert sum(item["rows"] for item in found["reliability"]["bins"]) == 5


def test_no_curve_without_both_kinds_of_rows_or_a_positive_label() -> None:
    one, test = of([1, 1], [0.2, 0.7])
    assert "curves" not in label_details(one, test, LABELS, 1)
    one, test = of([0, 1], [0.2, 0.7])
    assert "curves" not in label_details(one, test, LABELS, None)


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 5000)
    one, test = of(truth, np.clip(0.3 * truth + random.normal(0.35, 0.2, 5000), 0, 1))
    points = np.array(label_details(one, test, LABELS, 1)["curves"]["roc"])
    assert len(points) <= MOST_POINTS + 1
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    area = np.trapezoid(points[:, 1], points[:, 0])
    assert area == pytest.approx(auc(truth, one.answers[:, 1], 1), abs=0.005)


def scores(alarms: int, rows: int = 400) -> list[float]:
    """Scores of `rows` legitimate rows of which so many lie above all but one phishing row."""
    return [*np.linspace(0.61, 0.69, alarms), *np.linspace(0.01, 0.3, rows - alarms)]


def test_thresholds_are_set_anew_for_the_same_recall() -> None:
    truth = [0] * 400 + [1] * 10
    found = [0.9] * 9 + [0.1]
    a, test = of(truth, scores(20) + found)
    # b is the same ranking with another threshold in mind: it is set anew, so only the ranking counts.
    b, _test = of(truth, [0.1 * s for s in scores(40) + [0.95] * 8 + [0.6] + [0.1]], model="tfidf")
    line = false_alarms(a, b, test, 1, seed=3)
    assert line is not None
    assert line["recall"] == 0.9
    assert line["n"] == 400
    assert (line["rate_a"], line["rate_b"]) == (0.0, 0.1)
    assert line["relative_change"] == -1.0
    back = false_alarms(b, a, test, 1, seed=3)
    assert back is None  # at its own threshold of 0.5 b finds nothing


def test_the_change_has_an_interval_that_holds_it() -> None:
    random = np.random.default_rng(1)
    truth = np.repeat([0, 1], [600, 200])
    a, test = of(truth, 1 / (1 + np.exp(-random.normal(2.4 * truth - 1.2, 1))))
    b, _test = of(truth, 1 / (1 + np.exp(-random.normal(1.2 * truth - 0.6, 1))), model="base")
    line = false_alarms(a, b, test, 1, seed=3)
    assert line is not None
    low, high = line["ci95"]
    assert low < line["relative_change"] < high < 0
    assert line["rate_a"] / line["rate_b"] - 1 == pytest.approx(line["relative_change"])


def test_no_false_alarm_of_the_other_leaves_no_relative_change() -> None:
    truth = [0] * 20 + [1] * 5
    a, test = of(truth, [0.9] + [0.1] * 19 + [0.8] * 5)
    b, _test = of(truth, [0.1] * 20 + [0.9] * 5, model="tfidf")
    line = false_alarms(a, b, test, 1, seed=3)
    assert line is not None
    assert line["relative_change"] is None
    assert line["ci95"] == [None, None]
    assert line["rate_a"] == 0.05
