"""Numbers as people read them. The decimal point is kept in Spanish too, as in Mexico."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from afina.language import _
from afina.metric_names import METRICS

NOTHING = "–"
Interval = tuple[float, float]


def number(value: float | None, digits: int = 3) -> str:
    """A value with a fixed number of decimals; a dash for none."""
    if value is None:
        return NOTHING
    if abs(value) >= 1000:
        digits = min(digits, 1)
    return f"{value:,.{digits}f}".replace("-", "−")


def digits_of(metric: str) -> int:
    """Decimals that a metric is shown with."""
    wide = metric == "perplexity" or (metric in METRICS and METRICS[metric].high == 100)
    return 2 if wide else 3


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, with its sign."""
    if value is None:
        return NOTHING
    return f"{value:+,.{digits}f}".replace("-", "−")


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return NOTHING if value is None else f"{round(value):,}"


def percent(share: float | None, language: str, digits: int = 1) -> str:
    """A share of one as per cent."""
    if share is None:
        return NOTHING
    space = "\u00a0" if language == "es" else ""
    return f"{100 * share:.{digits}f}{space}%"


def interval(ends: Interval | None, language: str, digits: int = 3) -> str:
    """Both ends of an interval."""
    if ends is None:
        return NOTHING
    return _("{low} to {high}", language).format(
        low=number(ends[0], digits), high=number(ends[1], digits)
    )


def ends_of(pair: Sequence[float | None] | None) -> Interval | None:
    """Both ends of an interval as JSON keeps them; None where one is missing."""
    if not pair or pair[0] is None or pair[1] is None:
        return None
    return float(pair[0]), float(pair[1])


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; at most two of them."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def size(size_bytes: float | None) -> str:
    """Bytes in decimal units."""
    if size_bytes is None:
        return NOTHING
    value = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


def when(moment: str | None) -> str:
    """Date and time of an ISO 8601 text, to the minute."""
    if not moment:
        return NOTHING
    try:
        read = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    zone = read.tzname() or ""
    return f"{read:%Y-%m-%d %H:%M} {zone}".strip()
