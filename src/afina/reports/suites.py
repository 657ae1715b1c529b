"""What the page shows of test suites: each task before and after tuning, and each suite's figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from afina.language import _
from afina.reports.formats import Interval, ends_of, number, signed
from afina.runs.files import read_json
from afina.runs.folder import Run


@dataclass(frozen=True)
class SuiteRow:
    """One metric of one task.

    Attributes:
        rows, of: how many rows were asked, of how many.
        change: "better", "worse" or "" where the rows cannot tell, after Holm's correction.
    """

    task: str
    metric: str
    base: float
    tuned: float
    difference: float | None
    ci95: Interval | None
    p_holm: float | None
    rows: int
    of: int
    change: str


@dataclass(frozen=True)
class SuitesView:
    """The section on suites."""

    sentences: list[str]
    rows: list[SuiteRow]
    how: str


def suites_view(run: Run, language: str) -> SuitesView | None:
    """The section, or None for a run that was asked no suite."""
    path = run.path("suites.json")
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    if not found.get("results"):
        return None
    how = _(
        "Asked {how}, with {shots} solved examples, by lm-evaluation-harness {version}, on rows whose "
        "answers are public: these figures do not compare with the leaderboards'.",
        language,
    ).format(
        how=_("in the chat format", language)
        if found["chat_template"]
        else _("as plain text", language),
        shots=found["shots"],
        version=found["harness"],
    )
    return SuitesView(_sentences(found, language), _rows(found), how)


def _rows(found: dict[str, Any]) -> list[SuiteRow]:
    lines = {(line["task"], line["metric"], line["model"]): line for line in found["results"]}
    differences = {(line["task"], line["metric"]): line for line in found["comparisons"]}
    rows = []
    for task, metric in dict.fromkeys((task, metric) for task, metric, _model in lines):
        base, tuned = lines.get((task, metric, "base")), lines.get((task, metric, "tuned"))
        if base is None or tuned is None:
            continue
        compared = differences.get((task, metric), {})
        rows.append(
            SuiteRow(
                task=task,
                metric=metric,
                base=base["value"],
                tuned=tuned["value"],
                difference=compared.get("difference"),
                ci95=ends_of(compared.get("ci95")),
                p_holm=compared.get("p_holm"),
                rows=base["n"],
                of=base["of"],
                change=_change(compared),
            )
        )
    return rows


def _change(compared: dict[str, Any]) -> str:
    interval, p_value = ends_of(compared.get("ci95")), compared.get("p_holm")
    if interval is None or interval[0] <= 0 <= interval[1] or p_value is None or p_value >= 0.05:
        return ""
    return "worse" if (interval[1] < 0) != compared["lower_is_better"] else "better"


def _sentences(found: dict[str, Any], language: str) -> list[str]:
    sentences = []
    for line in found["suites"]:
        interval = ends_of(line["ci95"])
        if interval is None:
            continue
        if interval[1] < 0:
            text = _("{suite}: tuning cost general ability, {difference} [{low}, {high}].", language)
        elif interval[0] > 0:
            text = _("{suite}: tuning raised it, {difference} [{low}, {high}].", language)
        else:
            text = _(
                "{suite}: no change is shown, {difference} [{low}, {high}]; a loss within that interval "
                "cannot be ruled out.",
                language,
            )
        value = _("base {base}, tuned {tuned}.", language).format(
            base=number(line["models"]["base"]["value"]), tuned=number(line["models"]["tuned"]["value"])
        )
        text = text.format(
            suite=line["suite"],
            difference=signed(line["difference"]),
            low=signed(interval[0]),
            high=signed(interval[1]),
        )
        sentences.append(f"{text} {value[0].upper()}{value[1:]}")
    worse = [row.task for row in _rows(found) if row.change == "worse"]
    if worse:
        sentences.append(
            _("Worse than the base, shown after correction: {tasks}.", language).format(
                tasks=", ".join(dict.fromkeys(worse))
            )
        )
    return sentences
