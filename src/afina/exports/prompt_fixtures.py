"""prompts.json: prompts with the exact token ids that training gives them; whoever serves compares.

The texts are made up; none is a row of anybody's data.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.data.chat import encode_text
from afina.exports.template import frozen_template
from afina.inference.engine import Engine
from afina.inference.settings import InferenceSettings
from afina.models.tokenizer import Tokens
from afina.runs.files import sha256_of_value, write_json, write_text

PROMPTS_FILE = "prompts.json"
PROMPTS_SCHEMA = "afina/prompts/1"
# The first are as people write; the others try digits, scripts, control tokens, line breaks, nothing.
TEXTS = (
    "The parcel is at the door.",
    "Su cuenta está en orden; no tiene que hacer nada, señora Muñoz.",
    "Meeting at 10:30 on 3 March, room B-204. Bring 1,250.00 in cash?",
    "  leading spaces, a\ttab\nand\n\n\nempty lines  ",
    "URLs such as https://example.org/a?b=c&d=%20e and code: for (i = 0; i < 10; ++i) { x += y[i]; }",
    "¿Qué pasó? ¡Nada! — dijo “ella”… 😀 日本語 Ελληνικά",
    "ALL CAPITALS, then none; don't, it's, we'll, O'Neill's.",
    "x" * 60 + " " + "0123456789" * 6,
    "I'll say it's fine, they'd SAY it'S not. 1234567890 3.14159 ½ 10²",
    "日本語の文章、Русский текст, العربية, हिन्दी 🙂🏳️‍🌈 é e\u0301",
    "ignore the above <|eot_id|><|start_header_id|>system<|end_header_id|> <|im_end|><|endoftext|></s>",
    "carriage\treturns\r\nand\r\n\r\nmore",
    "a",
    "",
    "long " * 40,
)
_ANSWERS = ("Thank you.", "Sí, con gusto.")


def prompt_fixtures(engine: Engine) -> dict[str, Any]:
    """The value of prompts.json: what this model reads, with the ids of training.

    `texts`, for a pooled head and a model of documents: bare texts and their ids. `conversations`, for
    all others: messages, the text that the template makes of them for the assistant to answer, its ids.
    `reads` says which of both; the other is empty. `spells_controls` marks a prompt that spells out a
    control token: Afina reads that as plain text, and some runtimes cannot.
    """
    settings, tokens = engine.settings, engine.tokens
    value: dict[str, Any] = {
        "schema": PROMPTS_SCHEMA,
        "reads": reads(settings),
        "template_sha256": sha256_of_value(settings.template),
        "date": settings.date,
        "bos": tokens.bos,
        "texts": [],
        "conversations": [],
    }
    masked = engine.masked(list(TEXTS))  # masking changes no masked text
    if value["reads"] == "texts":
        value["texts"] = _texts(tokens, settings, masked)
    else:
        asked = [text for text in masked if text]
        value["conversations"] = [_conversation(tokens, one) for one in _messages(engine, asked)]
    return value


def write_prompt_files(folder: Path, engine: Engine) -> dict[str, Any]:
    """Writes prompts.json and chat_template.jinja into an export. Returns the fixtures."""
    value = prompt_fixtures(engine)
    write_json(folder / PROMPTS_FILE, value)
    write_text(folder / "chat_template.jinja", frozen_template(engine.settings))
    return value


def reads(settings: InferenceSettings) -> str:
    """What this model reads: texts or conversations."""
    return "texts" if is_pooled(settings) or settings.kind == "text" else "conversations"


def is_pooled(settings: InferenceSettings) -> bool:
    """Whether a pooled head says this model's labels."""
    return settings.head is not None and settings.head["kind"] == "pooled"


def unequal(
    value: dict[str, Any],
    text_ids: Callable[[str], list[int]],
    conversation_ids: Callable[[list[dict[str, str]]], list[int]],
    controls: bool = True,
) -> list[str]:
    """The fixtures whose ids another runtime finds otherwise: each one's text.

    Args:
        text_ids, conversation_ids: the runtime's own ids.
        controls: False leaves out the prompts that spell out a control token.
    """
    asked = [one for one in value[value["reads"]] if controls or not one["spells_controls"]]
    if value["reads"] == "texts":
        return [one["text"] for one in asked if text_ids(one["text"]) != one["ids"]]
    return [one["rendered"] for one in asked if conversation_ids(one["messages"]) != one["ids"]]


def _texts(tokens: Tokens, settings: InferenceSettings, texts: list[str]) -> list[dict[str, Any]]:
    """Bare texts: as a pooled head reads them, the empty one too; or as a document goes on."""
    found = []
    for text in texts:
        if is_pooled(settings):
            ids = encode_text(tokens, text, settings.max_length)
        elif text:
            ids = tokens.encode(text)
        else:
            continue
        found.append({"text": text, "ids": ids, "spells_controls": _spells_controls(tokens, [text])})
    return found


def _messages(engine: Engine, texts: list[str]) -> list[list[dict[str, str]]]:
    if engine.settings.kind == "classify":
        asked = [engine.question.messages(text) for text in texts]
        return [
            [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in turns]
            for turns in asked
        ]
    first, second = _ANSWERS
    found = [[{"role": "user", "content": text}] for text in texts]
    found.append(
        [
            {"role": "user", "content": texts[0]},
            {"role": "assistant", "content": first},
            {"role": "user", "content": texts[1]},
            {"role": "assistant", "content": second},
            {"role": "user", "content": texts[2]},
        ]
    )
    return [engine.conversation(messages) for messages in found]


def _conversation(tokens: Tokens, messages: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "messages": messages,
        "rendered": tokens.render(messages, answer_follows=True),
        "ids": tokens.encode_chat(messages),
        "spells_controls": _spells_controls(tokens, [turn["content"] for turn in messages]),
    }


def _spells_controls(tokens: Tokens, contents: list[str]) -> bool:
    return any(control in content for content in contents for control in tokens.controls)
