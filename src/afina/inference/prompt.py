"""A question with all that may come before its answer: definitions, examples, reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from afina.data.chat import Question, encode_conversation, fit_text
from afina.models.tokenizer import Tokens

# The fewest tokens of an example that still say something; below it there are fewer examples.
SHORTEST_EXAMPLE = 12
THINK = (
    "Read the text below and think step by step about which of these labels fits it: {labels}. "
    "Write your reasons, not the answer yet."
)
THINK_FIRST = "First think step by step and write your reasons, not the answer yet."
ANSWER = "Now answer with one of these labels and nothing else: {labels}."


@dataclass(frozen=True)
class Prompt(Question):
    """A question asked in a conversation with earlier turns.

    Attributes:
        shots: examples as (text, label), each put in the form of the question itself.
        answer_instruction: what is asked after the reasoning; empty for no reasoning.
        reasoning: what the model wrote about the one text that is asked about.
    """

    shots: tuple[tuple[str, str], ...] = ()
    answer_instruction: str = ""
    reasoning: str = ""

    def opening(self, text: str) -> list[dict[str, Any]]:
        """The conversation up to where the model reasons, or answers."""
        turns: list[dict[str, Any]] = []
        for shown, label in self.shots:
            turns.append(_turn("user", f"{self.instruction}\n\n{shown}"))
            turns.append(_turn("assistant", label))
        return [*turns, _turn("user", f"{self.instruction}\n\n{text}")]

    def messages(self, text: str, label: str | None = None) -> list[dict[str, Any]]:
        """The conversation that asks about `text`, with its answer when a label is given."""
        turns = self.opening(text)
        if self.answer_instruction:
            # A model that wrote nothing still had its turn: templates want them to alternate.
            turns.append(_turn("assistant", self.reasoning.strip() or "…"))
            turns.append(_turn("user", self.answer_instruction))
        if label is not None:
            turns.append({"role": "assistant", "content": label, "train": True})
        return turns


def _turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content, "train": False}


def with_definitions(instruction: str, definitions: dict[str, str] | None, labels: Sequence[str]) -> str:
    """The instruction, then what each label means."""
    if not definitions:
        return instruction
    return "\n".join([instruction, *(f"- {label}: {definitions[label]}" for label in labels)])


@dataclass(frozen=True)
class FittedShots:
    """Examples that fit.

    Attributes:
        shots: as (text, label). shortened: how many of their texts were cut.
    """

    shots: tuple[tuple[str, str], ...]
    shortened: int


def fit_shots(
    tokens: Tokens, prompt: Prompt, shots: Sequence[tuple[str, str]], room: int
) -> FittedShots:
    """As many examples as fit, from the first one on; long texts are cut at their end, alike for all.

    Args:
        shots: (text, label), in order. room: tokens that all of them may take, template included.
    """
    label = max(prompt.labels, key=lambda one: len(tokens.encode(one)))

    def size(given: Sequence[tuple[str, str]]) -> int:
        asked = replace(prompt, shots=tuple(given))
        return len(encode_conversation(tokens, asked.messages("", label)).ids)

    bare = size([])
    lengths = [
        len(tokens.tokenizer(text, add_special_tokens=False)["input_ids"]) for text, _one in shots
    ]
    for count in range(len(shots), 0, -1):
        own = list(shots[:count])
        limit = _share(lengths[:count], room - (size([("", one) for _text, one in own]) - bare))
        while limit >= min(SHORTEST_EXAMPLE, max(lengths[:count])):
            fitted = [(fit_text(tokens, text, limit), one) for text, one in own]
            over = size(fitted) - bare - room
            if over <= 0:
                cut = sum(new[0] != old[0] for new, old in zip(fitted, own, strict=True))
                return FittedShots(tuple(fitted), cut)
            limit = min(limit, max(lengths[:count])) - max(1, over // count)
    return FittedShots((), 0)


def _share(lengths: list[int], room: int) -> int:
    """The longest that a text may be so that all together have `room` tokens; what short ones leave
    goes to the long ones."""
    left, longest = room, 0
    for place, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - place)
        if length > share:
            return share
        left, longest = left - length, length
    return longest


def cut_for_reasoning(
    tokens: Tokens, prompt: Prompt, text: str, max_length: int, reasoning_tokens: int
) -> str:
    """The text, cut so that it fits with the longest reasoning and the longest label."""
    label = max(prompt.labels, key=lambda one: len(tokens.encode(one)))
    overhead = len(encode_conversation(tokens, prompt.messages("", label)).ids)
    room = max_length - overhead - reasoning_tokens
    if len(tokens.tokenizer(text, add_special_tokens=False)["input_ids"]) <= room:
        return text
    return fit_text(tokens, text, max(1, room - 2))
