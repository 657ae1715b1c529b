"""Whether the model has learned by heart, in sentences and tables; no row of the data is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from afina.language import _
from afina.reports.formats import digits_of, ends_of, interval, number, percent, signed
from afina.reports.statements import GOOD, PLAIN, WARN, Statement
from afina.reports.words import capital, metric_name, model_name


@dataclass(frozen=True)
class GapRow:
    """One metric on training rows and on validation rows."""

    metric: str
    train: str
    validation: str
    gap: str
    interval: str
    method: str


@dataclass(frozen=True)
class ExtractionRow:
    """What one model wrote about one kind of rows."""

    model: str
    rows: str
    count: int
    extracted: str
    matching: str
    longest: int


@dataclass(frozen=True)
class ByHeart:
    """The section of the page.

    Attributes:
        headline: the answer. sentences: what it rests on, in the order of reading.
    """

    headline: Statement
    sentences: list[str]
    gaps: list[GapRow]
    extraction: list[ExtractionRow]


def by_heart(found: dict[str, Any] | None, language: str) -> ByHeart | None:
    """The section from evaluation.json's `overfitting`; None for evaluations that do not have it."""
    if not found:
        return None
    memory = found.get("memorisation")
    return ByHeart(
        headline=_headline(found, memory, language),
        sentences=[
            *_gap_sentences(found, language),
            *_extraction_sentences(memory, language),
            *_membership_sentences(found, memory, language),
        ],
        gaps=[_gap_row(line, language) for line in found["gap"]],
        extraction=[_extraction_row(line, language) for line in (memory or {}).get("extraction", [])],
    )


def _headline(found: dict[str, Any], memory: dict[str, Any] | None, language: str) -> Statement:
    if not found["trained"]:
        return Statement(
            PLAIN,
            _(
                "Nothing was learned that could be known by heart: the released model is untrained.",
                language,
            ),
        )
    ends = [ends_of(line["ci95"]) for line in found["gap"]]
    better = any(pair is not None and pair[0] > 0 for pair in ends)
    if memory is not None and memory["learned_by_heart"]:
        return Statement(
            WARN,
            _(
                "Yes, in part: the model goes on with rows it was trained on better than with others, "
                "and more so than its base.",
                language,
            ),
        )
    if better:
        return Statement(
            WARN,
            _(
                "In part: the model does better on rows it was trained on than on others, so some of "
                "what it learned holds for those rows alone.",
                language,
            ),
        )
    if memory is None or memory["learned_by_heart"] is None:
        text = _(
            "No sign of it in its figures; whether it can write rows from memory was not measured.",
            language,
        )
        return Statement(PLAIN, text)
    return Statement(
        GOOD,
        _(
            "No sign of it: the model does no better on rows it was trained on than chance explains, "
            "and writes them no better than others.",
            language,
        ),
    )


def warning(found: dict[str, Any] | None, language: str) -> Statement | None:
    """For the verdict: that rows can be got out of the model; None where that was not shown."""
    if not found or not (found.get("memorisation") or {}).get("learned_by_heart"):
        return None
    text = _(
        "It goes on with rows it was trained on better than with others: whoever has the model can get "
        "something of these rows out of it.",
        language,
    )
    return Statement(WARN, text)


def main_gap(found: dict[str, Any]) -> dict[str, Any]:
    """The gap that is said in words: accuracy of a classifier, else perplexity."""
    by_metric = {line["metric"]: line for line in found["gap"]}
    return dict(by_metric.get("accuracy") or by_metric.get("perplexity") or found["gap"][0])


def _gap_sentences(found: dict[str, Any], language: str) -> list[str]:
    line = main_gap(found)
    digits = digits_of(line["metric"])
    text = _(
        "{metric} is {train} on {n_train} training rows and {validation} on {n_validation} validation "
        "rows: {gap} better on rows it knows, 95% interval {interval}.",
        language,
    ).format(
        metric=capital(metric_name(line["metric"], language)),
        train=number(line["train"], digits),
        validation=number(line["validation"], digits),
        n_train=f"{line['n_train']:,}",
        n_validation=f"{line['n_validation']:,}",
        gap=signed(line["gap"], digits),
        interval=interval(ends_of(line["ci95"]), language, digits),
    )
    ends = ends_of(line["ci95"])
    if ends is not None and ends[0] <= 0 <= ends[1]:
        text += " " + _("That may be chance.", language)
    return [text]


def _extraction_sentences(memory: dict[str, Any] | None, language: str) -> list[str]:
    if memory is None:
        return []
    lines = {(line["model"], line["rows"]): line for line in memory["extraction"]}
    if not lines:
        return [
            _(
                "The rows are too short to ask the model to go on with them: nothing was extracted.",
                language,
            )
        ]
    said = []
    tuned, unseen = lines["tuned", "train"], lines["tuned", "unseen"]
    text = _(
        "Asked to go on with {n} training rows, it wrote {hits} of them word for word (its base "
        "{base}); of {n_unseen} rows it never saw, {unseen}.",
        language,
    )
    said.append(
        text.format(
            n=f"{tuned['n']:,}",
            hits=tuned["extracted_rows"],
            base=lines["base", "train"]["extracted_rows"],
            n_unseen=f"{unseen['n']:,}",
            unseen=unseen["extracted_rows"],
        )
    )
    ends = ends_of(tuned["extracted_ci95"])
    if ends is not None:
        text = _(
            "Of all training rows that is a share of {interval}, at 95 % confidence; the longest run of "
            "tokens written as they stand is {longest}.",
            language,
        )
        shown = f"{percent(ends[0], language)} – {percent(ends[1], language)}"
        said.append(text.format(interval=shown, longest=tuned["longest_run_tokens"]))
    matching = {line["model"]: line for line in memory["differences"] if line["metric"] == "matching"}
    more = matching["tuned_minus_base"]
    text = _(
        "Tokens at their place: {train} in training rows, {unseen} in unseen ones; the difference is "
        "{difference} (95% interval {interval}), and {more} (95% interval {more_interval}) when that of "
        "its base is taken off.",
        language,
    )
    said.append(
        text.format(
            train=percent(tuned["matching"], language),
            unseen=percent(unseen["matching"], language),
            difference=signed(matching["tuned"]["difference"]),
            interval=interval(ends_of(matching["tuned"]["ci95"]), language),
            more=signed(more["difference"]),
            more_interval=interval(ends_of(more["ci95"]), language),
        )
    )
    short = sum(memory["too_short"].values())
    if short:
        text = _("{rows} rows were too short to be asked about.", language)
        said.append(text.format(rows=f"{short:,}"))
    return said


def _membership_sentences(
    found: dict[str, Any], memory: dict[str, Any] | None, language: str
) -> list[str]:
    """How well a row's loss tells that it was trained on."""
    of = {
        "label": _("the loss of the label", language),
        "answer": _("the loss of the answer", language),
        "text": _("the loss of the text", language),
    }
    said = []
    for part in (found["membership"], (memory or {}).get("membership", [])):
        lines = {line["model"]: line for line in part}
        if "tuned" not in lines:
            continue
        tuned, base = lines["tuned"], lines.get("base")
        text = _(
            "Who only sees {loss} can tell a training row from another in {auc} of pairs (95% interval "
            "{interval}; 50 % is guessing).",
            language,
        )
        ends = ends_of(tuned["ci95"])
        shown = (
            f"{percent(ends[0], language)} – {percent(ends[1], language)}" if ends is not None else "–"
        )
        text = text.format(loss=of[tuned["loss"]], auc=percent(tuned["auc"], language), interval=shown)
        if base is not None:
            beside = _("With the base, which saw neither: {auc}.", language)
            text += " " + beside.format(auc=percent(base["auc"], language))
        said.append(text)
    return said


def _gap_row(line: dict[str, Any], language: str) -> GapRow:
    digits = digits_of(line["metric"])
    return GapRow(
        metric=capital(_name(line["metric"], language)),
        train=number(line["train"], digits),
        validation=number(line["validation"], digits),
        gap=signed(line["gap"], digits),
        interval=interval(ends_of(line["ci95"]), language, digits),
        method=line["method"],
    )


def _name(metric: str, language: str) -> str:
    return _("loss", language) if metric == "loss" else metric_name(metric, language)


def _extraction_row(line: dict[str, Any], language: str) -> ExtractionRow:
    rows = _("training rows", language) if line["rows"] == "train" else _("unseen rows", language)
    ends, matching = ends_of(line["extracted_ci95"]), ends_of(line["matching_ci95"])
    return ExtractionRow(
        model=model_name(line["model"], language),
        rows=rows,
        count=line["n"],
        extracted=f"{line['extracted_rows']} ({interval(ends, language)})",
        matching=f"{number(line['matching'])} ({interval(matching, language)})",
        longest=line["longest_run_tokens"],
    )
