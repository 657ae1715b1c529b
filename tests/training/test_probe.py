"""The probe decides as scikit-learn's own model does."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from afina.inference.pooled import load_head
from afina.metrics.calibration import log_loss, softmax
from afina.training.probe import MOST_ROWS, STRENGTHS, fit_probe


def clouds(labels: int, rows: int, seed: int):
    """Points around one centre a label, in eight dimensions of very different scale."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(labels, 8))
    truth = random.integers(labels, size=rows)
    points = (centres[truth] + random.normal(size=(rows, 8))) * np.logspace(-2, 2, 8) + 3
    return points.astype(np.float32), truth


@pytest.mark.parametrize("labels", [2, 3])
def test_probabilities_are_those_of_scikit_learn_with_the_least_validation_loss(labels):
    features, truth = clouds(labels, 300, 1)
    check, check_truth = clouds(labels, 100, 2)
    head, strength = fit_probe(features, truth, labels, check, check_truth, 13)

    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6
    mean, scale = mean.astype(np.float32), scale.astype(np.float32)
    found = {}
    for candidate in STRENGTHS:
        model = LogisticRegression(C=candidate, max_iter=2000).fit((features - mean) / scale, truth)
        probabilities = model.predict_proba((check - mean) / scale)
        found[candidate] = (-np.log(probabilities[np.arange(100), check_truth]).mean(), probabilities)
    best = min(found, key=lambda candidate: found[candidate][0])
    assert strength == best
    assert log_loss(head.logits(check), check_truth) == pytest.approx(found[best][0], abs=1e-6)
    np.testing.assert_allclose(softmax(head.logits(check)), found[best][1], atol=1e-6)


def test_a_saved_head_is_the_same_head(tmp_path):
    features, truth = clouds(3, 60, 1)
    head, _strength = fit_probe(features, truth, 3, features, truth, 13)
    head.save(tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert np.array_equal(again.logits(features), head.logits(features))
    assert (again.weight.shape, again.bias.shape) == ((3, 8), (3,))


def test_a_constant_feature_does_no_harm():
    features, truth = clouds(2, 60, 1)
    features[:, 0] = 7.0
    head, _strength = fit_probe(features, truth, 2, features, truth, 13)
    assert np.isfinite(head.logits(features)).all()


def test_of_very_many_rows_a_seeded_part_is_fitted():
    features = np.zeros((MOST_ROWS + 10, 1), dtype=np.float32)
    truth = np.arange(len(features)) % 2
    features[:, 0] = truth + np.random.default_rng(0).normal(size=len(features))
    one = fit_probe(features, truth, 2, features[:50], truth[:50], 1)
    again = fit_probe(features, truth, 2, features[:50], truth[:50], 1)
    other = fit_probe(features, truth, 2, features[:50], truth[:50], 2)
    assert np.array_equal(one[0].weight, again[0].weight)
    assert not np.array_equal(one[0].mean, other[0].mean)
