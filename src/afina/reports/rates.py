"""ROC, precision-recall and reliability as square charts, and the figures of each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from afina.language import _
from afina.reports.drawings import Drawing
from afina.reports.figures import Evaluation, Points
from afina.reports.formats import number, percent
from afina.reports.words import model_kind, model_name

_HEIGHT = 300
_MARKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class LabelRow:
    """One label's figures by one model."""

    label: str
    model: str
    precision: float | None
    recall: float | None
    f1: float | None
    rows: int


def label_rows(evaluation: Evaluation, test_set: str) -> list[LabelRow]:
    """Precision, recall and F1 of each label by each model, label by label, the best model first."""
    by_model = {item["model"]: item["labels"] for item in evaluation.by_label if item["set"] == test_set}
    return [
        LabelRow(label, model, **{name: by_model[model][label].get(name) for name in _SHARES})
        for label in evaluation.labels
        for model in evaluation.models(test_set)
        if label in by_model.get(model, {})
    ]


_SHARES = ("precision", "recall", "f1", "rows")


def rate_drawings(evaluation: Evaluation, test_set: str, language: str) -> list[Drawing]:
    """The curves of every model on a set, and the reliability of the tuned model."""
    order = evaluation.models(test_set)
    curves = sorted(
        (item for item in evaluation.curves if item["set"] == test_set and item["model"] in order),
        key=lambda item: order.index(item["model"]),
    )
    label = evaluation.positive or "–"
    drawings = []
    for key, place, title, note in (
        (
            "roc",
            0.05,
            _("ROC curve", language),
            _("across: false alarms; up: share of {label} found; up and left is better", language),
        ),
        (
            "precision_recall",
            0.5,
            _("Precision and recall", language),
            _(
                "across: share of {label} found; up: alarms that are right; up and right is better",
                language,
            ),
        ),
    ):
        lines = {item["model"]: _points(item[key]) for item in curves if item.get(key)}
        if lines:
            words = _in_words(lines, place, language)
            svg = _square(f"{key}-{test_set}", title, words, lines, diagonal=key == "roc")
            drawings.append(Drawing(title, note.format(label=label), svg))
    for item in evaluation.reliability:
        if (item["model"], item["set"]) == ("tuned", test_set) and item.get("bins"):
            drawings.append(_reliability(item["bins"], test_set, language))
    return drawings


def _points(pairs: list[list[float]]) -> Points:
    return [(float(x), float(y)) for x, y in pairs]


def _in_words(lines: dict[str, Points], place: float, language: str) -> str:
    """What curves say, for those who cannot see them: their height near one place."""
    parts = []
    for model, points in lines.items():
        near = min(points, key=lambda point: abs(point[0] - place))
        parts.append(
            _("{model}: {up} at {across}", language).format(
                model=model_name(model, language),
                up=percent(near[1], language),
                across=percent(near[0], language),
            )
        )
    return "; ".join(parts)


def _reliability(bins: list[dict[str, Any]], test_set: str, language: str) -> Drawing:
    points = [(float(item["confidence"]), float(item["right"])) for item in bins]
    title = _("Reliability of the tuned model", language)
    note = _(
        "across: how sure it says it is; up: how often it is right; the diagonal is honest", language
    )
    words = "; ".join(
        _("sure {sure}, right {right}, {rows} rows", language).format(
            sure=number(across), right=number(up), rows=item["rows"]
        )
        for (across, up), item in zip(points, bins, strict=True)
    )
    svg = _square(f"reliability-{test_set}", title, words, {"tuned": points}, diagonal=True, dots=True)
    return Drawing(title, note, svg)


def _square(
    key: str,
    title: str,
    description: str,
    lines: dict[str, Points],
    diagonal: bool,
    dots: bool = False,
) -> Markup:
    """Both axes from 0 to 1, a line for each model."""
    parts = []
    for mark in _MARKS:
        place, text = f"{100 * mark:g}%", f"{mark:g}"
        up = f"{100 - 100 * mark:g}%"
        parts.append(f'<line class="grid" x1="{place}" x2="{place}" y1="0" y2="100%"/>')
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{up}" y2="{up}"/>')
        parts.append(
            f'<text class="tick" x="{place}" y="100%" dy="1.5em" text-anchor="near">{text}</text>'
        )
        parts.append(f'<text class="tick" x="-8" y="{up}" dy=".35em" text-anchor="end">{text}</text>')
    if diagonal:
        parts.append('<line class="best" x1="0" x2="100%" y1="100%" y2="0"/>')
    parts.append('<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">')
    for model, points in reversed(lines.items()):  # the best one is drawn last, on top
        places = " ".join(f"{1000 * x:.1f},{1000 - 1000 * y:.1f}" for x, y in points)
        parts.append(
            f'<polyline class="rate m-{model_kind(model)}" vector-effect="non-scaling-stroke" '
            f'points="{places}"/>'
        )
    parts.append("</svg>")
    if dots:
        parts += [
            f'<circle class="m-{model_kind(model)}" cx="{100 * x:.2f}%" '
            f'cy="{100 - 100 * y:.2f}%" r="4"/>'
            for model, points in lines.items()
            for x, y in points
        ]
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="plot square" role="img" height="{_HEIGHT}" aria-labelledby="{escape(key)}-t '
        f'{escape(key)}-d"><title id="{escape(key)}-t">{escape(title)}</title>'
        f'<desc id="{escape(key)}-d">{escape(description)}</desc>{"".join(parts)}</svg>'
    )
