"""What a model is given of a row, and what it should not know how to go on with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.data.chat import encode_conversation, encode_document, encode_text, with_instruction
from afina.data.roles import Row
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe

Array = np.ndarray[Any, np.dtype[Any]]
GIVEN, WANTED = 32, 32
# Fewer tokens to go on with are guessed too easily.
FEWEST = 6


@dataclass(frozen=True)
class Passage:
    """Token ids that are given, and those that stand after them in the row."""

    given: list[int]
    wanted: list[int]


def passage_of(tokens: Tokens, recipe: Recipe, row: Row) -> Passage | None:
    """The passage of a row; None when fewer than 6 tokens would be left to go on with.

    Texts and documents: the first 32 tokens are given, or the first half of a row of fewer than 64, and
    up to 32 are wanted. Conversations: all before the last answer is given, as in use, and the first 32
    tokens of the answer are wanted.
    """
    if recipe.task.kind == "generate":
        encoded = encode_conversation(tokens, with_instruction(recipe, row.messages or []))
        stop = len(encoded.trained) - encoded.trained[::-1].index(True)
        start = next(i for i in range(stop, 0, -1) if not encoded.trained[i - 1])
        passage = Passage(encoded.ids[:start], encoded.ids[start : min(stop, start + WANTED)])
    else:
        limit = recipe.data.max_length
        windows = encode_document(tokens, row.text, limit) if recipe.task.kind == "text" else []
        ids = windows[0].ids if windows else encode_text(tokens, row.text, limit)
        start = min(GIVEN, len(ids) // 2)
        passage = Passage(ids[:start], ids[start : start + WANTED])
    return passage if passage.given and len(passage.wanted) >= FEWEST else None


def matches(written: list[int], wanted: list[int]) -> tuple[bool, float, int]:
    """Whether all was written as it stands; the share of tokens at their place; the longest common run.

    The run may stand at another place: a text that goes on one word late is known all the same.
    """
    right = sum(a == b for a, b in zip(written, wanted, strict=True))
    return right == len(wanted), right / len(wanted), _longest_run(written, wanted)


def _longest_run(a: list[int], b: list[int]) -> int:
    """Tokens of the longest run that both have."""
    longest, before = 0, [0] * (len(b) + 1)
    for left in a:
        now = [0] * (len(b) + 1)
        for place, right in enumerate(b, start=1):
            if left == right:
                now[place] = before[place - 1] + 1
                longest = max(longest, now[place])
        before = now
    return longest
