"""The verdict in plain words: what a manager reads first, and what nobody can know from this run."""

from __future__ import annotations

from dataclasses import dataclass

from afina.language import _
from afina.metric_names import LOWER_IS_BETTER
from afina.reports.beside import beside_statements
from afina.reports.by_heart import warning
from afina.reports.figures import Comparison, Evaluation, Figures, Gate, Result
from afina.reports.formats import count, digits_of, interval, number, percent, signed
from afina.reports.statements import BAD, GOOD, PLAIN, WARN, Statement
from afina.reports.unknowns import unknowns
from afina.reports.words import (
    QUANTISED,
    capital,
    metric_name,
    model_kind,
    model_phrase,
    rows_and_groups,
)


@dataclass(frozen=True)
class Tile:
    """One number that is shown large."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Verdict:
    """What the page begins with."""

    headline: Statement
    statements: list[Statement]
    tiles: list[Tile]
    unknown: list[str]


def build_verdict(figures: Figures, language: str) -> Verdict:
    """The verdict. A simpler model that beats the tuned one is said before everything else."""
    gate = gate_statement(figures.gate, bool(figures.recipe.gate), language)
    if figures.evaluation is None:
        missing = Statement(
            PLAIN, _("This run has not been evaluated yet: nothing is known of its quality.", language)
        )
        return Verdict(missing, [gate], [], unknowns(figures, language))
    winner = winner_statement(figures.evaluation, language)
    gain = gain_statement(figures.evaluation, language)
    heart = warning(figures.evaluation.overfitting, language)
    beside = beside_statements(figures.evaluation, language)
    said = [statement for statement in (gate, winner, gain, *beside, heart) if statement is not None]
    if winner is not None and (figures.gate is None or _beaten(figures.evaluation)):
        said.remove(winner)
        said.insert(0, winner)
    return Verdict(said[0], said[1:], _tiles(figures.evaluation, language), unknowns(figures, language))


def _beaten(evaluation: Evaluation) -> bool:
    """Whether another model comes before the tuned one on the main set."""
    ranking = _ranking(evaluation)
    return "tuned" in ranking and ranking[0] != "tuned"


def _ranking(evaluation: Evaluation) -> list[str]:
    """The models of the main set, best first. Fewer bits are the tuned model itself, held otherwise."""
    ranked = evaluation.ranking.get(evaluation.main_set or "", [])
    return [model for model in ranked if model not in QUANTISED]


def gate_statement(gate: Gate | None, wanted: bool, language: str) -> Statement:
    """Whether the gate passes."""
    if gate is None:
        if wanted:
            return Statement(PLAIN, _("The gate has not been decided yet.", language))
        return Statement(
            PLAIN, _("The recipe sets no gate: nothing was required of this model.", language)
        )
    total = len(gate.checks)
    undecided = sum(check.verdict == "undecided" for check in gate.checks)
    failed = sum(check.verdict == "fail" for check in gate.checks)
    if not total:
        return Statement(
            PLAIN, _("The gate has no limits: nothing was required of this model.", language)
        )
    if not gate.passed:
        text = _(
            "The gate does not pass: of {total} limits, {failed} broken and {undecided} undecided.",
            language,
        )
        return Statement(BAD, text.format(total=total, failed=failed, undecided=undecided))
    if undecided:
        text = _(
            "The gate passes, but not everything is proved: of {total} limits, {undecided} "
            "undecided, because "
            "there are too few rows to tell.",
            language,
        )
        return Statement(WARN, text.format(total=total, undecided=undecided))
    if total == 1:
        return Statement(GOOD, _("The gate passes: its one limit is kept.", language))
    return Statement(
        GOOD, _("The gate passes: all {total} limits are kept.", language).format(total=total)
    )


def winner_statement(evaluation: Evaluation, language: str) -> Statement | None:
    """Which model is best on the main set, and whether that may be chance."""
    test_set, metric = evaluation.main_set, evaluation.main_metric
    ranking = _ranking(evaluation)
    if test_set is None or "tuned" not in ranking:
        return None
    tuned = evaluation.result("tuned", test_set, metric)
    other = ranking[0] if ranking[0] != "tuned" else next(iter(ranking[1:]), None)
    if tuned is None or tuned.value is None:
        return None
    values = {"metric": metric_name(metric, language), "value": number(tuned.value, digits_of(metric))}
    if other is None:
        text = _(
            "The tuned model has a {metric} of {value} on the test set; nothing was measured beside it.",
            language,
        )
        return Statement(PLAIN, text.format(**values))
    beside = evaluation.result(other, test_set, metric)
    values["model"] = model_phrase(other, language)
    values["other"] = number(beside.value if beside else None, digits_of(metric))
    if beside is not None and beside.value == tuned.value:
        text = _("On the test set the tuned model only equals {model}: {metric} {value} both.", language)
        return Statement(WARN, text.format(**values))
    found = evaluation.comparison("tuned", other, test_set, metric)
    if ranking[0] == "tuned":
        text = _(
            "The tuned model is the best on the test set: {metric} {value}; the next is {model}, "
            "with {other}.",
            language,
        )
        clear = found is not None and found.better() is True
        tone = GOOD if clear else WARN
    else:
        text = _beaten_text(other, language)
        clear = found is not None and found.better() is False
        tone = BAD if clear or other == "base" else WARN
    return Statement(tone, f"{capital(text.format(**values))} {_surety(found, clear, language)}")


def _beaten_text(winner: str, language: str) -> str:
    if winner == "base":
        return _(
            "Tuning did not help: on the test set the base model, untouched, has a {metric} of "
            "{other} and the "
            "tuned model {value}.",
            language,
        )
    if winner == "prompted":
        return _(
            "Tuning did not help: on the test set {model}, without any training, has a {metric} of "
            "{other} and the tuned model {value}.",
            language,
        )
    if winner == "blend":
        return _(
            "The tuned model does better together with TF-IDF: on the test set {model} has a {metric} "
            "of {other}, the tuned model alone {value}.",
            language,
        )
    if model_kind(winner) == "other":
        return _(
            "The model of another run beats the tuned one on the test set: {model} has a {metric} of "
            "{other}, the tuned model {value}.",
            language,
        )
    return _(
        "A simpler model beats the tuned one on the test set: {model} has a {metric} of {other}, "
        "the tuned "
        "model {value}.",
        language,
    )


def _surety(found: Comparison | None, clear: bool, language: str) -> str:
    """Whether a difference may be chance."""
    if found is None or not found.tested():
        return _("Whether that difference is chance was not tested.", language)
    ends = interval(found.ci95, language, digits_of(found.metric))
    if clear:
        return _("The difference is larger than chance explains.", language)
    if found.ci95 is not None and found.ci95[0] <= 0 <= found.ci95[1]:
        return _(
            "The difference may be chance: its 95% interval, {interval}, holds zero.", language
        ).format(interval=ends)
    p_value = found.p_value if found.p_holm is None else found.p_holm
    if found.ci95 is not None and p_value is not None:
        return _(
            "The difference may be chance: its 95% interval, {interval}, is above or below zero, but "
            "the test of it, corrected for the number of metrics, gives p = {p}.",
            language,
        ).format(interval=ends, p=f"{p_value:.2f}")
    return _("The difference may be chance.", language)


def gain_statement(evaluation: Evaluation, language: str) -> Statement | None:
    """What tuning gained over the base model."""
    test_set, metric = evaluation.main_set, evaluation.main_metric
    if test_set is None:
        return None
    tuned = evaluation.result("tuned", test_set, metric)
    base = evaluation.result("base", test_set, metric)
    if tuned is None or base is None or tuned.value is None or base.value is None:
        return None
    found = evaluation.comparison("tuned", "base", test_set, metric)
    difference = found.difference if found and found.difference is not None else tuned.value - base.value
    values = {
        "metric": metric_name(metric, language),
        "before": number(base.value, digits_of(metric)),
        "after": number(tuned.value, digits_of(metric)),
        "difference": signed(difference, digits_of(metric)),
        "interval": interval(found.ci95, language, digits_of(metric)) if found else "",
        "rows": rows_and_groups(tuned.n, _groups(evaluation, test_set, tuned), language),
    }
    if found is None or found.ci95 is None:
        text = _(
            "From the base model to the tuned one, {metric} goes from {before} to {after} "
            "({difference}), measured "
            "on {rows}.",
            language,
        )
        return Statement(PLAIN, text.format(**values))
    text = _(
        "From the base model to the tuned one, {metric} goes from {before} to {after}: "
        "{difference}, 95% interval "
        "{interval}, measured on {rows}.",
        language,
    ).format(**values)
    better = found.better()
    if better is None:
        return Statement(WARN, text + " " + _("That is no proof of a gain.", language))
    return Statement(GOOD if better else BAD, text)


def _groups(evaluation: Evaluation, test_set: str, result: Result) -> int | None:
    groups = (
        result.groups if result.groups is not None else evaluation.sets.get(test_set, {}).get("groups")
    )
    return None if groups is None else int(groups)


def _tiles(evaluation: Evaluation, language: str) -> list[Tile]:
    """At most four large numbers."""
    test_set, metric = evaluation.main_set, evaluation.main_metric
    if test_set is None:
        return []
    tiles = []
    for name in (metric, "false_positive_rate"):
        found = evaluation.result("tuned", test_set, name)
        if found is not None and found.value is not None:
            note = _("95% interval {interval}", language).format(
                interval=interval(found.ci95, language, digits_of(name))
            )
            label = _("Tuned model: {metric}", language).format(metric=metric_name(name, language))
            shown = (
                percent(found.value, language)
                if name == "false_positive_rate"
                else number(found.value, digits_of(name))
            )
            tiles.append(Tile(label, shown, note if found.ci95 else ""))
    gain = evaluation.comparison("tuned", "base", test_set, metric)
    if gain is not None and gain.difference is not None:
        note = _("95% interval {interval}", language).format(
            interval=interval(gain.ci95, language, digits_of(metric))
        )
        lower = _("lower is better", language) if metric in LOWER_IS_BETTER else ""
        label = _("Change over the base model", language)
        tiles.insert(
            1,
            Tile(
                label,
                signed(gain.difference, digits_of(metric)),
                "; ".join(filter(None, [note if gain.ci95 else "", lower])),
            ),
        )
    rows = evaluation.sets.get(test_set, {}).get("rows")
    if rows is not None:
        groups = evaluation.sets[test_set].get("groups")
        note = _("in {groups} groups", language).format(groups=count(groups)) if groups else ""
        if groups == 1:
            note = _("in one group", language)
        tiles.append(Tile(_("Test rows", language), count(rows), note))
    return tiles
