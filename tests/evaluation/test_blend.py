"""The blend finds the weights that a calibrated sum has, and falls back to the mean."""

from __future__ import annotations

import numpy as np
import pytest

from afina.errors import StorageError
from afina.evaluation.blend import Blend, fit_blend, read_blend
from afina.metrics.calibration import log_loss, softmax

RANDOM = np.random.default_rng(3)


def odds_to_probabilities(odds):
    return softmax(np.stack([np.zeros_like(odds), odds], axis=1))


def two_witnesses(count):
    """Two independent witnesses: the log-odds of the truth are the sum of theirs (Bayes)."""
    truth = RANDOM.integers(2, size=count)
    odds = [2 * s * ((2 * truth - 1) * s + RANDOM.normal(size=count)) for s in (1.0, 0.5)]
    return truth, [odds_to_probabilities(each) for each in odds], odds


def test_independent_witnesses_are_summed():
    truth, (a, b), _odds = two_witnesses(20_000)
    blend = fit_blend(a, b, truth)
    assert blend.fitted
    assert blend.weights == pytest.approx((1, 1), abs=0.07)
    assert blend.bias == pytest.approx((0, 0), abs=0.05)
    apart = min(log_loss(np.log(one), truth) for one in (a, b))
    assert log_loss(blend.logits(a, b), truth) < apart - 0.02


def test_a_witness_that_knows_nothing_counts_nothing():
    truth, (a, _b), _odds = two_witnesses(5_000)
    noise = odds_to_probabilities(RANDOM.normal(size=5_000))
    assert fit_blend(a, noise, truth).weights == pytest.approx((1, 0), abs=0.08)


def test_few_rows_give_the_mean_of_the_log_odds():
    truth, (a, b), odds = two_witnesses(30)
    blend = fit_blend(a, b, truth)
    assert (blend.weights, blend.fitted, blend.rows) == ((0.5, 0.5), False, 30)
    wanted = odds_to_probabilities((odds[0] + odds[1]) / 2)
    np.testing.assert_allclose(blend.probabilities(a, b), wanted, atol=1e-9)


def test_a_label_of_few_rows_gives_it_too():
    truth, (a, b), _odds = two_witnesses(200)
    assert not fit_blend(a[:60], b[:60], np.array([0] * 55 + [1] * 5)).fitted
    assert truth.any()


def test_three_labels():
    truth = RANDOM.integers(3, size=3_000)
    logits = RANDOM.normal(size=(2, 3_000, 3))
    logits[:, np.arange(3_000), truth] += 1.5
    a, b = (softmax(one) for one in logits)
    blend = fit_blend(a, b, truth)
    assert blend.probabilities(a, b).sum(axis=1) == pytest.approx(np.ones(3_000))
    assert log_loss(blend.logits(a, b), truth) < log_loss(np.log(a), truth)


def test_it_is_read_as_it_was_written():
    blend = Blend((0.25, 1.5), (0.1, -0.1), 80, True)
    assert read_blend(blend.as_json()) == blend
    with pytest.raises(StorageError, match="holds no blend"):
        read_blend({"weights": [1]})


def test_the_penalty_is_on_the_scale_of_rows():
    """scikit-learn's logistic regression on both log-odds, where the penalty no longer matters."""
    from sklearn.linear_model import LogisticRegression

    truth, (a, b), odds = two_witnesses(4_000)
    reference = LogisticRegression(C=1e6).fit(np.stack(odds, axis=1), truth)
    assert fit_blend(a, b, truth).weights == pytest.approx(tuple(reference.coef_[0]), abs=0.02)
