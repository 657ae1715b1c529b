"""What the page says of the prompted base, of fewer bits and of other runs beside the tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from afina.language import _
from afina.reports.figures import Comparison, Evaluation
from afina.reports.formats import Interval, count, digits_of, ends_of, interval, signed
from afina.reports.statements import BAD, GOOD, PLAIN, WARN, Statement
from afina.reports.words import (
    QUANTISED,
    calibration_name,
    capital,
    metric_name,
    model_kind,
    model_phrase,
)


@dataclass(frozen=True)
class PromptRow:
    """One variant of the prompt as a row of a table."""

    name: str
    chosen: bool
    instruction: str
    shots: str
    reasoning_tokens: int | None
    calibration: str
    metric: str
    value: float | None
    ci95: Interval | None
    n: int | None


def beside_statements(evaluation: Evaluation, language: str) -> list[Statement]:
    """Whether training was needed at all, what fewer bits cost, and what an earlier model does."""
    said = [prompted_statement(evaluation, language)]
    models = evaluation.models(evaluation.main_set or "")
    said += [_bits_statement(evaluation, model, language) for model in QUANTISED if model in models]
    others = [model for model in models if model_kind(model) == "other"]
    said += [_other_statement(evaluation, model, language) for model in others]
    return [one for one in said if one is not None]


def prompted_statement(evaluation: Evaluation, language: str) -> Statement | None:
    """Whether the base with a good prompt is as good as the tuned model."""
    found = _against(evaluation, "prompted")
    if found is None:
        return None
    words = _words(evaluation, found, language)
    words["prompt"] = next((one["name"] for one in evaluation.prompts if one.get("chosen")), "–")
    better = found.better()
    if better:
        text = _(
            "Training pays: the tuned model is better than the untrained base with its best prompt "
            "(“{prompt}”), {metric} {difference}, 95% interval {interval}, on {rows} rows.",
            language,
        )
        return Statement(GOOD, text.format(**words))
    if better is None:
        text = _(
            "Training may not be needed: no difference between the tuned model and the untrained base "
            "with its best prompt (“{prompt}”) is shown, {metric} {difference}, 95% interval "
            "{interval}, on {rows} rows.",
            language,
        )
        return Statement(WARN, text.format(**words))
    text = _(
        "Training did not pay: the untrained base with its best prompt (“{prompt}”) is better than the "
        "tuned model, {metric} {difference}, 95% interval {interval}, on {rows} rows.",
        language,
    )
    return Statement(BAD, text.format(**words))


def _bits_statement(evaluation: Evaluation, model: str, language: str) -> Statement | None:
    """What holding the base in fewer bits costs; the difference is that of fewer bits minus all."""
    test_set = evaluation.main_set
    found = evaluation.comparison(model, "tuned", test_set or "", evaluation.main_metric)
    if found is None or found.difference is None:
        return None
    words = _words(evaluation, found, language)
    better = found.better()
    if better is False:
        text = _(
            "{model} is worse than with its base as trained: {metric} {difference}, 95% interval "
            "{interval}, on {rows} rows.",
            language,
        )
        return Statement(WARN, capital(text.format(model=model_phrase(model, language), **words)))
    text = _(
        "{model}: no loss is shown, {metric} {difference}, 95% interval {interval}, on {rows} rows.",
        language,
    )
    return Statement(PLAIN, capital(text.format(model=model_phrase(model, language), **words)))


def _other_statement(evaluation: Evaluation, model: str, language: str) -> Statement | None:
    """How the tuned model stands to the model of another run."""
    found = _against(evaluation, model)
    if found is None:
        return None
    words = {**_words(evaluation, found, language), "model": model}
    better = found.better()
    text = _(
        "Against {model} no difference is shown: {metric} {difference}, 95% interval {interval}, on "
        "{rows} rows.",
        language,
    )
    if better:
        text = _(
            "The tuned model is better than {model}: {metric} {difference}, 95% interval {interval}, on "
            "{rows} rows.",
            language,
        )
    elif better is False:
        text = _(
            "The tuned model is worse than {model}: {metric} {difference}, 95% interval {interval}, on "
            "{rows} rows.",
            language,
        )
    return Statement({True: GOOD, False: BAD, None: PLAIN}[better], text.format(**words))


def _against(evaluation: Evaluation, model: str) -> Comparison | None:
    """The tuned model minus another one on the main set, by the main metric."""
    found = evaluation.comparison("tuned", model, evaluation.main_set or "", evaluation.main_metric)
    return None if found is None or found.difference is None else found


def _words(evaluation: Evaluation, found: Comparison, language: str) -> dict[str, str]:
    digits = digits_of(found.metric)
    other = found.a if found.b == "tuned" else found.b
    result = evaluation.result(other, found.set, found.metric)
    return {
        "metric": metric_name(found.metric, language),
        "difference": signed(found.difference, digits),
        "interval": interval(found.ci95, language, digits),
        "rows": count(result.n if result else None),
    }


def prompt_rows(evaluation: Evaluation, language: str) -> list[PromptRow]:
    """The variants of the prompt, in the recipe's order, by the metric that chose."""
    rows = []
    for one in evaluation.prompts:
        line: dict[str, Any] = next(
            (item for item in one.get("results") or [] if item["metric"] == one["metric"]), {}
        )
        rows.append(
            PromptRow(
                name=str(one["name"]),
                chosen=bool(one.get("chosen")),
                instruction=str(one.get("instruction") or "–"),
                shots=_shots(one.get("shots"), language),
                reasoning_tokens=one.get("reasoning_tokens"),
                calibration=calibration_name(one.get("calibration"), language),
                metric=str(one["metric"]),
                value=line.get("value"),
                ci95=ends_of(line.get("ci95")),
                n=line.get("n"),
            )
        )
    return rows


def _shots(shots: dict[str, Any] | None, language: str) -> str:
    """How many examples there are, and what did not fit."""
    if not shots:
        return "0"
    if shots["used"] == shots["wanted"] and not shots["shortened"]:
        return count(shots["used"])
    return _("{used} of {wanted}, {shortened} shortened", language).format(**shots)


def unseen_sentences(evaluation: Evaluation, language: str) -> list[str]:
    """What is not known, or not measured, about the models of other runs."""
    said = []
    for item in evaluation.compared:
        words = {
            "model": item["model"],
            "count": count(item["rows_left_out"]),
            "rows": count(item["rows_left_out"] + item["rows"]),
            "set": item["set"],
        }
        if item["rows_left_out"] and item["measured"]:
            text = _(
                "{model} was trained or validated on {count} of the {rows} rows of the set “{set}”: its "
                "figures and comparisons are on the others.",
                language,
            )
            said.append(text.format(**words))
        elif item["rows_left_out"]:
            text = _(
                "{model} was trained or validated on {count} of the {rows} rows of the set “{set}”: too "
                "few are left, and it was not measured there.",
                language,
            )
            said.append(text.format(**words))
        elif not item["training_rows_known"]:
            text = _(
                "The training rows of {model} are not here: whether it saw rows of the set “{set}” is "
                "not known, and its figures may be too good.",
                language,
            )
            said.append(text.format(**words))
    return said
