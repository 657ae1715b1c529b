"""Label metrics, perplexity and calibration against scikit-learn and known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from afina.metrics import labels as mine
from afina.metrics.calibration import (
    calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    softmax,
)
from afina.metrics.perplexity import perplexity

pairs = st.integers(2, 4).flatmap(
    lambda kinds: st.tuples(
        st.just(kinds),
        st.lists(
            st.tuples(st.integers(0, kinds - 1), st.integers(0, kinds - 1)), min_size=1, max_size=40
        ),
    )
)


@settings(max_examples=120, deadline=None)
@given(pairs)
def test_shares_and_f1_are_those_of_scikit_learn(given_pairs) -> None:
    kinds, rows = given_pairs
    truth, said = np.array(rows).T
    assert mine.accuracy(truth, said) == pytest.approx(reference.accuracy_score(truth, said))
    assert mine.macro_f1(truth, said, kinds) == pytest.approx(
        reference.f1_score(truth, said, average="macro", zero_division=0)
    )
    assert (
        mine.confusion(truth, said, kinds)
        == reference.confusion_matrix(truth, said, labels=list(range(kinds)))
    ).all()
    one = {"labels": [1], "average": "macro"}
    if (truth == 1).any():
        assert mine.recall(truth, said, 1) == pytest.approx(reference.recall_score(truth, said, **one))
    else:
        assert math.isnan(mine.recall(truth, said, 1))
    if (said == 1).any():
        assert mine.precision(truth, said, 1) == pytest.approx(
            reference.precision_score(truth, said, **one)
        )
    else:
        assert math.isnan(mine.precision(truth, said, 1))
    if (truth != 1).any():
        rate = reference.recall_score(truth != 1, said != 1)
        assert mine.false_positive_rate(truth, said, 1) == pytest.approx(1 - rate)
    else:
        assert math.isnan(mine.false_positive_rate(truth, said, 1))


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=50))
def test_auc_with_ties_is_that_of_scikit_learn(rows) -> None:
    truth, score = np.array(rows).T
    if len(set(truth)) < 2:
        assert math.isnan(mine.auc(truth, score / 5, 1))
    else:
        assert mine.auc(truth, score / 5, 1) == pytest.approx(reference.roc_auc_score(truth, score))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_log_loss_is_that_of_scikit_learn(kinds: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits, truth = random.normal(0, 3, (rows, kinds)), random.integers(0, kinds, rows)
    expected = reference.log_loss(truth, softmax(logits), labels=list(range(kinds)))
    assert log_loss(logits, truth) == pytest.approx(expected)
    assert log_loss(logits + 1000, truth) == pytest.approx(expected)


def test_softmax_of_huge_logits_is_finite() -> None:
    assert softmax(np.array([[1e4, -1e4, 1e4]])) == pytest.approx(np.array([[0.5, 0, 0.5]]))
    assert softmax(np.array([[2.0, 0.0]]), 2.0) == pytest.approx(softmax(np.array([[1.0, 0.0]])))


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_logits_is_found(known: float) -> None:
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (20_000, 3))
    truth = np.array([random.choice(3, p=p) for p in softmax(logits)])
    assert fit_temperature(logits * known, truth) == pytest.approx(known, rel=0.05)


def test_a_temperature_never_makes_the_log_loss_worse() -> None:
    random = np.random.default_rng(6)
    logits, truth = random.normal(0, 4, (200, 2)), random.integers(0, 2, 200)
    assert log_loss(logits, truth, fit_temperature(logits, truth)) <= log_loss(logits, truth)


def test_perplexity_weighs_tokens_not_rows() -> None:
    # One token of loss ln 8 and three of ln 2: the mean is (3 + 3·1)/4 bits = 1.5 bits.
    assert perplexity([math.log(8), 3 * math.log(2)], [1, 3]) == pytest.approx(2**1.5)
    assert perplexity([10 * math.log(50_000)], [10]) == pytest.approx(50_000)


def test_perplexity_at_its_edges() -> None:
    assert math.isnan(perplexity([], []))
    assert math.isnan(perplexity([0.0], [0]))
    assert perplexity([0.0], [5]) == 1
    assert perplexity([1e6], [1]) == math.inf


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=120, deadline=None)
@given(pairs)
def test_micro_f1_matthews_and_each_labels_shares_are_those_of_scikit_learn(given_pairs) -> None:
    kinds, rows = given_pairs
    truth, said = np.array(rows).T
    assert mine.micro_f1(truth, said) == pytest.approx(
        reference.f1_score(truth, said, average="micro", zero_division=0)
    )
    assert mine.matthews(truth, said, kinds) == pytest.approx(
        reference.matthews_corrcoef(truth, said), abs=1e-6
    )
    wanted = reference.precision_recall_fscore_support(
        truth, said, labels=range(kinds), zero_division=np.nan
    )
    found = mine.by_label(truth, said, kinds)
    np.testing.assert_allclose(found[:, 0], wanted[0])
    np.testing.assert_allclose(found[:, 1], wanted[1])
    np.testing.assert_allclose(found[:, 2], np.nan_to_num(wanted[2]))


scored = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _score in rows}) == 2
)


@settings(max_examples=120, deadline=None)
@given(scored)
def test_curves_are_those_of_scikit_learn(rows) -> None:
    truth, score = np.array(rows).T
    rates, recalls, thresholds = reference.roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(
        mine.roc_curve(truth, score.astype(float), 1), np.stack([rates, recalls, thresholds], axis=1)
    )
    precisions, recalls, thresholds = reference.precision_recall_curve(truth, score)
    np.testing.assert_allclose(
        mine.precision_recall_curve(truth, score.astype(float), 1)[::-1],
        np.stack([recalls[:-1], precisions[:-1], thresholds], axis=1),
    )


def test_recall_at_one_percent_of_false_alarms() -> None:
    # 200 legitimate rows: two false alarms are 1 %, three are too many. The third highest of them scores
    # 197, so that every phishing row above it is found: 3 of 4.
    truth = np.array([0] * 200 + [1] * 4)
    score = np.array([*range(200), 500, 400, 197.5, 5], dtype=float)
    assert mine.recall_at(truth, score, 1) == 0.75
    assert mine.recall_at(truth, score, 1, most=0.005) == 0.5
    assert mine.recall_at(truth, -score, 1) == 0.0
    assert math.isnan(mine.recall_at(truth[:200], score[:200], 1))


def test_bins_hold_equal_numbers_and_equal_confidences_stay_together() -> None:
    confidence = np.array([0.5, 0.6, 0.6, 0.6, 0.9, 1.0])
    right = np.array([True, False, True, True, True, True])
    np.testing.assert_allclose(reliability(confidence, right, 3), [[0.575, 0.75, 4], [0.95, 1.0, 2]])
    assert calibration_error(confidence, right, 3) == pytest.approx((4 * 0.175 + 2 * 0.05) / 6)
    assert math.isnan(calibration_error(confidence[:0], right[:0]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80), st.integers(1, 20))
def test_every_row_is_in_one_bin(rows, bins) -> None:
    confidence, right = (np.array(column) for column in zip(*rows, strict=True))
    table = reliability(confidence, right, bins)
    assert table[:, 2].sum() == len(rows)
    assert (np.diff(table[:, 0]) > 0).all()
    assert len(table) <= bins
    assert float(table[:, 1] @ table[:, 2]) == pytest.approx(right.sum())
    assert 0 <= calibration_error(confidence, right, bins) <= 1


def test_confidence_that_is_always_right_by_its_share_has_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 200_000)
    assert calibration_error(confidence, random.random(200_000) < confidence) < 0.01
    assert calibration_error(confidence, random.random(200_000) < confidence - 0.2) == pytest.approx(
        0.2, abs=0.01
    )
