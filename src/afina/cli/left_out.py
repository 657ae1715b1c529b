"""The figures of values left out as lines for a terminal."""

from __future__ import annotations

from typing import Any

from afina.language import _, current

SHOWN = ("macro_f1", "accuracy", "auc", "false_positive_rate")


def left_out_lines(evaluation: dict[str, Any]) -> list[str]:
    """For each model, how it does on values that it never saw, all together and by fold."""
    from afina.reports.left_out import left_out_notes

    folds = evaluation.get("left_out_folds")
    if not folds:
        return []
    lines = [
        _("values of {column} never seen, and the drop from the model trained on all of them:").format(
            column=folds["column"]
        )
    ]
    by_place: dict[tuple[str, str], list[str]] = {}
    for line in evaluation["left_out"]:
        if line["metric"] in SHOWN:
            values = _("all of them") if line["values"] is None else ", ".join(line["values"])
            by_place.setdefault((values, line["model"]), []).append(_shown(line))
    for (values, model), parts in by_place.items():
        lines.append(f"  {model:6} {values}: " + "  ".join(parts))
    return lines + [f"  {note}" for note in left_out_notes(folds, current())]


def _shown(line: dict[str, Any]) -> str:
    """`macro_f1 0.911 (-0.052 [0.01, 0.09])`: what is in brackets is the drop with its interval."""
    low, high = line["drop_ci95"]
    ends = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    return f"{line['metric']} {line['value']:.3f} ({line['drop']:+.3f}{ends})"
