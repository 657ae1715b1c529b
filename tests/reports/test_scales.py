"""Axes, smoothing and thinning."""

from __future__ import annotations

import pytest

from afina.reports.charts import Curve, Dot, curve_chart, interval_chart
from afina.reports.scales import log_ticks, smooth, thin, tick_text, ticks


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 1.0) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.12, 0.38, 3) == [0.2, 0.3]
    assert ticks(3, 3) == [3]
    assert log_ticks(3, 60) == [5, 10, 20, 50]
    assert tick_text(0.2) == "0.2"
    assert tick_text(-0.5) == "−0.5"


def test_smooth_keeps_a_constant() -> None:
    assert [value for _step, value in smooth([(step, 2.0) for step in range(50)])] == pytest.approx(
        [2.0] * 50
    )


def test_thin_keeps_ends_and_extremes() -> None:
    points = [(float(step), 1.0) for step in range(10_000)]
    points[4321] = (4321.0, 99.0)
    kept = thin(points)
    assert len(kept) < 700
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert points[4321] in kept


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, 1e-9, 1e9])
def test_charts_of_one_value(value: float) -> None:
    dots = interval_chart("k", "t", "d", [Dot("tuned", "Tuned", value, None, "x")], bounded=value <= 1)
    curve = curve_chart(Curve("k", "t", "d", [(1.0, value)], [(1.0, value)], 1.0, "best", "step"))
    for svg in (dots, curve):
        assert "nan" not in svg
        assert "inf" not in svg


def test_an_empty_chart_is_nothing() -> None:
    assert curve_chart(Curve("k", "t", "d", [], [], None, "", "")) == ""
    assert interval_chart("k", "t", "d", [], bounded=True) == ""
