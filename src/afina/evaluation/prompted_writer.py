"""The untouched base of a generating model, with the best of several system messages and examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from afina.data.chat import Encoded, encode_conversation, with_instruction
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.errors import AfinaError
from afina.evaluation.answers import Answers, TestRows, read_column, test_rows, write_table
from afina.evaluation.further import Further
from afina.evaluation.prompt_asking import VALIDATION
from afina.evaluation.prompt_rows import drawn_examples, stratified
from afina.evaluation.score import Measured, likelihood_metric, number, results_of
from afina.evaluation.slices import rows_of
from afina.inference.generate import stream
from afina.inference.states import row_losses
from afina.language import _
from afina.metric_names import LIKELIHOOD_METRICS, RANKING
from afina.recipe import Recipe
from afina.recipe_prompts import Prompts, PromptVariant

Array = np.ndarray[Any, np.dtype[Any]]
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Way:
    """A variant with its examples: each a conversation without a system message."""

    variant: PromptVariant
    recipe: Recipe
    shots: tuple[Row, ...]
    turns: tuple[Messages, ...]

    def messages(self, given: Messages, shots: int | None = None) -> Messages:
        """A conversation with the variant's system message, unless it has its own, and its examples.

        Args:
            shots: how many of the examples, the last ones; None for all.
        """
        recipe = self.recipe
        if self.variant.instruction is not None:
            task = recipe.task.model_copy(update={"instruction": self.variant.instruction})
            recipe = recipe.model_copy(update={"task": task})
        found = with_instruction(recipe, given)
        first = int(bool(found) and found[0]["role"] == "system")
        count = len(self.turns) if shots is None else shots
        before = [turn for one in self.turns[len(self.turns) - count :] for turn in one]
        return [*found[:first], *before, *found[first:]]


class PromptedWriter(Further):
    """Chooses among the variants on the validation rows, then writes as the chosen one.

    It is asked with the run's own engine about all rows: test rows are never among the examples.
    """

    likelihoods = True

    def __init__(self, answers: Answers, prompts: Prompts) -> None:
        self._answers, self._prompts = answers, prompts
        self._fewer: dict[str, int] = {}

    @cached_property
    def metric(self) -> str:
        """The metric that chooses: the first of the ranking that the recipe measures."""
        from afina.evaluation.measure import wanted_metrics

        wanted = wanted_metrics(self._answers.recipe)
        return next(name for name in RANKING if name in wanted)

    @cached_property
    def _rows(self) -> TestRows:
        """The validation rows that variants are compared on; fewer where answers must be written."""
        answers, most = self._answers, self._prompts.rows
        if self.metric not in LIKELIHOOD_METRICS:
            most = min(most, answers.recipe.evaluate.written_rows)
        every = test_rows(answers.run, answers.recipe, [], VALIDATION)
        if not every.rows:
            raise AfinaError(_("there is no validation row to compare prompts on"))
        return rows_of(every, stratified(every.truth, len(every.rows), most, answers.recipe.seed))

    @cached_property
    def ways(self) -> list[tuple[Way, Measured, float]]:
        """Every variant with its answers to the validation rows and its value of the main metric."""
        return [self._try(variant) for variant in self._prompts.variants]

    @cached_property
    def chosen(self) -> Way:
        """The best on the validation rows; of equal ones the first."""
        from afina.evaluation.prompted import goodness

        way, _measured, value = max(self.ways, key=lambda one: goodness(self.metric, one[2]))
        self._answers.run.say(
            _("best prompt on {rows} validation rows: {name} ({metric} {value:.3f})").format(
                rows=len(self._rows.rows), name=way.variant.name, metric=self.metric, value=value
            )
        )
        return way

    def way(self, variant: PromptVariant) -> Way:
        """A variant with its examples."""
        answers = self._answers
        shots: list[Row] = []
        if variant.shots:
            train = read_rows(answers.run.path("data/train.parquet"))
            shots = drawn_examples(train, [], variant.shots, answers.recipe.seed)
        return Way(variant, answers.recipe, tuple(shots), tuple(_shown(row) for row in shots))

    def _try(self, variant: PromptVariant) -> tuple[Way, Measured, float]:
        answers, rows = self._answers, self._rows
        answers.stop.check()
        way = self.way(variant)
        if self.metric in LIKELIHOOD_METRICS:
            measured = self._measured_losses(way)
        else:
            measured = self._measured_written(way)
        value = measured.metrics[self.metric](measured.answers, np.arange(len(rows.rows)))
        return way, measured, float(value)

    def _measured_losses(self, way: Way) -> Measured:
        """Perplexity and bits per byte of the right answers, kept in a file."""
        from afina.evaluation.answers import predicted_bytes
        from afina.evaluation.measure import wanted_metrics

        answers, rows = self._answers, self._rows.rows
        path = answers.run.path(f"predictions/{VALIDATION}/prompt_{way.variant.name}.losses.parquet")
        if not path.exists():
            answers.run.say(
                _("asking the base with the prompt {name} about {count} validation rows").format(
                    name=way.variant.name, count=len(rows)
                )
            )
            found = self.losses_of(way, rows)
            columns: dict[str, list[Any]] = {
                "id": [row.id for row in rows],
                "loss": found[:, 0].tolist(),
                "tokens": found[:, 1].tolist(),
                "fewer": [self._fewer.get(way.variant.name, 0)] * len(rows),
            }
            write_table(path, columns)
        self._fewer[way.variant.name] = int(read_column(path, "fewer")[0])
        sizes = [float(predicted_bytes(answers.recipe, row)) for row in rows]
        table = np.stack([read_column(path, "loss"), read_column(path, "tokens"), sizes], axis=1)
        wanted = [name for name in wanted_metrics(answers.recipe) if name in LIKELIHOOD_METRICS]
        return Measured("prompted", table, {name: likelihood_metric(name) for name in wanted})

    def _measured_written(self, way: Way) -> Measured:
        """Figures of written answers, kept in a file."""
        from afina.evaluation.measure import written_metrics
        from afina.evaluation.written import measure_written

        answers = self._answers
        name = f"prompt_{way.variant.name}"
        answers.further[name] = _OneWay(self, way)  # asked as any model is, under its own name
        try:
            return measure_written(answers, name, self._rows, written_metrics(answers.recipe))
        finally:
            del answers.further[name]

    def encoded(self, way: Way, row: Row) -> tuple[Encoded, bool]:
        """A row after the variant's examples, and whether it has fewer of them than the others: the
        oldest are left out until all fits in data.max_length."""
        tokens, limit = self._answers.engine.tokens, self._answers.recipe.data.max_length
        for count in range(len(way.turns), -1, -1):
            found = encode_conversation(tokens, way.messages(row.messages or [], count))
            if len(found.ids) <= limit or not count:
                return found, count < len(way.turns)
        raise AssertionError("the last round returns")

    def losses_of(self, way: Way, rows: list[Row]) -> Array:
        """Summed loss in nats and trained tokens; [rows, 2]."""
        answers, engine = self._answers, self._answers.engine
        pieces = [self.encoded(way, row) for row in rows]
        self._fewer[way.variant.name] = sum(fewer for _piece, fewer in pieces)
        if self._fewer[way.variant.name]:
            answers.run.say(
                _("prompt {name}: {rows} rows have fewer examples, to fit in data.max_length").format(
                    name=way.variant.name, rows=self._fewer[way.variant.name]
                )
            )
        budget = 2 * answers.recipe.train.micro_batch_tokens
        with engine.base_only():
            found = row_losses(
                engine.model,
                [piece for piece, _fewer in pieces],
                engine.tokens.pad,
                budget,
                answers.stop.check,
            )
        return np.array(found, dtype=float).T

    def write_as(self, way: Way, asked: list[dict[str, str]], most: int) -> str:
        """The base's answer to a conversation in the way of a variant."""
        engine, limit = self._answers.engine, self._answers.recipe.data.max_length
        for count in range(len(way.turns), -1, -1):
            messages = [
                {"role": turn["role"], "content": str(turn["content"])}
                for turn in way.messages(asked, count)
            ]
            if len(engine.tokens.encode_chat(messages)) <= limit or not count:
                break
        settings = {**engine.settings.generation, "max_new_tokens": most}
        with engine.base_only():
            return "".join(stream(engine.model, engine.tokens, messages, settings))

    def losses(self, rows: list[Row]) -> Array:
        """Summed loss in nats and trained tokens of each row by the chosen variant; [rows, 2]."""
        return self.losses_of(self.chosen, rows)

    def write(self, asked: list[dict[str, str]], most: int) -> str:
        """The answer to a conversation by the chosen variant."""
        return self.write_as(self.chosen, asked, most)

    def report(self) -> list[dict[str, Any]]:
        """Every variant as a line of evaluation.json; no row's text is in it, for it is released."""
        from afina.evaluation.prompted import FIGURE

        recipe = self._answers.recipe
        found = []
        for way, measured, _value in self.ways:
            lines = results_of(measured, self._rows, None, recipe.seed)
            shots = {
                "wanted": way.variant.shots,
                "used": len(way.shots),
                "shortened": 0,
                "rows_with_fewer": self._fewer.get(way.variant.name, 0),
                "rows": [row.id for row in way.shots],
            }
            found.append(
                {
                    "name": way.variant.name,
                    "chosen": way is self.chosen,
                    "instruction": way.variant.instruction or recipe.task.instruction,
                    "answer_instruction": None,
                    "reasoning_tokens": None,
                    "shots": shots if way.variant.shots else None,
                    "rows": len(self._rows.rows),
                    "rows_cut": 0,
                    "metric": self.metric,
                    "calibration": None,
                    "by_calibration": {},
                    "bias": {},
                    "temperature": None,
                    "results": [
                        {**{key: line[key] for key in FIGURE}, "value": number(line["value"])}
                        for line in lines
                    ],
                }
            )
        return found


class _OneWay(Further):
    """A variant as a model that writes, while variants are compared."""

    def __init__(self, writer: PromptedWriter, way: Way) -> None:
        self._writer, self._way = writer, way

    def write(self, asked: list[dict[str, str]], most: int) -> str:
        """The answer to a conversation."""
        return self._writer.write_as(self._way, asked, most)


def _shown(row: Row) -> Messages:
    """A conversation as an example: from its first question to its last answer, none of it trained."""
    turns = [m for m in row.messages or [] if m["role"] != "system"]
    while turns and turns[-1]["role"] != "assistant":
        turns = turns[:-1]
    return [{"role": m["role"], "content": m["content"], "train": False} for m in turns]
