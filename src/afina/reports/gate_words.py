"""The checks of the gate in the language of the page, whatever language the gate was run in."""

from __future__ import annotations

from dataclasses import dataclass

from afina.language import _
from afina.metric_names import SWAP_FLIPS
from afina.recipe import Limit
from afina.reports.figures import Check, Gate
from afina.reports.formats import count
from afina.reports.swapped import swap_name
from afina.reports.words import capital, metric_name, model_phrase, split_name, verdict_name


@dataclass(frozen=True)
class CheckRow:
    """One check as a row of a table."""

    check: Check
    name: str
    limit: str
    verdict: str
    why: str
    is_gain: bool
    metric: str


def check_rows(gate: Gate | None, limits: list[Limit], language: str) -> list[CheckRow]:
    """The checks of the gate; each is said from its limit in the recipe when they correspond."""
    checks = gate.checks if gate else []
    known: list[Limit | None] = list(limits) if len(limits) == len(checks) else [None] * len(checks)
    return [
        CheckRow(
            check=check,
            name=_name(limit, language) if limit else check.name,
            limit=_limit(limit, language) if limit else check.limit,
            verdict=verdict_name(check.verdict, language),
            why=_why(check, limit.metric if limit else "", language),
            metric=limit.metric if limit else "",
            is_gain=limit is not None and limit.min_gain is not None,
        )
        for check, limit in zip(checks, known, strict=True)
    ]


def _name(limit: Limit, language: str) -> str:
    if limit.metric == SWAP_FLIPS:
        name = _("decisions of {model} changed by swapping {kind}, set “{set}”", language)
        return capital(
            name.format(
                model=model_phrase(limit.model, language),
                kind=swap_name(str(limit.by), language),
                set=split_name(limit.set, language),
            )
        )
    if limit.by is not None:
        name = _("gap in {metric} of {model} between values of {column}, set “{set}”", language)
        return capital(
            name.format(
                metric=metric_name(limit.metric, language),
                model=model_phrase(limit.model, language),
                column=limit.by,
                set=split_name(limit.set, language),
            )
        )
    if limit.max_train_gap is not None:
        name = _("gap in {metric} of {model} between training and validation rows", language)
        return capital(
            name.format(
                metric=metric_name(limit.metric, language), model=model_phrase(limit.model, language)
            )
        )
    gain = limit.min_gain is not None
    name = (
        _("gain in {metric} of {model}, set “{set}”", language)
        if gain
        else _("{metric} of {model}, set “{set}”", language)
    )
    name = name.format(
        metric=metric_name(limit.metric, language),
        model=model_phrase(limit.model, language),
        set=split_name(limit.set, language),
    )
    return capital(name)


def _limit(limit: Limit, language: str) -> str:
    if limit.min_gain is not None and limit.against is not None:
        model = model_phrase(limit.against, language)
        if limit.min_gain == 0:
            return _("better than {model}", language).format(model=model)
        text = _("better than {model} by more than {gain}", language)
        return text.format(model=model, gain=f"{limit.min_gain:g}")
    most = next((m for m in (limit.max_gap, limit.max_train_gap) if m is not None), limit.max)
    if most is not None:
        return _("at most {value}", language).format(value=f"{most:g}")
    return _("at least {value}", language).format(value=f"{limit.min:g}")


def _why(check: Check, metric: str, language: str) -> str:
    """Why a check was decided so: where its interval lies; the gate's own words when it has none."""
    if check.groups == 1 and check.verdict == "undecided":
        return _("All rows are of one group: they say nothing about other groups.", language)
    if check.value is None:
        return _("No row of this set has anything to swap.", language)
    if check.ci95 is None:
        return check.why
    if check.verdict == "pass":
        return _("The whole 95% interval keeps to the limit.", language)
    if check.verdict == "fail":
        return _("The whole 95% interval is beyond the limit.", language)
    said = _("The limit lies inside the 95% interval.", language)
    if check.rows_needed:
        said += " " + rows_would_decide(metric, check.rows_needed, language)
    return said


def rows_would_decide(metric: str, rows: int, language: str) -> str:
    """How many rows would decide a limit, and of which kind: a rate counts some of them only."""
    if metric == "false_positive_rate":
        text = _("About {rows} rows that are no alarm would decide it.", language)
    elif metric == "recall":
        text = _("About {rows} rows that are an alarm would decide it.", language)
    elif metric == "precision":
        text = _("About {rows} rows that the model gives an alarm for would decide it.", language)
    else:
        text = _("About {rows} rows would decide it.", language)
    return text.format(rows=count(rows))
