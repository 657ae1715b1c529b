"""The part of the card with figures: every model with intervals and rows, groups, the gate's answer."""

from __future__ import annotations

from afina.language import _
from afina.releases.facts import Facts
from afina.releases.markdown import cell, table
from afina.reports.comparing import compared, gap_sentences, slice_name
from afina.reports.figures import Evaluation, Result
from afina.reports.formats import count, digits_of, interval, number, signed
from afina.reports.gate_words import check_rows
from afina.reports.method_words import method_text
from afina.reports.words import metric_name, model_name, model_phrase, split_name


def measured_lines(facts: Facts, language: str) -> list[str]:
    """Tables of the figures in evaluation.json, and in words what they show."""
    found = facts.figures.evaluation
    if found is None:
        return [_("Nothing was measured.", language)]
    lines = []
    for name in found.sets:
        lines += [f"### {_set_title(found, name, language)}", ""]
        lines += table(_head(language), _rows(found, name, language))
        lines += ["", *_differences(found, name, language)]
        lines += _groups(facts, found, name, language)
    return [*lines, *_gate(facts, language)]


def _head(language: str) -> list[str]:
    names = [_("model", language), _("metric", language), _("value", language)]
    return [*names, _("95 % interval", language), _("rows", language), _("interval by", language)]


def _set_title(found: Evaluation, name: str, language: str) -> str:
    facts = found.sets[name]
    if facts.get("groups"):
        text = _("Set “{set}”: {rows} rows in {groups} groups", language)
    else:
        text = _("Set “{set}”: {rows} rows", language)
    return text.format(
        set=cell(split_name(name, language)),
        rows=count(facts.get("rows")),
        groups=count(facts.get("groups")),
    )


def _rows(found: Evaluation, test_set: str, language: str) -> list[list[str]]:
    """The tuned model first, then the others, the best before."""
    models = sorted(found.models(test_set), key=lambda model: model != "tuned")
    rows = []
    for model in models:
        for metric in found.metrics(test_set):
            line = found.result(model, test_set, metric)
            if line is not None and line.value is not None:
                first = [model_name(model, language), metric_name(metric, language)]
                rows.append([*first, *_values(line, language), method_text(line.method, language)])
    return rows


def _values(line: Result, language: str) -> list[str]:
    digits = digits_of(line.metric)
    ends = interval(line.ci95, language, digits)
    return [number(line.value, digits), ends, count(line.n)]


def _differences(found: Evaluation, test_set: str, language: str) -> list[str]:
    """What the paired tests say of the metric that ranks the models."""
    lines = []
    for one in compared(found, test_set, language):
        item = one.found
        if item.metric != found.main_metric or item.slice is not None or item.a != "tuned":
            continue
        digits = digits_of(item.metric)
        text = _("{metric}, {a} minus {b}: {difference} (95 % interval {interval}). {meaning}", language)
        lines.append(
            "- "
            + text.format(
                metric=metric_name(item.metric, language),
                a=model_phrase(item.a, language),
                b=model_phrase(item.b, language),
                difference=signed(item.difference, digits),
                interval=interval(item.ci95, language, digits),
                meaning=one.meaning,
            )
        )
    return [*lines, ""] if lines else []


def _groups(facts: Facts, found: Evaluation, test_set: str, language: str) -> list[str]:
    """The tuned model on parts of the set, where evaluate.slices asked for them."""
    parts = [
        line
        for line in facts.results(sliced=True)
        if line.set == test_set and line.metric in (found.main_metric, "false_positive_rate")
    ]
    if not parts:
        text = _("Groups of rows were not measured apart on this set (evaluate.slices).", language)
        return [text, ""]
    head = [_("group", language), *_head(language)[1:5]]
    rows = [
        [slice_name(line.slice or {}), metric_name(line.metric, language), *_values(line, language)]
        for line in parts
    ]
    said = [f"- {text}" for text in gap_sentences(found, test_set, language)]
    lines = [_("The tuned model by groups of rows:", language), "", *table(head, rows), "", *said]
    return [*lines, ""] if said else lines


def _gate(facts: Facts, language: str) -> list[str]:
    rows = check_rows(facts.figures.gate, facts.recipe.gate, language)
    title = [f"### {_('The gate', language)}", ""]
    if not rows:
        return [*title, _("The recipe sets no limits that the model had to keep.", language)]
    head = [_("limit on", language), _("limit", language), _("value", language)]
    head += [_("95 % interval", language), _("decided", language)]
    shown = [
        [row.name, row.limit, number(row.check.value), interval(row.check.ci95, language), row.verdict]
        for row in rows
    ]
    return [*title, *table(head, shown)]
