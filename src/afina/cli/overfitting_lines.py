"""What was learned by heart, and whether more data would help, as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afina.language import _, current

if TYPE_CHECKING:
    from afina.api import RunResult


def overfitting_lines(result: RunResult) -> list[str]:
    """The answer and what it rests on first; the rest is in the report."""
    from afina.reports.by_heart import by_heart
    from afina.reports.learning_curve import curve_view

    lines = []
    found = by_heart(result.evaluation.get("overfitting"), current())
    if found is not None:
        lines.append(_("learned by heart? {answer}").format(answer=found.headline.text))
        lines.append(f"  {found.sentences[0]}")
    curve = curve_view(result.learning_curve, current())
    if curve is not None:
        lines.append(_("more data? {answer}").format(answer=curve.headline.text))
        for row in curve.rows:
            values = "  ".join(
                f"{model} {value}" for model, value in zip(curve.models, row.values, strict=True)
            )
            lines.append("  " + _("{rows} rows: {values}").format(rows=f"{row.rows:,}", values=values))
        lines += [f"  {sentence}" for sentence in curve.sentences]
    return lines
