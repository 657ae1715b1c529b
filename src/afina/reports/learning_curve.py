"""The learning curve as a drawing, a table and the sentence on whether more data is likely to help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from afina.language import _
from afina.metric_names import LOWER_IS_BETTER
from afina.reports.charts import horizontal, polyline, svg_of, vertical_tick
from afina.reports.formats import digits_of, ends_of, interval, number, percent, signed
from afina.reports.scales import tick_text, ticks
from afina.reports.statements import BAD, GOOD, PLAIN, WARN, Statement
from afina.reports.words import capital, metric_name, model_name

_ORDER = ("tuned", "probe", "tfidf")


@dataclass(frozen=True)
class PointRow:
    """The models fitted on a number of rows."""

    rows: int
    share: str
    values: list[str]


@dataclass(frozen=True)
class CurveView:
    """The section of the page."""

    headline: Statement
    sentences: list[str]
    title: str
    note: str
    svg: Markup
    models: list[str]
    rows: list[PointRow]


def curve_view(found: dict[str, Any] | None, language: str) -> CurveView | None:
    """The section from learning_curve.json; None without one."""
    if not found or not found.get("points"):
        return None
    metric = found["main_metric"]
    points = [point for point in found["points"] if point["metric"] == metric]
    models = [model for model in _ORDER if any(point["model"] == model for point in points)]
    name = metric_name(metric, language)
    lower = metric in LOWER_IS_BETTER
    return CurveView(
        headline=gain_statement(found, language),
        sentences=[*_fit_sentences(found["fit"], language), *_notes(found, language)],
        title=capital(name),
        note=_("lower is better", language) if lower else _("higher is better", language),
        svg=_chart(points, models, metric, language),
        models=models,
        rows=_rows(points, models, metric, language),
    )


def gain_statement(found: dict[str, Any], language: str) -> Statement:
    """Whether the last rows helped, and so whether more are likely to."""
    metric = found["main_metric"]
    digits = digits_of(metric)
    gains = [g for g in found["gains"] if (g["model"], g["metric"]) == ("tuned", metric)]
    if not gains or gains[0]["difference"] is None:
        return Statement(
            PLAIN, _("There is only one number of training rows: no curve can be drawn.", language)
        )
    gain = gains[0]
    values = {
        point["rows"]: point["value"]
        for point in found["points"]
        if (point["model"], point["metric"]) == ("tuned", metric)
    }
    before = number(values.get(gain["from_rows"]), digits)
    after = number(values.get(gain["to_rows"]), digits)
    ends = ends_of(gain["ci95"])
    text = _(
        "From {from_rows} to {to_rows} training rows, {metric} goes from {before} to {after}: "
        "{difference}, 95% interval {interval}.",
        language,
    ).format(
        from_rows=f"{gain['from_rows']:,}",
        to_rows=f"{gain['to_rows']:,}",
        metric=metric_name(metric, language),
        before=before,
        after=after,
        difference=signed(gain["difference"], digits),
        interval=interval(ends if ends and ends[0] < ends[1] else None, language, digits),
    )
    if ends is None or ends[0] <= 0 <= ends[1]:
        text += " " + _("These test rows cannot tell whether more training rows would help.", language)
        if gain["minimum_detectable"] is not None:
            smallest = _("They would show a change of {smallest} or more.", language)
            text += " " + smallest.format(smallest=number(gain["minimum_detectable"], digits))
        return Statement(WARN, text)
    if (ends[0] > 0) != (metric in LOWER_IS_BETTER):
        return Statement(GOOD, text + " " + _("More rows of this kind are likely to help.", language))
    return Statement(
        BAD, text + " " + _("The rows that came last made it worse: look at what they hold.", language)
    )


def _fit_sentences(fit: dict[str, Any], language: str) -> list[str]:
    if fit["meaningful"]:
        low, high = fit["rows_needed_ci95"]
        text = _(
            "By a power law through these points, about {rows} training rows would leave three quarters "
            "of the error (95% interval {low} to {high}).",
            language,
        )
        beyond = _("more than ten times as many as there are", language)
        return [
            text.format(
                rows=f"{fit['rows_needed']:,}",
                low=f"{low:,}",
                high=beyond if high is None else f"{high:,}",
            )
        ]
    why = {
        "few_points": _("No power law is fitted: it takes three numbers of rows.", language),
        "no_error": _("No power law is fitted: there is no error left on these test rows.", language),
        "not_falling": _(
            "No power law is fitted: the error does not fall from each number of rows to the next.",
            language,
        ),
        "few_groups": _(
            "No power law is fitted: the test rows are of too few groups to tell how sure it would be.",
            language,
        ),
        "uncertain": _(
            "A power law through these points says nothing: the test rows leave open whether the error "
            "falls at all.",
            language,
        ),
        "too_far": _(
            "By a power law through these points, three quarters of the error would be left only with "
            "more than ten times the rows: other rows or a larger base are worth more than more of the "
            "same.",
            language,
        ),
    }
    return [why[fit["why"]]] if fit["why"] in why else []


def _notes(found: dict[str, Any], language: str) -> list[str]:
    said = [
        _(
            "Each point is one training with the recipe's settings, measured on the same {rows} test "
            "rows; what another seed would change is not in the intervals.",
            language,
        ).format(rows=f"{found['n']:,}")
    ]
    if found["left_out"]:
        text = _("Shares without a part of their own: {shares}.", language)
        shown = ", ".join(percent(share, language, 0) for share in found["left_out"])
        said.append(text.format(shares=shown))
    return said


def _rows(points: list[dict[str, Any]], models: list[str], metric: str, language: str) -> list[PointRow]:
    digits = digits_of(metric)
    found = {(point["rows"], point["model"]): point for point in points}
    shares = {point["rows"]: point["share"] for point in points}
    rows = []
    for count, share in sorted(shares.items()):
        values = []
        for model in models:
            point = found.get((count, model))
            ends = interval(ends_of(point["ci95"]), language, digits) if point else ""
            values.append(f"{number(point['value'], digits)} ({ends})" if point else "–")
        rows.append(PointRow(count, percent(share, language, 0), values))
    return rows


def _chart(points: list[dict[str, Any]], models: list[str], metric: str, language: str) -> Markup:
    """A line for each model over the number of rows; the tuned model's points with their intervals."""
    ends = [
        end
        for point in points
        for end in (point["value"], *(ends_of(point["ci95"]) or ()))
        if point["model"] == "tuned" or end == point["value"]
    ]
    low, high = float(min(ends)), float(max(ends))
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = (max(0.0, low - margin) if low >= 0 else low - margin), high + margin
    most = float(max(point["rows"] for point in points))

    def across(rows: float) -> float:
        return 100 * rows / most

    def down(value: float) -> float:
        return 100 * (1 - (value - low) / (high - low))

    parts = [horizontal(down(mark), tick_text(mark)) for mark in ticks(low, high)]
    parts += [vertical_tick(across(mark), tick_text(mark)) for mark in ticks(0, most)]
    said = escape(_("training rows", language))
    parts.append(f'<text class="axis" x="100%" y="100%" dy="2.9em" text-anchor="end">{said}</text>')
    lines = {
        model: sorted((p["rows"], p["value"]) for p in points if p["model"] == model) for model in models
    }
    parts.append('<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">')
    for model, line in reversed(lines.items()):
        parts.append(polyline(f"rate m-{model}", line, across, down))
    parts.append("</svg>")
    for point in points:
        pair = ends_of(point["ci95"]) if point["model"] == "tuned" else None
        x = across(point["rows"])
        if pair is not None:
            top, bottom = down(pair[1]), down(pair[0])
            parts.append(
                f'<g class="m-tuned"><line class="range" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top:.2f}%" '
                f'y2="{bottom:.2f}%"/></g>'
            )
        parts.append(
            f'<circle class="m-{escape(point["model"])}" cx="{x:.2f}%" cy="{down(point["value"]):.2f}%" '
            'r="4"/>'
        )
    title = _("Learning curve", language)
    digits = digits_of(metric)
    words = "; ".join(
        _("{model}: {values}", language).format(
            model=model_name(model, language),
            values=", ".join(f"{rows:,} → {number(value, digits)}" for rows, value in line),
        )
        for model, line in lines.items()
    )
    return svg_of(f"learning-{metric}", "curve", 240, title, words, parts)
