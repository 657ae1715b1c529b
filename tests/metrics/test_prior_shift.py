"""Shares of labels found from rows without labels: against a mixture whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.prior_shift import shifted
from scipy.stats import norm


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_the_share_of_a_label_is_found_again(share: float) -> None:
    """Two normal curves, one a label; the classifier is the exact posterior at equal shares."""
    random = np.random.default_rng(3)
    truth = random.random(20_000) < share
    values = random.normal(np.where(truth, 1.5, -1.5), 1.0)
    high, low = norm.pdf(values, 1.5), norm.pdf(values, -1.5)
    at_half = np.stack([low, high], axis=1) / (low + high)[:, None]
    found, shares = shifted(at_half, np.array([0.5, 0.5]))
    assert shares[1] == pytest.approx(truth.mean(), abs=0.01)
    exact = share * high / (share * high + (1 - share) * low)
    assert np.abs(found[:, 1] - exact).mean() < 0.01
    assert found.sum(axis=1) == pytest.approx(1.0)


def test_equal_shares_change_nothing_and_no_label_dies() -> None:
    even = np.array([[0.9, 0.1], [0.1, 0.9]])
    found, shares = shifted(even, np.array([0.5, 0.5]))
    assert found == pytest.approx(even)
    assert shares == pytest.approx([0.5, 0.5])
    _found, shares = shifted(np.array([[1.0, 0.0]] * 5), np.array([0.5, 0.5]))
    assert shares[1] > 0
