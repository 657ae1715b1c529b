"""Label metrics, perplexity and calibration against scikit-learn and known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from afina.metrics import labels as mine
from afina.metrics.calibration import fit_temperature, log_loss, softmax
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
