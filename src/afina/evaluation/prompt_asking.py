"""How a variant of the prompt is asked: its examples, its reasoning, the likelihood of each label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from afina.data.chat import encode_conversation, question_of
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.errors import DataError
from afina.evaluation.answers import Answers, read_column, write_table
from afina.evaluation.prompt_rows import drawn_examples
from afina.inference.engine import TOKEN_BUDGET
from afina.inference.label_likelihood import label_logits
from afina.inference.prompt import (
    ANSWER,
    THINK,
    THINK_FIRST,
    Prompt,
    cut_for_reasoning,
    fit_shots,
    with_definitions,
)
from afina.inference.reasoning import write_all
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.recipe_prompts import PromptVariant

Array = np.ndarray[Any, np.dtype[Any]]
VALIDATION = "validation"
# A text of fewer tokens than this is not worth asking about.
_SHORTEST_TEXT = 16


def prompt_of(recipe: Recipe, labels: list[str], variant: PromptVariant) -> Prompt:
    """A variant without its examples."""
    given = variant.instruction or recipe.task.instruction
    plain = given or question_of(recipe, labels).instruction
    named = ", ".join(labels)
    if variant.reasoning_tokens is not None:
        plain = f"{given} {THINK_FIRST}" if given else THINK.format(labels=named)
    answer = ANSWER.format(labels=named) if variant.reasoning_tokens is not None else ""
    return Prompt(
        with_definitions(plain, variant.definitions, labels), tuple(labels), answer_instruction=answer
    )


def require_room(recipe: Recipe, labels: list[str], tokens: Tokens) -> None:
    """Refuses a variant that leaves no room for a text in data.max_length, before any training."""
    prompts = recipe.evaluate.prompts
    if prompts is None or recipe.task.kind != "classify":
        return
    for variant in prompts.variants:
        prompt = prompt_of(recipe, labels, variant)
        needed = _length(tokens, prompt, "") + (variant.reasoning_tokens or 0) + _SHORTEST_TEXT
        if needed > recipe.data.max_length:
            raise DataError(
                _(
                    "data.max_length of {limit} leaves no room for a text beside the prompt {name}, "
                    "which needs {needed} tokens"
                ).format(limit=recipe.data.max_length, name=variant.name, needed=needed),
                fix=_("raise data.max_length, or shorten the variant in evaluate.prompts"),
            )


def _length(tokens: Tokens, prompt: Prompt, text: str) -> int:
    """Tokens of a prompt with a text and the longest label."""
    label = max(prompt.labels, key=lambda one: len(tokens.encode(one)))
    return len(encode_conversation(tokens, prompt.messages(text, label)).ids)


class Asking:
    """Asks the untouched base of a run in the way of any variant.

    Attributes:
        shots: what became of the examples of each variant, as evaluation.json says it.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._limit = answers.recipe.data.max_length
        self.shots: dict[str, dict[str, Any]] = {}

    def prompt(self, variant: PromptVariant) -> Prompt:
        """A variant with the examples that fit; what did not fit is said."""
        answers = self._answers
        prompt = prompt_of(answers.recipe, answers.labels, variant)
        if not variant.shots:
            return prompt
        train = read_rows(answers.run.path("data/train.parquet"))
        rows = drawn_examples(train, answers.labels, variant.shots, answers.recipe.seed)
        given = [(row.text, str(row.label)) for row in rows]
        room = self._limit // 2
        fitted = fit_shots(answers.engine.tokens, prompt, given, room)
        used = rows[: len(fitted.shots)]
        self.shots[variant.name] = {
            "wanted": variant.shots,
            "used": len(used),
            "shortened": fitted.shortened,
            "rows": [row.id for row in used],
            "labels": [row.label for row in used],
        }
        if len(used) < variant.shots or fitted.shortened:
            answers.run.say(
                _(
                    "prompt {name}: {used} of {wanted} examples fit in half of data.max_length, "
                    "{shortened} of them shortened"
                ).format(
                    name=variant.name,
                    used=len(used),
                    wanted=variant.shots,
                    shortened=fitted.shortened,
                )
            )
        return replace(prompt, shots=fitted.shots)

    def kept_logits(
        self, variant: PromptVariant, prompt: Prompt, rows: list[Row], part: str = ""
    ) -> Array:
        """Logits of rows, kept in a file; [rows, labels]."""
        path = self._answers.run.path(f"predictions/{VALIDATION}/prompt_{variant.name}{part}.parquet")
        if not path.exists():
            if not part:
                self._answers.run.say(
                    _("asking the base with the prompt {name} about {count} validation rows").format(
                        name=variant.name, count=len(rows)
                    )
                )
            found = self.logits(variant, prompt, VALIDATION, rows)
            columns: dict[str, list[Any]] = {
                "id": [row.id for row in rows],
                "label": [row.label for row in rows],
                "logits": [list(map(float, one)) for one in found],
            }
            write_table(path, columns)
        return np.array(read_column(path, "logits"))

    def rows_cut(self, variant: PromptVariant, prompt: Prompt, rows: list[Row]) -> int:
        """How many texts this prompt shortens."""
        tokens, most = self._answers.engine.tokens, variant.reasoning_tokens or 0
        return sum(_length(tokens, prompt, row.text) + most > self._limit for row in rows)

    def logits(self, variant: PromptVariant, prompt: Prompt, name: str, rows: list[Row]) -> Array:
        """The likelihood of each label in nats; [rows, labels]."""
        engine, limit = self._answers.engine, self._limit
        texts = [row.text for row in rows]
        questions: list[Prompt] = [prompt] * len(texts)
        with engine.base_only():
            if variant.reasoning_tokens is not None:
                texts = [
                    cut_for_reasoning(engine.tokens, prompt, text, limit, variant.reasoning_tokens)
                    for text in texts
                ]
                said = self._reasonings(variant, prompt, name, rows, texts)
                questions = [replace(prompt, reasoning=one) for one in said]
            check = self._answers.stop.check
            return label_logits(
                engine.model, engine.tokens, questions, texts, limit, TOKEN_BUDGET, check
            )

    def _reasonings(
        self, variant: PromptVariant, prompt: Prompt, name: str, rows: list[Row], texts: list[str]
    ) -> list[str]:
        """What the base writes before it answers; kept after each batch, so that it goes on there."""
        answers, engine = self._answers, self._answers.engine
        path = answers.run.path(f"predictions/{name}/prompt_{variant.name}.reasoning.parquet")
        known: dict[str, str] = {}
        if path.exists():
            known = dict(zip(read_column(path, "id"), read_column(path, "said"), strict=True))
        missing = [place for place, row in enumerate(rows) if row.id not in known]

        def keep(group: list[int], said: list[str]) -> None:
            for place, text in zip(group, said, strict=True):
                known[rows[missing[place]].id] = text
            write_table(path, {"id": list(known), "said": list(known.values())})
            answers.run.progress(
                _("reasoned about {done:,} of {all:,} rows").format(done=len(known), all=len(rows))
            )

        write_all(
            engine.model,
            engine.tokens,
            [prompt.opening(texts[place]) for place in missing],
            variant.reasoning_tokens or 1,
            keep,
            answers.stop.check,
        )
        return [known[row.id] for row in rows]
