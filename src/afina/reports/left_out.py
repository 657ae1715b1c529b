"""What the page says of values left out: each fold's figures beside the ordinary model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from afina.language import _
from afina.reports.figures import Evaluation
from afina.reports.formats import count, digits_of, interval, number, signed
from afina.reports.words import METRIC_ORDER, metric_name, model_phrase


@dataclass(frozen=True)
class LeftOutRow:
    """One model's figure on the rows of a fold, or of all of them."""

    values: str
    model: str
    metric: str
    rows: int
    value: str
    value_interval: str
    ordinary: str
    drop: str
    drop_interval: str
    tone: str


@dataclass(frozen=True)
class LeftOutView:
    """What the page shows.

    Attributes:
        sentences: what the drop says. main: rows of the metric that ranks models and of false alarms.
        others: rows of the other metrics. notes: what could not be left out.
    """

    column: str
    sentences: list[str]
    main: list[LeftOutRow]
    others: list[LeftOutRow]
    notes: list[str]


def left_out_view(evaluation: Evaluation | None, language: str) -> LeftOutView | None:
    """None where nothing was left out."""
    if evaluation is None or evaluation.left_out_folds is None or not evaluation.left_out:
        return None
    folds = evaluation.left_out_folds
    order = {name: place for place, name in enumerate(METRIC_ORDER)}
    lines = sorted(
        evaluation.left_out,
        key=lambda line: (order.get(line["metric"], 99), line["values"] is not None),
    )
    first = next((m for m in METRIC_ORDER if any(line["metric"] == m for line in lines)), None)
    shown = (first, "false_positive_rate")
    rows = [(line["metric"] in shown, _row(line, language)) for line in lines]
    return LeftOutView(
        column=str(folds["column"]),
        sentences=[
            _sentence(line, str(folds["column"]), language)
            for line in lines
            if line["values"] is None and line["metric"] == first
        ],
        main=[row for chosen, row in rows if chosen],
        others=[row for chosen, row in rows if not chosen],
        notes=left_out_notes(folds, language),
    )


def left_out_notes(folds: dict[str, Any], language: str) -> list[str]:
    """What was joined, and what could not be left out."""
    notes = []
    if any(len(fold["values"]) > 1 for fold in folds["folds"]):
        notes.append(
            _(
                "Values with one label only are left out together with one of each other label.",
                language,
            )
        )
    reasons = {
        "few_rows": _("fewer than 5 test rows of any label", language),
        "no_rows_of_a_label_left": _("without it too few rows of a label are left", language),
    }
    for value, reason in folds["not_left_out"].items():
        text = _("Not left out: {value} ({why}).", language)
        notes.append(text.format(value=value, why=reasons.get(reason, reason)))
    if folds["train_rows_without_value"]:
        text = _("{rows} training rows have no such value and stay in every fold.", language)
        notes.append(text.format(rows=count(folds["train_rows_without_value"])))
    return notes


def _row(line: dict[str, Any], language: str) -> LeftOutRow:
    digits = digits_of(line["metric"])
    low, high = line["drop_ci95"]
    known = low is not None and high is not None
    tone = "plain" if not known or low <= 0 <= high else "bad" if low > 0 else "good"
    values = _("all of them", language) if line["values"] is None else ", ".join(line["values"])
    return LeftOutRow(
        values=values,
        model=line["model"],
        metric=line["metric"],
        rows=int(line["n"]),
        value=number(line["value"], digits),
        value_interval=_ends(line["ci95"], language, digits),
        ordinary=number(line["ordinary"], digits),
        drop=signed(line["drop"], digits),
        drop_interval=_ends(line["drop_ci95"], language, digits),
        tone=tone,
    )


def _ends(pair: list[float | None], language: str, digits: int) -> str:
    low, high = pair
    return interval(None if low is None or high is None else (low, high), language, digits)


def _sentence(line: dict[str, Any], column: str, language: str) -> str:
    """How much worse a model is on values of the column that it never saw, and whether it is shown."""
    digits = digits_of(line["metric"])
    low, high = line["drop_ci95"]
    text = _(
        "On values of {column} that it never saw, {model} has a {metric} of {value}; trained on all of "
        "them, {ordinary} on the same {rows} rows.",
        language,
    ).format(
        column=column,
        model=model_phrase(line["model"], language),
        metric=metric_name(line["metric"], language),
        value=number(line["value"], digits),
        ordinary=number(line["ordinary"], digits),
        rows=count(line["n"]),
    )
    if low is None or high is None:
        return text + " " + _("The rows say nothing about chance.", language)
    if low > 0:
        return text + " " + _("The drop is larger than chance explains.", language)
    if high < 0:
        return text + " " + _("It is better without them, by more than chance explains.", language)
    return text + " " + _("No drop is shown.", language)
