"""From messages to token ids, and which of them are trained: one path for training and asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from afina.data.roles import Row
from afina.errors import BaseModelError, DataError
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe


@dataclass(frozen=True)
class Encoded:
    """One row as the model reads it.

    Attributes:
        ids: token ids; [length].
        trained: whether the loss is taken on predicting this token; [length], the first always False.
    """

    ids: list[int]
    trained: list[bool]


@dataclass(frozen=True)
class Question:
    """What is asked about a text, and the answers that are possible."""

    instruction: str
    labels: tuple[str, ...]

    def messages(self, text: str, label: str | None = None) -> list[dict[str, Any]]:
        """The conversation that asks about `text`, with its answer when a label is given."""
        asked = [{"role": "user", "content": f"{self.instruction}\n\n{text}", "train": False}]
        if label is not None:
            asked.append({"role": "assistant", "content": label, "train": True})
        return asked


def question_of(recipe: Recipe, labels: list[str]) -> Question:
    """The question of a classification recipe."""
    default = "Classify the text below. Answer with one of these labels and nothing else: {labels}."
    return Question(recipe.task.instruction or default.format(labels=", ".join(labels)), tuple(labels))


def encode_conversation(tokens: Tokens, messages: list[dict[str, Any]]) -> Encoded:
    """Ids of a conversation; trained are the assistant's messages marked so, with their end token.

    Raises:
        DataError: when the conversation begins with the assistant, or nothing in it is trained.
        BaseModelError: when the template rewrites earlier turns, or does not end an answer.
    """
    if next((m["role"] for m in messages if m["role"] != "system"), "assistant") == "assistant":
        raise DataError(_("a conversation must begin with the user (or the system, then the user)"))
    plain = [{"role": m["role"], "content": m["content"]} for m in messages]
    text = tokens.render(plain)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("train", True):
            before = tokens.render(plain[:index], answer_follows=True)
            after = tokens.render(plain[: index + 1])
            if not text.startswith(before) or not text.startswith(after):
                raise BaseModelError(
                    _(
                        "the base model's chat template rewrites earlier turns, "
                        "so the trained part cannot be marked"
                    ),
                    fix=_("use a base model with a plain template"),
                )
            spans.append((len(before), len(after)))
    if not spans:
        raise DataError(_("no message of the assistant is trained in this row"))
    ids, offsets = tokens.tokenize(text, [str(message["content"]) for message in messages])
    trained = [False] * len(ids)
    for start, stop in spans:
        inside = [i for i, (left, right) in enumerate(offsets) if start <= left < right <= stop]
        last_end = max((i for i in inside if ids[i] in tokens.ends), default=None)
        if last_end is None:
            raise BaseModelError(
                _("the base model's chat template does not end an answer with an end token"),
                fix=_("use a base model with a template that does"),
            )
        for i in inside:
            trained[i] = i <= last_end  # what the template writes after the end token is not the answer
    if tokens.with_bos(ids) != ids:
        ids, trained = tokens.with_bos(ids), [False, *trained]
    if tokens.bos is not None and ids.count(tokens.bos) != 1:
        raise DataError(
            _("this row would have {count} begin tokens instead of one").format(
                count=ids.count(tokens.bos)
            )
        )
    trained[0] = False
    if not any(trained):
        raise DataError(_("no token of this row is trained"))
    return Encoded(ids, trained)


def cut_conversation(
    tokens: Tokens, messages: list[dict[str, Any]], limit: int
) -> list[dict[str, Any]] | None:
    """The conversation without its oldest whole turns, so that it has at most `limit` tokens.

    The system message stays, and an answer is never cut. None when no cut makes it fit.
    """
    system = [m for m in messages if m["role"] == "system"]
    rest = [m for m in messages if m["role"] != "system"]
    while rest:
        kept = system + rest
        if not any(m["role"] == "assistant" and m.get("train", True) for m in kept):
            return None
        if len(encode_conversation(tokens, kept).ids) <= limit:
            return kept
        rest = rest[1:]
        while rest and rest[0]["role"] != "user":
            rest = rest[1:]
    return None


def fit_text(tokens: Tokens, text: str, room: int) -> str:
    """`text`, shortened at its end so that it has at most `room` tokens."""
    encoding = tokens.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    while len(encoding["input_ids"]) > room:
        if room < 1:
            return ""
        text = text[: encoding["offset_mapping"][room - 1][1]]
        again = tokens.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if len(again["input_ids"]) >= len(encoding["input_ids"]):
            room -= 1
        encoding = again
    return text


def encode_text(tokens: Tokens, text: str, limit: int) -> list[int]:
    """Ids of a bare text for the pooled head, cut at its end to `limit` tokens, BOS included.

    Never empty: where there is nothing to read, the model reads one padding token.
    """
    # What looks like a control token in a text is text: an e-mail must not be able to write one.
    ids = list(tokens.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    return tokens.with_bos(ids)[:limit] or [tokens.pad]


def encode_answer(tokens: Tokens, question: Question, text: str, label: str, limit: int) -> Encoded:
    """Ids of a question about a text with its answer; the text is cut so that all has `limit` tokens.

    Raises DataError when even an empty text leaves no room.
    """
    encoded = encode_conversation(tokens, question.messages(text, label))
    if len(encoded.ids) <= limit:
        return encoded
    overhead = len(encode_conversation(tokens, question.messages("", label)).ids)
    room = limit - overhead
    while room > 0:
        encoded = encode_conversation(tokens, question.messages(fit_text(tokens, text, room), label))
        if len(encoded.ids) <= limit:
            return encoded
        room -= len(encoded.ids) - limit
    raise DataError(
        _("data.max_length of {limit} leaves no room for the text beside the question").format(
            limit=limit
        ),
        fix=_("raise data.max_length, or shorten task.instruction"),
    )


def encode_document(tokens: Tokens, text: str, limit: int) -> list[Encoded]:
    """Ids of a document in windows of at most `limit` tokens; all but a window's first are trained.

    Windows overlap by one token, so that each token of the document is predicted exactly once.
    """
    end = tokens.tokenizer.eos_token_id
    plain = tokens.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    ids = tokens.with_bos(list(plain)) + ([end] if end is not None else [])
    windows = []
    for start in range(0, max(1, len(ids) - 1), limit - 1):
        window = ids[start : start + limit]
        if len(window) > 1:
            windows.append(Encoded(window, [False] + [True] * (len(window) - 1)))
    return windows


def encode_row(tokens: Tokens, recipe: Recipe, labels: list[str], row: Row) -> list[Encoded]:
    """A row as it is trained, for every kind of task and head; a document may give several."""
    limit = recipe.data.max_length
    if recipe.task.kind == "text":
        return encode_document(tokens, row.text, limit)
    if recipe.task.kind == "generate":
        return [encode_conversation(tokens, with_instruction(recipe, row.messages or []))]
    if recipe.task.head == "tokens":
        assert row.label is not None
        return [encode_answer(tokens, question_of(recipe, labels), row.text, row.label, limit)]
    ids = encode_text(tokens, row.text, limit)
    return [Encoded(ids, [False] * len(ids))]


def with_instruction(recipe: Recipe, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the recipe's instruction as the system message, unless they have their own."""
    if recipe.task.instruction and (not messages or messages[0]["role"] != "system"):
        return [{"role": "system", "content": recipe.task.instruction, "train": False}, *messages]
    return messages


def last_exchange(row: Row) -> tuple[list[dict[str, str]], str]:
    """A conversation up to its last answer, and that answer."""
    messages = row.messages or []
    last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    asked = [{"role": m["role"], "content": str(m["content"])} for m in messages[:last]]
    return asked, str(messages[last]["content"])
