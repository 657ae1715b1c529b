"""The gate: each limit is decided on the bound of its interval, not on the point."""

from __future__ import annotations

import math
from typing import Any

from afina.errors import AfinaError
from afina.language import _
from afina.metric_names import LOWER_IS_BETTER, SHARES, SUITE_SCORE, SWAP_FLIPS
from afina.metrics.statistics import wilson
from afina.recipe import Limit, Recipe
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

GATE_SCHEMA = "afina/gate/1"
_MOST_ROWS = 10_000_000


def gate(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Decides every limit of the recipe; writes gate.json and returns its value."""
    report = read_json(run.path("evaluation.json"))
    if recipe.evaluate.suites.tasks:
        _add_suites(report, read_json(run.path("suites.json")))
    checks = [_one_group_decides_nothing(limit, _check(limit, report), report) for limit in recipe.gate]
    refused = [
        check["verdict"] == "fail" or (check["verdict"] == "undecided" and limit.undecided == "fail")
        for check, limit in zip(checks, recipe.gate, strict=True)
    ]
    value = {"schema": GATE_SCHEMA, "passed": not any(refused), "checks": checks}
    write_json(run.path("gate.json"), value)
    return value


def _add_suites(report: dict[str, Any], suites: dict[str, Any]) -> None:
    """The figures of the suites as lines of the evaluation, each suite a set."""
    for line in suites["suites"]:
        where = {"set": line["suite"], "slice": None, "metric": SUITE_SCORE}
        report["results"] += [
            {**where, "model": model, "n": line["n"], **found} for model, found in line["models"].items()
        ]
        compared = {name: line[name] for name in ("difference", "ci95")}
        pair = {"a": "tuned", "b": "base", "rows_needed": None}
        report["comparisons"].append({**where, **pair, **compared})


def _check(limit: Limit, report: dict[str, Any]) -> dict[str, Any]:
    if limit.min_gain is not None:
        return _gain(limit, report)
    if limit.max_gap is not None:
        return _gap(limit, report)
    if limit.max_train_gap is not None:
        return _train_gap(limit, report)
    if limit.metric == SWAP_FLIPS:
        return _flips(limit, report)
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
        "name": _("{metric} of {model} on {set}").format(
            metric=limit.metric, model=limit.model, set=limit.set
        ),
        "limit": shown,
        "value": line["value"],
        "ci95": line["ci95"],
        "verdict": verdict,
        "rows_needed": needed,
        "why": _why(verdict, needed),
    }


def _one_group_decides_nothing(
    limit: Limit, check: dict[str, Any], report: dict[str, Any]
) -> dict[str, Any]:
    """A check with its number of groups; undecided with fewer than 2, for the claim is about others."""
    groups = report.get("sets", {}).get(limit.set, {}).get("groups")
    if groups is None or groups > 1 or limit.max_train_gap is not None:
        return {**check, "groups": groups}
    why = _("all rows are of one group: they say nothing about other groups")
    return {**check, "groups": groups, "verdict": "undecided", "rows_needed": None, "why": why}


def _gain(limit: Limit, report: dict[str, Any]) -> dict[str, Any]:
    """A gain over another model: its whole interval must be above the limit."""
    known = [
        line
        for line in report["comparisons"]
        if line["set"] == limit.set and line["metric"] == limit.metric
    ]
    line = next((c for c in known if {c["a"], c["b"]} == {limit.model, limit.against}), None)
    if line is None or line["difference"] is None:
        raise AfinaError(
            _("gate: {metric} of {model} against {against} was not measured").format(
                metric=limit.metric, model=limit.model, against=limit.against
            ),
            fix=_("compare the tuned model with one that is measured on this set"),
        )
    sign = 1 if line["a"] == limit.model else -1
    sign = -sign if limit.metric in LOWER_IS_BETTER else sign
    low, high = sorted(math.nan if bound is None else sign * bound for bound in line["ci95"])
    assert limit.min_gain is not None
    verdict = "pass" if low > limit.min_gain else "fail" if high <= limit.min_gain else "undecided"
    return {
        "name": _("gain in {metric} of {model} on {set}").format(
            metric=limit.metric, model=limit.model, set=limit.set
        ),
        "limit": _("better than {against} by more than {gain:g}").format(
            against=limit.against, gain=limit.min_gain
        ),
        "value": sign * line["difference"],
        "ci95": [low if math.isfinite(low) else None, high if math.isfinite(high) else None],
        "verdict": verdict,
        "rows_needed": line["rows_needed"] if verdict == "undecided" else None,
        "why": _why(verdict, line["rows_needed"] if verdict == "undecided" else None),
    }


def _gap(limit: Limit, report: dict[str, Any]) -> dict[str, Any]:
    """The gap between the values of a column: its interval's high end must keep to the limit."""
    wanted = {"model": limit.model, "set": limit.set, "metric": limit.metric, "column": limit.by}
    line = next((g for g in report.get("gaps", []) if wanted.items() <= g.items()), None)
    if line is None:
        raise AfinaError(
            _("gate: no gap in {metric} of {model} on {set} by {column} was measured").format(**wanted),
            fix=_("the rows of the set need this column, and two of its values 10 rows each"),
        )
    name = _("gap in {metric} of {model} on {set} by {column}").format(**wanted)
    return _at_most(name, limit.max_gap, line["value"], line["ci95"])


def _train_gap(limit: Limit, report: dict[str, Any]) -> dict[str, Any]:
    """How much better the model is on training rows: its interval's high end must keep to the limit."""
    lines = report.get("overfitting", {}).get("gap", [])
    line = next((g for g in lines if g["metric"] == limit.metric), None)
    if line is None:
        raise AfinaError(
            _("gate: the gap to training rows in {metric} was not measured").format(metric=limit.metric),
            fix=_("evaluate again: afina evaluate RUN"),
        )
    name = _("gap in {metric} of {model} between training and validation rows").format(
        metric=limit.metric, model=limit.model
    )
    check = _at_most(name, limit.max_train_gap, line["gap"], line["ci95"])
    if 1 in (line["groups_train"], line["groups_validation"]):
        why = _("all rows are of one group: they say nothing about other groups")
        return {**check, "verdict": "undecided", "why": why}
    return check


def _flips(limit: Limit, report: dict[str, Any]) -> dict[str, Any]:
    """The share of decisions that a swap changes: its interval's high end must keep to the limit.

    Undecided where no row of the set has anything to swap: nothing is known then.
    """
    wanted = {"model": limit.model, "set": limit.set, "kind": limit.by}
    line = next((s for s in report.get("swaps", []) if wanted.items() <= s.items()), None)
    if line is None:
        raise AfinaError(
            _("gate: no swap of {kind} was asked of {model} on {set}").format(**wanted),
            fix=_("evaluate again: evaluation.json is older than evaluate.swaps"),
        )
    name = _("decisions of {model} on {set} changed by swapping {kind}").format(**wanted)
    check = _at_most(name, limit.max, line["value"], line["ci95"])
    if not line["rows"]:
        return {**check, "why": _("no row of this set has anything to swap")}
    if check["verdict"] == "undecided" and limit.max is not None:
        needed = _rows_needed(limit, limit.max, {**line, "n": line["rows"]})
        return {**check, "rows_needed": needed, "why": _why("undecided", needed)}
    return check


def _at_most(
    name: str, most: float | None, value: float | None, ci95: list[float | None]
) -> dict[str, Any]:
    """A check that the high end of an interval keeps to a limit; undecided without an interval."""
    assert most is not None
    low, high = (math.nan if bound is None else bound for bound in ci95)
    verdict = "pass" if high <= most else "fail" if low > most else "undecided"
    return {
        "name": name,
        "limit": _("at most {bound:g}").format(bound=most),
        "value": value,
        "ci95": ci95,
        "verdict": verdict,
        "rows_needed": None,
        "why": _why(verdict, None),
    }


def _rows_needed(limit: Limit, bound: float, line: dict[str, Any]) -> int | None:
    """Rows from which the observed share would decide the limit, either way; more than there are.

    None for other metrics, and where the count of rows is not what is missing: Wilson's interval over
    the rows that there are would decide already, the measured interval does not.

    By the Wilson interval: without any false alarm, a rate of at most 5 % needs 73 legitimate rows and
    one of at most 1 % needs 381 (z²(1/bound − 1); the exact interval of Clopper and Pearson, which
    gives 72 and 368, is not used). Rows in groups tell less than single ones: the count is stretched by
    how much wider than Wilson's the measured interval is (the design effect).
    """
    share, count = float(line["value"]), int(line["n"])
    low, high = line["ci95"]
    if limit.metric not in {*SHARES, SWAP_FLIPS} or not count or low is None or high is None:
        return None
    plain = wilson(round(share * count), count)
    stretch = max(1.0, float((high - low) / (plain.high - plain.low)) ** 2)

    def decided(rows: int) -> bool:
        hits = share * rows
        # Whole counts on the hard side of the limit, so that rounding does not decide.
        interval = wilson(math.ceil(hits - 1e-9) if share <= bound else math.floor(hits + 1e-9), rows)
        return (
            interval.high <= bound
            or interval.low > bound
            or (limit.min is not None and interval.low >= bound)
        )

    below = max(1, math.floor(count / stretch))
    if decided(below):
        return None
    above = below
    while not decided(above):
        below, above = above, above * 2
        if above > _MOST_ROWS:
            return None
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if decided(middle) else (middle, above)
    return math.ceil(above * stretch)


def _why(verdict: str, needed: int | None) -> str:
    if verdict == "pass":
        return _("the whole 95 % interval keeps to the limit")
    if verdict == "fail":
        return _("the whole 95 % interval is beyond the limit")
    if needed:
        return _("the interval holds the limit inside; about {rows:,} rows would decide it").format(
            rows=needed
        )
    return _("the interval holds the limit inside: more test rows are needed")


def _find(lines: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
    for line in lines:
        if all(line[name] == value for name, value in wanted.items()) and line["slice"] is None:
            return line
    raise AfinaError(
        _("gate: {metric} of {model} on {set} was not measured").format(**wanted),
        fix=_(
            "add it to evaluate.metrics; rates and the AUC need task.positive; an earlier release that "
            "saw nearly all rows is not measured"
        ),
    )
