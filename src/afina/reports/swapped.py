"""What swaps of names, countries and forms of address do to decisions, as sentences and a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from afina.language import _
from afina.reports.figures import Evaluation
from afina.reports.formats import count, ends_of, number, percent, signed
from afina.reports.words import model_phrase

MOST_PAIRS = 10  # of a kind, those with the most flips


@dataclass(frozen=True)
class SwapRow:
    """One line of the table: a kind of swap on one model, or one pair of it."""

    kind: str
    model: str
    pair: str
    rows: int
    flips: int
    share: float | None
    ci95: tuple[float, float] | None
    change: float | None
    change_ci95: tuple[float, float] | None


def swap_name(kind: str, language: str) -> str:
    """What a kind of swap changes."""
    return {
        "names": _("names of people", language),
        "countries": _("countries", language),
        "address": _("forms of address", language),
    }.get(kind, kind)


def side_name(side: str, language: str) -> str:
    """What a text was changed from or to; codes of countries, tú, vos and usted stay."""
    return {
        "women": _("women's names", language),
        "men": _("men's names", language),
        "spanish": _("Spanish names", language),
        "indigenous": _("Indigenous names", language),
        "african": _("African names", language),
        "arabic": _("Arabic names", language),
        "east_asian": _("East Asian names", language),
        "english": _("English names", language),
        "portuguese": _("Portuguese names", language),
    }.get(side, side)


def pair_name(pair: dict[str, Any], language: str) -> str:
    """`women's names → men's names`."""
    return f"{side_name(pair['from'], language)} → {side_name(pair['to'], language)}"


def swap_sentences(
    evaluation: Evaluation, test_set: str, positive: str | None, language: str
) -> list[str]:
    """How often the tuned model decides otherwise, one paragraph for each kind of swap."""
    sentences = []
    for line in evaluation.swaps:
        if (line["set"], line["model"]) != (test_set, "tuned"):
            continue
        kind = swap_name(line["kind"], language)
        if not line["rows"]:
            text = _("Swapping {kind}: no row of this set has anything to swap.", language)
            sentences.append(text.format(kind=kind))
            continue
        text = _(
            "Swapping {kind}: {model} decides otherwise in {flips} of {rows} rows that could be changed "
            "({share}, 95% interval {low} to {high}).",
            language,
        )
        low, high = line["ci95"]
        parts = [
            text.format(
                kind=kind,
                model=model_phrase("tuned", language),
                flips=count(line["flips"]),
                rows=count(line["rows"]),
                share=percent(line["value"], language),
                low=percent(low, language),
                high=percent(high, language),
            )
        ]
        parts += _change_words(line, positive, language)
        worst = line["worst"]
        if worst:
            measured = sum(pair["value"] is not None for pair in line["pairs"])
            text = _(
                "Most often for {pair}: {flips} of {rows}, the worst of {pairs} pairs with 10 rows or "
                "more; the worst of several is partly chance.",
                language,
            )
            parts.append(
                text.format(
                    pair=pair_name(worst, language),
                    flips=count(worst["flips"]),
                    rows=count(worst["rows"]),
                    pairs=measured,
                )
            )
        sentences.append(" ".join(parts))
    return sentences


def _change_words(line: dict[str, Any], positive: str | None, language: str) -> list[str]:
    change = line["change"]
    if change is None:
        text = _("The probabilities move by {moved} on average.", language)
        return [text.format(moved=number(line["moved"]["value"]))]
    text = _("The probability of {positive} changes by {change} on average", language)
    said = text.format(positive=positive, change=signed(change["value"]))
    low, high = change["ci95"]
    if low is not None:
        text = _(" (95% interval {low} to {high})", language)
        said += text.format(low=signed(low), high=signed(high))
    text = _("and moves by {moved} either way.", language)
    return [said, text.format(moved=number(line["moved"]["value"]))]


def swap_rows(evaluation: Evaluation, test_set: str, language: str) -> list[SwapRow]:
    """Each model's figures by kind, and the tuned model's by pair, those with most flips first."""
    found = []
    for line in evaluation.swaps:
        if line["set"] != test_set or not line["rows"]:
            continue
        found.append(_row(line, line, _("all", language), language))
        pairs = [pair for pair in line["pairs"] if pair["value"] is not None]
        pairs.sort(key=lambda pair: (-pair["value"], -pair["rows"]))
        if line["model"] == "tuned":
            found += [
                _row(line, pair, pair_name(pair, language), language) for pair in pairs[:MOST_PAIRS]
            ]
    return found


def _row(line: dict[str, Any], figures: dict[str, Any], pair: str, language: str) -> SwapRow:
    change = figures["change"] or {"value": None, "ci95": [None, None]}
    return SwapRow(
        kind=swap_name(line["kind"], language),
        model=line["model"],
        pair=pair,
        rows=figures["rows"],
        flips=figures["flips"],
        share=figures["value"],
        ci95=ends_of(figures["ci95"]),
        change=change["value"],
        change_ci95=ends_of(change["ci95"]),
    )
