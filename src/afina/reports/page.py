"""Renders the page: figures in, one HTML file out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from afina.language import LANGUAGES, _
from afina.reports import comparing, drawings, formats, tables, words
from afina.reports.beside import prompt_rows
from afina.reports.by_heart import by_heart
from afina.reports.figures import Evaluation, Figures, collect
from afina.reports.gate_words import check_rows
from afina.reports.learning_curve import curve_view
from afina.reports.left_out import left_out_view
from afina.reports.method_words import method_text
from afina.reports.mistakes import Mistakes, find_mistakes
from afina.reports.profile import profile_view
from afina.reports.rates import LabelRow, label_rows, rate_drawings
from afina.reports.suites import SuitesView, suites_view
from afina.reports.swapped import SwapRow, swap_rows, swap_sentences
from afina.reports.verdict import build_verdict
from afina.runs.files import write_text
from afina.runs.folder import Run
from afina.runs.spending import source_in_words

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class SetView:
    """What the page shows of one test set."""

    name: str
    facts: dict[str, Any]
    models: list[str]
    metrics: list[str]
    dots: list[drawings.Drawing]
    compared: list[comparing.Compared]
    slices: list[comparing.SliceRow]
    matrices: list[tables.Matrix]
    rates: list[drawings.Drawing]
    labels: list[LabelRow]
    alarms: list[str]
    gaps: list[str]
    swap_sentences: list[str]
    swaps: list[SwapRow]


def write_report(run: Run, language: str, reveal: bool = False) -> Path:
    """Writes `report.html` of a run, from its files alone.

    Args:
        run: the run; any of its files but the recipe may be missing.
        language: "en" or "es".
        reveal: show rows whole and unmasked.
    Returns:
        The path of the page.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {LANGUAGES}, not {language!r}")
    figures = collect(run)
    labels, positive = _labels(figures)
    mistakes = find_mistakes(run, labels, positive, language, reveal)
    path = run.path("report.html")
    suites = suites_view(run, language)
    write_text(path, _render(figures, mistakes, suites, positive, language, reveal))
    return path


def _labels(figures: Figures) -> tuple[list[str], str | None]:
    """The labels in the order of the probabilities, and the one that an alarm is about."""
    found, task = figures.evaluation, figures.recipe.task
    labels = (found.labels if found else []) or list(
        (figures.audit or {}).get("labels") or task.labels or []
    )
    positive = (found.positive if found else None) or task.positive
    if positive is None and len(labels) == 2:
        positive = labels[-1]
    return labels, positive


def _render(
    figures: Figures,
    mistakes: list[Mistakes],
    suites: SuitesView | None,
    positive: str | None,
    language: str,
    reveal: bool,
) -> str:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_vocabulary(language))
    audit, train = figures.audit, figures.train
    return environment.get_template("page.html").render(
        css=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        language=language,
        reveal=reveal,
        run=figures,
        recipe=figures.recipe,
        train=train or {},
        audit=audit,
        positive=positive,
        verdict=build_verdict(figures, language),
        checks=check_rows(figures.gate, figures.recipe.gate, language),
        curves=drawings.curves(figures, language),
        heart=by_heart(figures.evaluation.overfitting if figures.evaluation else None, language),
        learning=curve_view(figures.learning_curve, language),
        sets=_sets(figures.evaluation, language),
        left_out=left_out_view(figures.evaluation, language),
        prompts=prompt_rows(figures.evaluation, language) if figures.evaluation else [],
        mistakes=mistakes,
        suites=suites,
        profile=profile_view(figures.profile, audit, language),
        splits=tables.split_facts(audit or {}),
        labels=tables.label_names(audit or {}),
        samples=tables.samples_by_prompt((train or {}).get("samples") or [], language, reveal),
        settings=tables.settings(figures.recipe, figures.resolved),
        versions=tables.versions(),
        threads=tables.threads(),
    )


def _vocabulary(language: str) -> dict[str, Any]:
    """What the templates call: translation, names, number formats."""
    spoken: dict[str, Callable[..., Any]] = {
        "t": _,
        "model_name": words.model_name,
        "metric_name": words.metric_name,
        "split_name": words.split_name,
        "split_title": words.split_title,
        "stage_name": words.stage_name,
        "drop_reason": words.drop_reason,
        "role_name": words.role_name,
        "model_meaning": words.model_meaning,
        "metric_meaning": words.metric_meaning,
        "method_text": method_text,
        "percent": formats.percent,
        "interval": formats.interval,
        "price_source": source_in_words,
    }
    return {name: partial(function, language=language) for name, function in spoken.items()} | {
        "base_title": words.base_title,
        "capital": words.capital,
        "model_kind": words.model_kind,
        "number": formats.number,
        "signed": formats.signed,
        "count": formats.count,
        "digits_of": formats.digits_of,
        "duration": formats.duration,
        "size": formats.size,
        "when": formats.when,
        "p_text": comparing.p_text,
    }


def _sets(evaluation: Evaluation | None, language: str) -> list[SetView]:
    """The test sets, the main one first."""
    if evaluation is None:
        return []
    names = sorted(evaluation.sets, key=lambda name: name != evaluation.main_set)
    views = []
    for name in names:
        models = evaluation.models(name)
        views.append(
            SetView(
                name=name,
                facts=evaluation.sets[name],
                models=models,
                metrics=evaluation.metrics(name),
                dots=drawings.dots(evaluation, name, language),
                compared=comparing.compared(evaluation, name, language),
                slices=comparing.slice_rows(evaluation, name, models),
                matrices=tables.matrices(evaluation, name),
                rates=rate_drawings(evaluation, name, language),
                labels=label_rows(evaluation, name),
                alarms=comparing.alarm_sentences(evaluation, name, language),
                gaps=comparing.gap_sentences(evaluation, name, language),
                swap_sentences=swap_sentences(evaluation, name, evaluation.positive, language),
                swaps=swap_rows(evaluation, name, language),
            )
        )
    return views
