"""The figures of a run as lines for a terminal: the verdict in plain words, models, gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afina.cli.left_out import left_out_lines
from afina.language import _, current

if TYPE_CHECKING:
    from afina.api import RunResult
    from afina.reports.figures import Figures


def figure_lines(result: RunResult) -> list[str]:
    """For each test set: who wins, then a line for each model."""
    lines = []
    limit = result.audit.get("limit")
    if limit:
        lines.append(
            _(
                "trained on a part: data.limit kept {after:,} of {before:,} training and validation rows"
            ).format(
                after=limit["train_after"] + limit["validation_after"],
                before=limit["train_before"] + limit["validation_before"],
            )
        )
    lines += prompt_lines(result.evaluation)
    for name, ranking in result.evaluation.get("ranking", {}).items():
        if ranking:
            lines += _set_lines(result.evaluation, name, ranking)
            lines += _overlap_lines(result.audit, name)
            lines += _swap_lines(result.evaluation, name)
    lines += left_out_lines(result.evaluation)
    return lines


def _set_lines(evaluation: dict[str, Any], name: str, ranking: list[str]) -> list[str]:
    size = evaluation["sets"][name]
    rows = _("{rows} rows").format(rows=size["rows"])
    rows += _groups_text(name, size["groups"])
    lines = [_("{set} ({rows}): best is {model}").format(set=name, rows=rows, model=ranking[0])]
    shown = [
        m
        for m in ("accuracy", "macro_f1", "auc", "false_positive_rate", "perplexity")
        if _has(evaluation, name, m)
    ]
    models = [*ranking, *_unranked(evaluation, name, ranking)]
    width = max(6, *(len(model) for model in models))
    for model in models:
        parts = []
        for metric in shown:
            line = _line(evaluation, name, model, metric)
            if line:
                parts.append(f"{metric} {_value(line)}")
        lines.append(f"  {model:{width}} " + "  ".join(parts))
    for comparison in evaluation["comparisons"]:
        if (
            comparison["set"] == name
            and comparison["metric"] in ("accuracy", "perplexity")
            and comparison["b"] not in ("probe", "tfidf")
        ):
            lines += _difference_line(comparison)
    return lines


def _unranked(evaluation: dict[str, Any], name: str, ranking: list[str]) -> list[str]:
    """Models that were measured on a part of the set: one of another run that saw the other rows."""
    found = {line["model"] for line in evaluation["results"] if line["set"] == name}
    return sorted(found - set(ranking))


def prompt_lines(evaluation: dict[str, Any]) -> list[str]:
    """The prompts of the untrained base, the best on the validation rows marked."""
    prompts = evaluation.get("prompts") or []
    if not prompts:
        return []
    metric = prompts[0]["metric"]
    lines = [
        _("prompts of the untrained base on {rows} validation rows ({metric}):").format(
            rows=prompts[0]["rows"], metric=metric
        )
    ]
    width = max(len(one["name"]) for one in prompts)
    for one in prompts:
        line = next((item for item in one["results"] if item["metric"] == metric), None)
        text = f"  {one['name']:{width}} " + (_value(line) if line else "–")
        if one["calibration"] not in (None, "none"):
            text += "  " + _("calibrated: {method}").format(method=one["calibration"])
        lines.append(text + ("  ← " + _("chosen") if one["chosen"] else ""))
    return lines


def _groups_text(name: str, groups: int | None) -> str:
    """How many groups; only the split keeps its own test apart, so only that is said so."""
    if not groups:
        return ""
    if groups == 1:
        return _(" in one group never trained on") if name == "test" else _(" in one group")
    if name == "test":
        return _(" in {groups} groups never trained on").format(groups=groups)
    return _(" in {groups} groups").format(groups=groups)


def _overlap_lines(audit: dict[str, Any], name: str) -> list[str]:
    """A warning when rows of a further test set were trained on."""
    shared = audit.get("test_sets", {}).get(name, {}).get("rows_also_in_training")
    if not shared:
        return []
    text = _("{rows} rows of the set “{set}” are in the training data too: its numbers are too good.")
    return ["  " + text.format(rows=f"{shared:,}", set=name)]


def _difference_line(comparison: dict[str, Any]) -> list[str]:
    """How much better or worse than the base; nothing where it cannot be said."""
    low, high = comparison["ci95"]
    if None in (comparison["difference"], low, high):
        return []
    return [
        _(
            "  tuned minus {model}, {metric}: {difference:+.3f} (95 % interval {low:+.3f} to "
            "{high:+.3f})"
        ).format(
            model=comparison["b"],
            metric=comparison["metric"],
            difference=comparison["difference"],
            low=low,
            high=high,
        )
    ]


def _swap_lines(evaluation: dict[str, Any], name: str) -> list[str]:
    """How often the tuned model decides otherwise with another name, country or form of address."""
    from afina.reports.swapped import swap_name

    lines = []
    for line in evaluation.get("swaps", []):
        if (line["set"], line["model"]) != (name, "tuned"):
            continue
        kind = swap_name(line["kind"], current())
        if not line["rows"]:
            lines.append(_("  swapping {kind}: no row has anything to swap").format(kind=kind))
            continue
        text = _(
            "  swapping {kind}: {flips:,} of {rows:,} decisions change ({share:.1%}, 95 % interval "
            "{low:.1%} to {high:.1%})"
        )
        low, high = line["ci95"]
        lines.append(
            text.format(
                kind=kind,
                flips=line["flips"],
                rows=line["rows"],
                share=line["value"],
                low=low,
                high=high,
            )
        )
    return lines


def _has(evaluation: dict[str, Any], name: str, metric: str) -> bool:
    return any(line["set"] == name and line["metric"] == metric for line in evaluation["results"])


def _line(evaluation: dict[str, Any], name: str, model: str, metric: str) -> dict[str, Any] | None:
    for line in evaluation["results"]:
        if (line["set"], line["model"], line["metric"]) == (name, model, metric):
            return dict(line)
    return None


def _value(line: dict[str, Any]) -> str:
    low, high = line["ci95"]
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{line['value']:.3f}{interval}"


def verdict_lines(result: RunResult) -> list[str]:
    """The verdict in plain words, as the report begins with it; nothing before the evaluation."""
    from afina.reports.verdict import build_verdict

    if not result.evaluation:
        return []
    verdict = build_verdict(_figures(result), current())
    return [statement.text for statement in (verdict.headline, *verdict.statements)] + [""]


def gate_lines(result: RunResult) -> list[str]:
    """What the gate said about each limit, in the language in use, whichever it was decided in."""
    from afina.reports.gate_words import check_rows

    figures = _figures(result)
    if figures.gate is None:
        return []
    if not figures.gate.checks:
        return [_("gate: no limits in the recipe; nothing was required")]
    words = {"pass": _("pass"), "fail": _("FAIL"), "undecided": _("undecided")}
    lines = []
    for row in check_rows(figures.gate, figures.recipe.gate, current()):
        value = row.check.value
        lines.append(
            _("gate: {verdict} · {name}: {value}, limit: {limit} ({why})").format(
                verdict=words.get(row.check.verdict, row.check.verdict),
                name=row.name,
                value="–" if value is None else f"{value:.3f}",
                limit=row.limit,
                why=row.why.rstrip("."),
            )
        )
    passed = figures.gate.passed
    lines.append(_("gate: passed") if passed else _("gate: NOT passed; no release was made"))
    return lines


def _figures(result: RunResult) -> Figures:
    """The run's files as the report reads them."""
    from afina.reports.figures import collect
    from afina.runs.folder import Run
    from afina.runs.store import Store

    place = Store(str(result.folder.parent.parent))
    return collect(Run(result.folder, result.name, result.number, place))
