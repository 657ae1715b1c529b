"""The gate: each limit is decided on the bound of its interval, not on the point."""

from __future__ import annotations

import math
from typing import Any

from afina.errors import AfinaError
from afina.language import _
from afina.metrics.statistics import wilson
from afina.recipe import Limit, Recipe
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

GATE_SCHEMA = "afina/gate/1"
_SHARES = ("accuracy", "recall", "precision", "false_positive_rate")


def gate(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Decides every limit of the recipe; writes gate.json and returns its value."""
    report = read_json(run.path("evaluation.json"))
    checks = [_check(limit, report) for limit in recipe.gate]
    fails = [
        check["verdict"] == "fail" or (check["verdict"] == "undecided" and limit.undecided == "fail")
        for check, limit in zip(checks, recipe.gate, strict=True)
    ]
    value = {"schema": GATE_SCHEMA, "passed": not any(fails), "checks": checks}
    write_json(run.path("gate.json"), value)
    return value


def _check(limit: Limit, report: dict[str, Any]) -> dict[str, Any]:
    if limit.min_gain is not None:
        return _gain(limit, report)
    line = _find(report["results"], model=limit.model, set=limit.set, metric=limit.metric)
    low, high = (math.nan if bound is None else bound for bound in line["ci95"])
    bound = limit.max if limit.max is not None else limit.min
    assert bound is not None
    if limit.max is not None:
        verdict = "pass" if high <= bound else "fail" if low > bound else "undecided"
        shown = _("at most {bound:g}").format(bound=bound)
    else:
        verdict = "pass" if low >= bound else "fail" if high < bound else "undecided"
        shown = _("at least {bound:g}").format(bound=bound)
    needed = _rows_needed(limit, bound, line) if verdict == "undecided" else None
    return {
        "name": _("{metric} of {model} on {set}").format(metric=limit.metric, model=limit.model, set=limit.set),
        "limit": shown,
        "value": line["value"],
        "ci95": line["ci95"],
        "verdict": verdict,
        "rows_needed": needed,
        "why": _why(verdict, needed),
    }


def _gain(limit: Limit, report: dict[str, Any]) -> dict[str, Any]:
    """A gain over another model: its whole interval must be above the limit."""
    known = [line for line in report["comparisons"] if line["set"] == limit.set and line["metric"] == limit.metric]
    line = next((c for c in known if {c["a"], c["b"]} == {limit.model, limit.against}), None)
    if line is None:
        raise AfinaError(
            _("gate: {metric} of {model} against {against} was not measured").format(
                metric=limit.metric, model=limit.model, against=limit.against
            ),
            fix=_("compare the tuned model with base, probe or tfidf"),
        )
    sign = 1 if line["a"] == limit.model else -1
    lower_is_better = limit.metric in ("perplexity", "false_positive_rate")
    sign = -sign if lower_is_better else sign
    low, high = sorted(sign * (math.nan if bound is None else bound) for bound in line["ci95"])
    assert limit.min_gain is not None
    verdict = "pass" if low > limit.min_gain else "fail" if high <= limit.min_gain else "undecided"
    return {
        "name": _("{metric} of {model} on {set}").format(metric=limit.metric, model=limit.model, set=limit.set),
        "limit": _("better than {against} by more than {gain:g}").format(against=limit.against, gain=limit.min_gain),
        "value": sign * line["difference"],
        "ci95": [low if math.isfinite(low) else None, high if math.isfinite(high) else None],
        "verdict": verdict,
        "rows_needed": line["rows_needed"] if verdict == "undecided" else None,
        "why": _why(verdict, line["rows_needed"] if verdict == "undecided" else None),
    }


def _rows_needed(limit: Limit, bound: float, line: dict[str, Any]) -> int | None:
    """Rows from which the observed value would decide a limit on a share; at least those that zero
    errors would need (73 legitimate rows for a false-positive rate of 5 %)."""
    if limit.metric not in _SHARES:
        return None
    share = line["value"]
    below = limit.max is not None
    for count in (int(10 * 1.05**power) for power in range(250)):
        interval = wilson(round(share * count), count)
        if count >= line["n"] and ((interval.high <= bound) if below else (interval.low >= bound)):
            return count
    return None


def _why(verdict: str, needed: int | None) -> str:
    if verdict == "pass":
        return _("the whole 95 % interval keeps to the limit")
    if verdict == "fail":
        return _("the whole 95 % interval is beyond the limit")
    if needed:
        return _("the interval holds the limit inside; about {rows:,} rows would decide it").format(rows=needed)
    return _("the interval holds the limit inside: more test rows are needed")


def _find(lines: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
    for line in lines:
        if all(line[name] == value for name, value in wanted.items()) and line["slice"] is None:
            return line
    raise AfinaError(
        _("gate: {metric} of {model} on {set} was not measured").format(**wanted),
        fix=_("add it to evaluate.metrics; rates and the AUC need task.positive"),
    )
