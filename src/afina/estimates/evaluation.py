"""A short rehearsal of the evaluate stage: models asked about a few rows, and the statistics done."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from afina.data.chat import encode_row
from afina.data.table import read_rows
from afina.estimates.further import further_seconds
from afina.estimates.training import Batch, batches_of, carried_over, spread, took
from afina.evaluation.answers import Answers, TestRows, set_of, test_rows
from afina.evaluation.measure import empty_report, measure_set, written_metrics
from afina.evaluation.memorisation import MODELS, told
from afina.evaluation.passages import passage_of
from afina.evaluation.seen import MOST_ROWS as SEEN_ROWS
from afina.evaluation.swaps import swaps_of
from afina.evaluation.written import part_of
from afina.recipe import Recipe
from afina.runs.files import read_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.trust.manifest import write_manifest

Array = np.ndarray[Any, np.dtype[Any]]
BATCHES = 3  # timed for each model
TOKENS = 4096  # padded tokens of one batch when a model is asked
FEW_PASSAGES = 16  # rows that are gone on with here
MOST_ROWS = 2000  # rows that the statistics are done on here; their time grows with the rows


class _Invented(Answers):
    """Answers at random, so that the statistics can be timed before any model is asked."""

    def probabilities(self, model: str, test: TestRows) -> Array:
        """Random probabilities; [rows, labels]."""
        random = np.random.default_rng(len(model))
        return random.dirichlet(np.ones(len(self.labels)), len(test.rows))

    def said(self, model: str, test: TestRows) -> Array:
        """Codes of the likeliest labels; [rows]."""
        return np.asarray(self.probabilities(model, test).argmax(axis=1))

    def losses(self, model: str, test: TestRows) -> Array:
        """Random losses of ten tokens and forty bytes a row; [rows, 3]."""
        random = np.random.default_rng(len(model))
        losses = random.gamma(9.0, 2.0, len(test.rows))
        return np.stack([losses, np.full_like(losses, 10.0), np.full_like(losses, 40.0)], axis=1)

    def written(self, model: str, test: TestRows) -> tuple[list[str], list[str]]:
        """The same twenty words for each row."""
        words = [f"{'words of an answer ' * 5}{row.id}" for row in test.rows]
        return words, list(reversed(words))


def rehearse(run: Run, recipe: Recipe) -> dict[str, float]:
    """Seconds of the evaluate stage by part, from a scratch run with an untrained release/."""
    labels = list(read_json(run.path("data/audit.json"))["labels"])
    seconds = {"asking": 0.0, "statistics": 0.0}
    write_manifest(run.path("release"), {"name": recipe.name, "run": run.title})  # compared on loading
    with StopSignal() as stop:
        answers = Answers(run, recipe, labels, stop)
        seconds["loading"] = took(lambda: answers.engine)
        positive_name = answers.engine.settings.positive
        positive = labels.index(positive_name) if positive_name else None
        names = ("test", *(test.name for test in recipe.data.test))
        tests = [test_rows(run, recipe, labels, name) for name in names]
        models = answers.models()
        asked = {name: _asking(answers, tests, name) for name in models if name != "blend"}
        seconds["asking"] = sum(asked.values())
        if "blend" in models:  # joins the answers of others; fitted on the tuned model's validation rows
            validation = test_rows(run, recipe, labels, "validation")
            seconds["asking"] += _asking(answers, [validation], "tuned")
        again = [
            swaps_of(test, kind, recipe.seed).test for test in tests for kind in recipe.evaluate.swaps
        ]
        if again:
            seconds["asking"] += _asking(answers, again, "tuned")
        seconds |= further_seconds(answers, tests, asked["tuned"])
        if written_metrics(recipe):
            seconds["writing"] = sum(_writing(answers, tests, model) for model in answers.models())
        seconds["overfitting"] = _overfitting(answers)
        invented = _Invented(run, recipe, labels, stop)
        for test in tests:
            seconds["statistics"] += _statistics(invented, test, positive, stop)
    return seconds


def _asking(answers: Answers, tests: list[TestRows], model: str) -> float:
    """Seconds of asking one model about every row of every test set."""
    if model == "tfidf":  # fitted on all training rows in a moment: done whole
        return sum(took(lambda t=test: answers.probabilities(model, t)) for test in tests)  # type: ignore[misc]
    total = 0.0
    rates: list[tuple[Batch, float]] = []
    for test in tests:
        encoded = [
            encode_row(answers.engine.tokens, answers.recipe, answers.labels, r) for r in test.rows
        ]
        lengths = [sum(len(piece.ids) for piece in pieces) for pieces in encoded]
        plan = batches_of(lengths, range(len(lengths)), TOKENS)
        if plan and not rates:  # the rates of the first set hold for the others
            for number, batch in enumerate(spread(plan, BATCHES)):
                part = _part(test, batch, number)
                rates.append((batch, took(lambda p=part: _ask(answers, model, p))))  # type: ignore[misc]
        total += carried_over(plan, rates)
    return total


def _overfitting(answers: Answers) -> float:
    """Seconds of asking about training and validation rows, and of going on with some of them."""
    recipe, labels = answers.recipe, answers.labels
    train, validation = (
        read_rows(answers.run.path(f"data/{name}.parquet")) for name in ("train", "validation")
    )
    count = min(SEEN_ROWS, len(train), len(validation))
    sets = [
        set_of(recipe, labels, name, rows[:count])
        for name, rows in (("of_train", train), ("of_validation", validation))
    ]
    models = ("tuned",) if recipe.task.kind == "classify" else MODELS
    total = sum(_asking(answers, sets, model) for model in models)
    asked = min(recipe.evaluate.memorisation_rows, len(train))
    few = [
        (row, passage)
        for row in train[: min(asked, FEW_PASSAGES)]
        if (passage := passage_of(answers.engine.tokens, recipe, row)) is not None
    ]
    if not few:
        return total
    part = set_of(recipe, labels, "going_on", [row for row, _passage in few])
    passages = [passage for _row, passage in few]
    once = sum(took(lambda m=model: told(answers, m, part, passages)) for model in MODELS)  # type: ignore[misc]
    return total + once * 2 * asked / len(few)


def _writing(answers: Answers, tests: list[TestRows], model: str) -> float:
    """Seconds of one model's written answers: one is written, as long as it becomes."""
    most = answers.recipe.evaluate.written_rows
    rows = sum(min(most, len(test.rows)) for test in tests)
    first = part_of(tests[0], 1, answers.recipe.seed)
    one = TestRows(f"written_{tests[0].name}", first.rows, first.truth, None)
    return took(lambda: answers.written(model, one)) * rows


def _ask(answers: Answers, model: str, part: TestRows) -> None:
    recipe = answers.recipe
    if recipe.task.kind == "classify":
        answers.probabilities(model, part)
    if recipe.task.kind != "classify" or (recipe.task.head == "tokens" and model in ("base", "tuned")):
        answers.losses(model, part)


def _part(test: TestRows, batch: Batch, number: int) -> TestRows:
    """Some rows of a test set, under a name of their own."""
    rows = batch.rows
    truth = test.truth[rows] if len(test.truth) else test.truth
    return TestRows(f"part{number}_{test.name}", [test.rows[row] for row in rows], truth, None)


def _statistics(answers: _Invented, test: TestRows, positive: int | None, stop: StopSignal) -> float:
    """Seconds of metrics, intervals and tests of one set."""
    count = min(len(test.rows), MOST_ROWS)
    if not count:
        return 0.0
    few = TestRows(
        test.name,
        test.rows[:count],
        test.truth[:count],
        None if test.groups is None else test.groups[:count],
    )
    report = empty_report(answers.recipe.task.kind, answers.labels, None)
    work = partial(measure_set, report, answers, few, positive, stop)
    return took(work) * len(test.rows) / count
