"""Paired comparisons as rows of a table that people can read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from afina.language import _
from afina.reports.figures import Comparison, Evaluation, Result
from afina.reports.formats import NOTHING, count, digits_of, number, percent
from afina.reports.words import metric_name, model_phrase


@dataclass(frozen=True)
class Compared:
    """A comparison and what it means."""

    found: Comparison
    meaning: str
    tone: str


@dataclass(frozen=True)
class SliceRow:
    """One metric on a part of a set, a value for each model."""

    name: str
    metric: str
    n: int | None
    groups: int | None
    values: list[Result | None]


def compared(evaluation: Evaluation, test_set: str, language: str) -> list[Compared]:
    """The comparisons on a whole set, the main metric first."""
    order = evaluation.metrics(test_set)
    found = [item for item in evaluation.comparisons if item.set == test_set and item.slice is None]
    found.sort(key=lambda item: order.index(item.metric) if item.metric in order else len(order))
    return [Compared(item, meaning(item, language), _tone(item)) for item in found]


def _tone(item: Comparison) -> str:
    better = item.better()
    return "plain" if better is None else "good" if better else "bad"


def meaning(item: Comparison, language: str) -> str:
    """A difference and its p-value in plain words."""
    names = {
        "a": model_phrase(item.a, language),
        "b": model_phrase(item.b, language),
        "metric": metric_name(item.metric, language),
    }
    if item.difference is None:
        return _("Could not be compared.", language)
    better = item.better()
    if not item.tested():
        parts = [_("Not tested.", language)]
    elif better is None:
        parts = [_("No difference is shown.", language)]
    elif better:
        parts = [_("Better: {a} than {b}.", language).format(**names)]
    else:
        parts = [_("Worse: {a} than {b}.", language).format(**names)]
    if item.p_value is not None and math.isfinite(item.p_value):
        parts.append(chance(item.p_value, language))
    if item.tested() and better is None and item.minimum_detectable is not None:
        text = _("Differences under about {smallest} cannot be seen with these rows.", language)
        if item.sees_nothing():
            text = _("These rows are too few to show any difference.", language)
        parts.append(text.format(smallest=number(item.minimum_detectable, digits_of(item.metric))))
    if item.rows_needed:
        text = _("About {rows} rows would be needed to see a difference of this size.", language)
        parts.append(text.format(rows=count(item.rows_needed)))
    return " ".join(parts)


def alarm_sentences(evaluation: Evaluation, test_set: str, language: str) -> list[str]:
    """How many more or fewer false alarms the tuned model gives than each other one, at equal recall."""
    sentences = []
    for item in evaluation.false_alarms:
        if item["set"] != test_set:
            continue
        words = {
            "a": model_phrase(item["a"], language),
            "b": model_phrase(item["b"], language),
            "recall": percent(item["recall"], language),
            "rate_a": percent(item["rate_a"], language),
            "rate_b": percent(item["rate_b"], language),
            "rows": count(item["n"]),
        }
        text = _(
            "When both find {recall}, {a} raises a false alarm on {rate_a} and {b} on {rate_b} of "
            "{rows} rows without the label.",
            language,
        )
        parts = [text.format(**words)]
        change, (low, high) = item["relative_change"], item["ci95"]
        if change is not None and low is not None and high is not None:
            text = _("A change of {change} (95% interval {low} to {high}).", language)
            values = {"change": change, "low": low, "high": high}
            parts.append(text.format(**{name: f"{100 * end:+.0f} %" for name, end in values.items()}))
            if low <= 0 <= high:
                parts.append(_("That may be chance.", language))
        sentences.append(" ".join(parts))
    return sentences


def gap_sentences(evaluation: Evaluation, test_set: str, language: str) -> list[str]:
    """How far the tuned model's main metric differs between the values of each column."""
    sentences = []
    for item in evaluation.gaps:
        if (item["set"], item["model"], item["metric"]) != (test_set, "tuned", evaluation.main_metric):
            continue
        digits = digits_of(item["metric"])
        text = _(
            "By {column}, {metric} of the tuned model is lowest for {low} ({low_value}) and highest for "
            "{high} ({high_value}): a gap of {gap}.",
            language,
        )
        parts = [
            text.format(
                column=item["column"],
                metric=metric_name(item["metric"], language),
                low=item["lowest"]["value"],
                low_value=number(item["lowest"]["metric"], digits),
                high=item["highest"]["value"],
                high_value=number(item["highest"]["metric"], digits),
                gap=number(item["value"], digits),
            )
        ]
        if item["p_value"] >= 0.05:
            parts.append(_("Parts drawn by lot differ as much: no gap is shown.", language))
        else:
            text = _("Parts drawn by lot differ as much in {times} of 1,000 draws.", language)
            parts.append(text.format(times=round(1000 * item["p_value"])))
        sentences.append(" ".join(parts))
    return sentences


def chance(p_value: float, language: str) -> str:
    """What a p-value says: how often equal models would differ as much."""
    if p_value < 0.001:
        return _(
            "Two equally good models would differ this much in fewer than 1 of 1,000 such tests.",
            language,
        )
    if p_value < 0.095:
        text = _(
            "Two equally good models would differ this much in about {times} of 1,000 such tests.",
            language,
        )
        return text.format(times=round(1000 * p_value))
    text = _(
        "Two equally good models would differ this much in about {times} of 100 such tests.", language
    )
    return text.format(times=round(100 * p_value))


def p_text(p_value: float | None) -> str:
    """A p-value for engineers."""
    if p_value is None or not math.isfinite(p_value):
        return NOTHING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def slice_rows(evaluation: Evaluation, test_set: str, models: list[str]) -> list[SliceRow]:
    """Results on parts of a set, one row for each part and metric."""
    found: dict[tuple[str, str], dict[str, Result]] = {}
    for result in evaluation.results:
        if result.set == test_set and result.slice:
            found.setdefault((slice_name(result.slice), result.metric), {})[result.model] = result
    rows = []
    for (name, metric), by_model in found.items():
        first = next(iter(by_model.values()))
        rows.append(
            SliceRow(name, metric, first.n, first.groups, [by_model.get(model) for model in models])
        )
    return rows


def slice_name(part: dict[str, Any]) -> str:
    """`country = MX`."""
    return ", ".join(f"{column} = {value}" for column, value in part.items())
