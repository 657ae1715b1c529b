"""A liking for a label, taken out: by texts without content, and by what was learnt from rows."""

from __future__ import annotations

import numpy as np
import pytest

from afina.metrics.calibration import calibration_error, log_loss, softmax
from afina.metrics.label_bias import METHODS, calibrate, folds, on_unseen_rows

BIAS = np.array([3.0, -1.0, -2.0])


def biased(count: int = 600, scale: float = 1.0, seed: int = 1):
    """Logits that know the truth fairly well, with a liking for the first label added."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, count)
    logits = random.normal(size=(count, 3))
    logits[np.arange(count), truth] += 2.0
    return scale * logits + BIAS, truth


def accuracy(logits, truth) -> float:
    return float((logits.argmax(axis=1) == truth).mean())


def test_contextual_calibration_divides_by_what_a_text_without_content_gets() -> None:
    """By hand: p = (.9, .1), and (.8, .2) for N/A, give (.9/.8, .1/.2), which is (.692, .308)."""
    logits, empty = np.log([[0.9, 0.1]]), np.log([[0.8, 0.2]])
    found = calibrate("contextual", logits, np.array([0]), empty)
    assert softmax(found.apply(logits))[0] == pytest.approx([1.125 / 1.625, 0.5 / 1.625])
    assert softmax(found.apply(empty))[0] == pytest.approx([0.5, 0.5])
    several = np.log([[0.7, 0.3], [0.9, 0.1]])  # the mean is that of the probabilities
    assert softmax(calibrate("contextual", logits, np.array([0]), several).apply(empty))[
        0
    ] == pytest.approx([0.5, 0.5])


def test_none_leaves_everything() -> None:
    logits, truth = biased()
    found = calibrate("none", logits, truth, logits[:1])
    assert np.array_equal(found.apply(logits), logits)
    assert np.array_equal(on_unseen_rows("none", logits, truth, logits[:1], 3), logits)


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_a_fitted_bias_undoes_the_one_that_was_added(scale) -> None:
    logits, truth = biased(scale=scale)
    found = calibrate("bias", logits, truth, logits[:1])
    assert found.bias.sum() == pytest.approx(0, abs=1e-6)
    assert found.bias == pytest.approx(-BIAS + BIAS.mean(), abs=0.45 * scale)
    better, plain = found.apply(logits), logits - BIAS
    assert accuracy(better, truth) >= accuracy(plain, truth) - 0.01
    assert accuracy(better, truth) > accuracy(logits, truth) + (0.15 if scale == 1 else 0)
    assert log_loss(better, truth) < log_loss(logits, truth)
    said = better.argmax(axis=1)
    sure = softmax(better)[np.arange(len(said)), said]
    assert calibration_error(sure, said == truth) < 0.06


def test_a_bias_from_rows_of_one_label_is_finite() -> None:
    logits, _truth = biased(30)
    found = calibrate("bias", logits, np.zeros(30, dtype=int), logits[:1])
    assert np.isfinite(found.bias).all()
    assert 0.01 < found.temperature < 60


def test_folds_spread_every_label_and_are_seeded() -> None:
    truth = np.repeat([0, 1, 2], [10, 25, 15])
    found = folds(truth, 5, 4)
    for code, size in ((0, 2), (1, 5), (2, 3)):
        assert np.bincount(found[truth == code], minlength=5).tolist() == [size] * 5
    assert np.array_equal(found, folds(truth, 5, 4))
    assert not np.array_equal(found, folds(truth, 5, 5))


def test_a_fit_is_judged_on_rows_that_it_has_not_seen() -> None:
    """Logits of pure noise: fitted on all rows, a bias looks better than it is; on unseen rows not."""
    random = np.random.default_rng(5)
    truth = np.repeat([0, 1], 10)
    logits = random.normal(size=(20, 2))
    inside = calibrate("bias", logits, truth, logits[:1]).apply(logits)
    outside = on_unseen_rows("bias", logits, truth, logits[:1], 1)
    assert log_loss(outside, truth) > log_loss(inside, truth)
    # Each fold by the fit of the others: other logits of a row change nothing for the rest of its fold.
    fold, other = folds(truth, 5, 1), logits.copy()
    other[3] += 9.0
    rest = (fold == fold[3]) & (np.arange(20) != 3)
    again = on_unseen_rows("bias", other, truth, logits[:1], 1)
    assert np.array_equal(again[rest], outside[rest])
    assert not np.array_equal(again[fold != fold[3]], outside[fold != fold[3]])


def test_every_method_keeps_the_shape() -> None:
    logits, truth = biased(40)
    for method in METHODS:
        assert on_unseen_rows(method, logits, truth, logits[:2], 1).shape == (40, 3)
