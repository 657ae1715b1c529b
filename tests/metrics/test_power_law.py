"""The power law through errors: recovered where it is one, refused where it cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afina.metrics.power_law import fit_power_law


@given(scale=st.floats(0.01, 100), exponent=st.floats(-1, 3))
def test_a_law_is_found_again(scale: float, exponent: float) -> None:
    rows = np.array([100.0, 200.0, 400.0])
    law = fit_power_law(rows, scale * rows**-exponent)
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=1e-6)
    assert law.scale == pytest.approx(scale, rel=1e-5)


def test_how_many_rows_leave_an_error() -> None:
    law = fit_power_law(np.array([100.0, 400.0]), np.array([0.2, 0.1]))  # half for four times the rows
    assert law is not None
    assert law.exponent == pytest.approx(0.5)
    assert law.rows(0.05) == pytest.approx(1600)
    assert law.error(1600) == pytest.approx(0.05)


def test_an_error_that_does_not_fall_needs_rows_without_end() -> None:
    law = fit_power_law(np.array([100.0, 400.0]), np.array([0.1, 0.2]))
    assert law is not None
    assert math.isinf(law.rows(0.05))


def test_no_error_and_one_number_of_rows_have_no_law() -> None:
    assert fit_power_law(np.array([100.0, 200.0]), np.array([0.1, 0.0])) is None
    assert fit_power_law(np.array([100.0, 100.0]), np.array([0.1, 0.2])) is None
