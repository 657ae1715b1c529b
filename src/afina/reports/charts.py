"""Charts as inline SVG.

Places are percentages of the width and the text keeps its size, so that one drawing fits a phone and
a wide screen. Colours are CSS classes, so that it follows the theme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape

from afina.reports.formats import Interval
from afina.reports.scales import Points, log_ticks, smooth, thin, tick_text, ticks
from afina.reports.words import model_kind

_ROW = 30
_SHAPES = {
    "tuned": "M-6 -6H6V6H-6Z",
    "base": "M-6 0A6 6 0 1 0 6 0A6 6 0 1 0 -6 0Z",
    "probe": "M0 -8L8 0L0 8L-8 0Z",
    "tfidf": "M0 -7L7.5 6H-7.5Z",
    "blend": "M0 9L3 3L9 0L3 -3L0 -9L-3 -3L-9 0L-3 3Z",
    "prompted": "M0 7L7.5 -6H-7.5Z",
    "quantised": "M-6 -2.5H6V2.5H-6Z",
    "other": "M-2.5 -6H2.5V6H-2.5Z",
}


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps."""

    key: str
    title: str
    description: str
    train: Points
    validation: Points
    best_step: float | None
    best_text: str
    step_text: str


@dataclass(frozen=True)
class Dot:
    """One model's value and interval."""

    model: str
    name: str
    value: float
    ci95: Interval | None
    text: str


def curve_chart(curve: Curve) -> Markup:
    """Training raw and smoothed, validation as points, the best step as a line."""
    smoothed = smooth(curve.train)
    values = [value for _step, value in smoothed + curve.validation]
    if not values:
        return Markup("")
    steps = [step for step, _value in curve.train + curve.validation]
    first, last = min(steps), max(max(steps), min(steps) + 1)
    # The raw curve may leave the picture: one wild step should not flatten all the others.
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > 30
    low, high = _widened(low, high, curve.train, logarithmic)

    def across(step: float) -> float:
        return 100 * (step - first) / (last - first)

    def down(value: float) -> float:
        if logarithmic:
            return 100 * (1 - math.log(max(value, low) / low) / math.log(high / low))
        return 100 * (1 - (value - low) / (high - low))

    marks = log_ticks(low, high) if logarithmic else ticks(low, high)
    parts = [horizontal(down(mark), tick_text(mark)) for mark in marks]
    parts += [vertical_tick(across(mark), tick_text(mark)) for mark in ticks(first, last)]
    parts.append(
        f'<text class="axis" x="100%" y="100%" dy="2.9em" '
        f'text-anchor="end">{escape(curve.step_text)}</text>'
    )
    parts.append('<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">')
    parts.append(polyline("raw", thin(curve.train), across, down))
    parts.append(polyline("smooth", thin(smoothed), across, down))
    parts.append(polyline("validation", curve.validation, across, down))
    parts.append("</svg>")
    if curve.best_step is not None:
        parts.append(_best(across(curve.best_step), curve.best_text))
    if len(curve.validation) <= 60:
        parts += [
            f'<circle class="point" cx="{across(step):.2f}%" cy="{down(value):.2f}%" r="4"/>'
            for step, value in curve.validation
        ]
    return svg_of(f"curve-{curve.key}", "curve", 240, curve.title, curve.description, parts)


def interval_chart(key: str, title: str, description: str, dots: list[Dot], bounded: bool) -> Markup:
    """One row for each model: a mark at its value, a line over its interval, the number at the end."""
    if not dots:
        return Markup("")
    ends = [end for dot in dots for end in (dot.value, *(dot.ci95 or ()))]
    low, high = _domain(min(ends), max(ends), bounded)
    height = _ROW * len(dots)

    def across(value: float) -> float:
        return 100 * (value - low) / (high - low)

    parts = [vertical_tick(across(mark), tick_text(mark), grid=True) for mark in ticks(low, high, 5)]
    for index, dot in enumerate(dots):
        y = _ROW * index + _ROW // 2
        kind = model_kind(dot.model)
        parts.append(f'<g class="m-{kind}">')
        parts.append(
            f'<text class="name" x="-12" y="{y}" dy=".35em" text-anchor="end">{escape(dot.name)}</text>'
        )
        if dot.ci95 is not None:
            left, right = across(dot.ci95[0]), across(dot.ci95[1])
            parts.append(f'<line class="range" x1="{left:.2f}%" x2="{right:.2f}%" y1="{y}" y2="{y}"/>')
            for end in (left, right):
                parts.append(
                    f'<line class="range" x1="{end:.2f}%" x2="{end:.2f}%" y1="{y - 5}" y2="{y + 5}"/>'
                )
        parts.append(
            f'<svg class="mark" x="{across(dot.value):.2f}%" y="{y}" overflow="visible"><path '
            f'd="{_SHAPES[kind]}"/></svg>'
        )
        parts.append(
            f'<text class="value" x="100%" dx="12" y="{y}" dy=".35em">{escape(dot.text)}</text></g>'
        )
    return svg_of(f"dots-{key}", "dots", height, title, description, parts)


def _widened(low: float, high: float, raw: Points, logarithmic: bool) -> tuple[float, float]:
    """The vertical range: all of the main curves, and of the raw one what lies near them."""
    margin = (high / low) ** 0.08 if logarithmic else 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    near = [value for _step, value in raw if _near(value, low, high, logarithmic)]
    low, high = min([low, *near]), max([high, *near])
    if logarithmic:
        return low / margin, high * margin
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def _near(value: float, low: float, high: float, logarithmic: bool) -> bool:
    if logarithmic:
        return low / 3 <= value <= high * 3
    room = 0.5 * (high - low)
    return low - room <= value <= high + room


def _domain(low: float, high: float, bounded: bool) -> tuple[float, float]:
    """The horizontal range: never so narrow that a small difference looks large."""
    if bounded:
        middle, half = (low + high) / 2, max((high - low) / 2, 0.1) * 1.1
        return max(0.0, min(middle - half, low)), min(1.0, max(middle + half, high))
    room = max(0.1 * (high - low), 0.05 * abs(high), 1e-6)
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def svg_of(key: str, kind: str, height: int, title: str, description: str, parts: list[str]) -> Markup:
    """A drawing of parts whose texts are escaped, with its title and description."""
    return Markup(  # noqa: S704 - every text in it is escaped above
        f'<svg class="plot {kind}" role="img" height="{height}" aria-labelledby="{escape(key)}-t '
        f'{escape(key)}-d">'
        f'<title id="{escape(key)}-t">{escape(title)}</title>'
        f'<desc id="{escape(key)}-d">{escape(description)}</desc>{"".join(parts)}</svg>'
    )


def horizontal(y: float, text: str) -> str:
    """A line across with its number; y in percent from the top."""
    return (
        f'<line class="grid" x1="0" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/>'
        f'<text class="tick" x="-8" y="{y:.2f}%" dy=".35em" text-anchor="end">{escape(text)}</text>'
    )


def vertical_tick(x: float, text: str, grid: bool = False) -> str:
    """A number below, with a line up where a grid is wanted; x in percent."""
    line = f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>' if grid else ""
    place = f'x="{x:.2f}%" y="100%" dy="1.5em" text-anchor="middle"'
    return f'{line}<text class="tick" {place}>{escape(text)}</text>'


def _best(x: float, text: str) -> str:
    anchor, dx = ("end", -6) if x > 60 else ("start", 6)
    return (
        f'<line class="best" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>'
        f'<text class="best-text" x="{x:.2f}%" y="0" dx="{dx}" dy="1em" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def polyline(
    kind: str, points: Points, across: Callable[[float], float], down: Callable[[float], float]
) -> str:
    """A line through points; nothing for fewer than two."""
    if len(points) < 2:
        return ""
    places = " ".join(f"{10 * across(step):.1f},{10 * down(value):.1f}" for step, value in points)
    return f'<polyline class="{kind}" vector-effect="non-scaling-stroke" points="{places}"/>'
