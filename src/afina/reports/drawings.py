"""The charts of a page, drawn from the run's figures, each with its text alternative."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from afina.language import _
from afina.metric_names import LOWER_IS_BETTER, is_share
from afina.reports.charts import Curve, Dot, curve_chart, interval_chart
from afina.reports.figures import Evaluation, Figures, Points
from afina.reports.formats import digits_of, interval, number
from afina.reports.words import capital, metric_name, model_name, split_name


@dataclass(frozen=True)
class Drawing:
    """One chart with its heading and a note."""

    title: str
    note: str
    svg: Markup


def curves(figures: Figures, language: str) -> list[Drawing]:
    """Loss and, where there is one, perplexity over the steps."""
    found = figures.curves
    best = (figures.train or {}).get("best_step")
    drawings = []
    for key, title, train, validation in (
        ("loss", _("Loss", language), found.train_loss, found.validation_loss),
        ("perplexity", _("Perplexity", language), found.train_perplexity, found.validation_perplexity),
    ):
        if not train and not validation:
            continue
        curve = Curve(
            key=key,
            title=title,
            description=_curve_words(train, validation, best, language),
            train=train,
            validation=validation,
            best_step=None if best is None else float(best),
            best_text=_("best: step {step}", language).format(step=best),
            step_text=_("step", language),
        )
        drawings.append(Drawing(title, _("lower is better", language), curve_chart(curve)))
    return drawings


def _curve_words(train: Points, validation: Points, best: int | None, language: str) -> str:
    parts = []
    if train:
        text = _("Training goes from {first} to {last} over {steps} steps.", language)
        parts.append(text.format(first=number(train[0][1]), last=number(train[-1][1]), steps=len(train)))
    if validation:
        text = _("Validation goes from {first} to {last}; its lowest is {lowest}.", language)
        lowest = min(value for _step, value in validation)
        parts.append(
            text.format(
                first=number(validation[0][1]), last=number(validation[-1][1]), lowest=number(lowest)
            )
        )
    if best is not None:
        parts.append(_("The best step is {step}.", language).format(step=best))
    return " ".join(parts)


def _short(name: str) -> str:
    """A name that fits beside a chart: of a long one its beginning and its end, where the number is."""
    return name if len(name) <= 20 else f"{name[:9]}…{name[-10:]}"


def dots(evaluation: Evaluation, test_set: str, language: str) -> list[Drawing]:
    """One chart for each metric of a set, the models in the order of the ranking."""
    drawings = []
    for metric in evaluation.metrics(test_set):
        rows = []
        for model in evaluation.models(test_set):
            result = evaluation.result(model, test_set, metric)
            if result is not None and result.value is not None:
                rows.append(
                    Dot(
                        model,
                        _short(model_name(model, language)),
                        result.value,
                        result.ci95,
                        number(result.value, digits_of(metric)),
                    )
                )
        if not rows:
            continue
        name = capital(metric_name(metric, language))
        title = _("{metric}, set “{set}”", language).format(
            metric=name, set=split_name(test_set, language)
        )
        words = "; ".join(
            _("{model} {value}, 95% interval {interval}", language).format(
                model=row.name, value=row.text, interval=interval(row.ci95, language, digits_of(metric))
            )
            if row.ci95
            else f"{row.name} {row.text}"
            for row in rows
        )
        lower = metric in LOWER_IS_BETTER
        note = _("lower is better", language) if lower else _("higher is better", language)
        svg = interval_chart(f"{test_set}-{metric}", title, words, rows, bounded=is_share(metric))
        drawings.append(Drawing(name, note, svg))
    return drawings
