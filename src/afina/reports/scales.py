"""Axes and curves as numbers: round ticks, smoothing, thinning."""

from __future__ import annotations

import math

Points = list[tuple[float, float]]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers inside [low, high], about `wanted` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, … inside [low, high]; only powers of ten when there would be many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    return [value for value in found if low <= value <= high] or [low, high]


def tick_text(value: float) -> str:
    """A tick without needless zeros."""
    if abs(value) >= 10000:
        return f"{value:.0e}".replace("e+0", "e") if abs(value) >= 1e6 else f"{value:,.0f}"
    return f"{value:.6g}".replace("-", "−")


def smooth(points: Points) -> Points:
    """Exponential mean over about a twentieth of the curve, without the bias of its beginning."""
    window = max(2.0, len(points) / 20)
    keep = 1 - 1 / window
    total, weight, smoothed = 0.0, 0.0, []
    for step, value in points:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        smoothed.append((step, total / weight))
    return smoothed


def thin(points: Points, most: int = 600) -> Points:
    """At most about `most` points; the lowest and highest of every stretch stay."""
    if len(points) <= most:
        return points
    stretch = math.ceil(2 * len(points) / most)
    kept: set[int] = {0, len(points) - 1}
    for start in range(0, len(points), stretch):
        block = range(start, min(start + stretch, len(points)))
        kept.add(min(block, key=lambda index: points[index][1]))
        kept.add(max(block, key=lambda index: points[index][1]))
    return [points[index] for index in sorted(kept)]
