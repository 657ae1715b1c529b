"""Prompts with the exact token ids that the model was trained to read: whoever serves it compares.

The texts are made up; none is a row of anybody's data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from afina.data.chat import Question, encode_text
from afina.inference.settings import InferenceSettings
from afina.models.tokenizer import Tokens
from afina.runs.files import sha256_of_value

PROMPTS_SCHEMA = "afina/prompts/1"
TEXTS = (
    "The parcel is at the door.",
    "Su cuenta está en orden; no tiene que hacer nada, señora Muñoz.",
    "Meeting at 10:30 on 3 March, room B-204. Bring 1,250.00 in cash?",
    "  leading spaces, a\ttab\nand\n\n\nempty lines  ",
    "URLs such as https://example.org/a?b=c&d=%20e and code: for (i = 0; i < 10; ++i) { x += y[i]; }",
    "¿Qué pasó? ¡Nada! — dijo “ella”… 😀 日本語 Ελληνικά",
    "ALL CAPITALS, then none; don't, it's, we'll, O'Neill's.",
    "x" * 60 + " " + "0123456789" * 6,
)


def prompt_fixtures(tokens: Tokens, settings: InferenceSettings) -> dict[str, Any]:
    """The value of prompts.json.

    `texts`: bare texts and their ids, as a pooled head and a document read them. `conversations`:
    messages, the text that the template makes of them for the assistant to answer, and its ids.
    """
    return {
        "schema": PROMPTS_SCHEMA,
        "reads": reads(settings),
        "template_sha256": sha256_of_value(settings.template),
        "date": settings.date,
        "bos": tokens.bos,
        "texts": [
            {"text": text, "ids": encode_text(tokens, text, settings.max_length)} for text in TEXTS
        ],
        "conversations": [_conversation(tokens, messages) for messages in _messages(settings)],
    }


def reads(settings: InferenceSettings) -> str:
    """What this model reads: texts or conversations."""
    pooled = settings.head is not None and settings.head["kind"] == "pooled"
    return "texts" if pooled or settings.kind == "text" else "conversations"


def unequal(
    value: dict[str, Any],
    text_ids: Callable[[str], list[int]],
    conversation_ids: Callable[[list[dict[str, str]]], list[int]],
) -> list[str]:
    """The fixtures, of the kind that the model reads, whose ids another runtime finds otherwise."""
    if value["reads"] == "texts":
        return [item["text"] for item in value["texts"] if text_ids(item["text"]) != item["ids"]]
    return [
        item["rendered"]
        for item in value["conversations"]
        if conversation_ids(item["messages"]) != item["ids"]
    ]


def _messages(settings: InferenceSettings) -> list[list[dict[str, str]]]:
    if settings.kind == "classify":
        question = Question(settings.instruction or "", tuple(settings.labels))
        asked = [question.messages(text)[0]["content"] for text in TEXTS]
    else:
        asked = [text.strip() for text in TEXTS]
    system = settings.instruction if settings.kind == "generate" else None
    first = [{"role": "system", "content": system}] if system else []
    found = [[*first, {"role": "user", "content": text}] for text in asked]
    if settings.kind != "classify":
        found.append(
            [
                *first,
                {"role": "user", "content": asked[0]},
                {"role": "assistant", "content": "Thank you."},
                {"role": "user", "content": asked[1]},
            ]
        )
    return found


def _conversation(tokens: Tokens, messages: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "messages": messages,
        "rendered": tokens.render(messages, answer_follows=True),
        "ids": tokens.encode_chat(messages),
    }
