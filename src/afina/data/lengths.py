"""How long rows are in tokens, what is cut or dropped, and what that loses."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from afina.data.chat import (
    cut_conversation,
    encode_answer,
    encode_conversation,
    encode_document,
    question_of,
    with_instruction,
)
from afina.data.roles import Row
from afina.errors import DataError
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe


@dataclass
class LengthReport:
    """Counts of one split or test set."""

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    cut_rows: int = 0
    lost_tokens: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_ids: list[str] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    lengths: array[int] = field(default_factory=lambda: array("I"))
    masked_rows: int = 0
    masked: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """For audit.json."""
        marks = np.percentile(self.lengths, [50, 90, 99]) if self.lengths else [0, 0, 0]
        return {
            "rows": self.rows,
            "labels": dict(sorted(self.labels.items())),
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "length_tokens": {
                "median": int(marks[0]),
                "p90": int(marks[1]),
                "p99": int(marks[2]),
                "max": max(self.lengths, default=0),
            },
            "cut_rows": self.cut_rows,
            "lost_tokens": self.lost_tokens,
            "dropped_rows": dict(sorted(self.dropped.items())),
            "dropped_examples": self.dropped_ids,
            "masked_rows": self.masked_rows,
            "masked": dict(sorted(self.masked.items())),
        }


class LengthLimit:
    """Applies data.max_length to rows, keeping count of all that is lost."""

    def __init__(self, tokens: Tokens, recipe: Recipe, labels: list[str]) -> None:
        self._tokens = tokens
        self._recipe = recipe
        self._limit = recipe.data.max_length
        self._classify = recipe.task.kind == "classify"
        self._asks = self._classify and recipe.task.head == "tokens"
        self._question = question_of(recipe, labels)
        self._answers: dict[str, int] = {}
        if self._asks:
            empty = {
                label: encode_conversation(tokens, self._question.messages("", label))
                for label in labels
            }
            self._answers = {label: sum(encoded.trained) for label, encoded in empty.items()}
            if max(len(encoded.ids) for encoded in empty.values()) + 8 > self._limit:
                raise DataError(
                    _(
                        "data.max_length of {limit} leaves no room for the text beside the question"
                    ).format(limit=self._limit),
                    fix=_("raise data.max_length, or shorten task.instruction"),
                )

    def apply(self, rows: list[Row], report: LengthReport) -> list[Row]:
        """The rows that stay, those of conversations cut where needed; counts go into `report`."""
        if self._classify:
            return self._classified(rows, report)
        kept = []
        for row in rows:
            outcome = (
                self._document(row, report)
                if self._recipe.task.kind == "text"
                else self._conversation(row, report)
            )
            if outcome is not None:
                kept.append(outcome)
        return kept

    def _drop(self, row: Row, why: str, report: LengthReport) -> None:
        report.dropped[why] += 1
        if len(report.dropped_ids) < 5:
            report.dropped_ids.append(row.id)

    def _note(self, row: Row, length: int, trained: int, report: LengthReport) -> None:
        report.rows += 1
        report.tokens += length
        report.trained_tokens += trained
        report.lengths.append(length)
        report.masked_rows += bool(row.masked)
        report.masked.update(row.masked)
        if row.label is not None:
            report.labels[row.label] += 1

    def _classified(self, rows: list[Row], report: LengthReport) -> list[Row]:
        """Texts stay whole in the file; models read at most max_length tokens of them."""
        kept = []
        for row, ids in zip(rows, self._ids(rows), strict=True):
            read = full = len(ids)
            if full > self._limit:
                if self._recipe.data.over_long == "drop":
                    self._drop(row, "over_long", report)
                    continue
                read = self._limit
                if self._asks:
                    label = row.label or ""
                    read = len(encode_answer(self._tokens, self._question, row.text, label, read).ids)
                report.cut_rows += 1
                report.lost_tokens += full - read
            self._note(row, read, self._answers.get(row.label or "", 0), report)
            kept.append(row)
        return kept

    def _ids(self, rows: list[Row]) -> list[list[int]]:
        """Token ids of the rows before any cut, within question and answer where they are asked."""
        if not rows:
            return []
        if self._asks:
            asked = [self._asked(row) for row in rows]
            texts = [self._tokens.render(messages) for messages in asked]
            encoded = [
                self._tokens.tokenize(text, [message["content"] for message in messages])[0]
                for text, messages in zip(texts, asked, strict=True)
            ]
        else:
            texts = [row.text for row in rows]
            encoded = self._tokens.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)[
                "input_ids"
            ]
        return [self._tokens.with_bos(list(ids)) or [self._tokens.pad] for ids in encoded]

    def _asked(self, row: Row) -> list[dict[str, str]]:
        messages = self._question.messages(row.text, row.label)
        return [{"role": message["role"], "content": message["content"]} for message in messages]

    def _document(self, row: Row, report: LengthReport) -> Row | None:
        windows = encode_document(self._tokens, row.text, self._limit)
        if not windows:
            self._drop(row, "no_trained_token", report)
            return None
        total = sum(len(window.ids) for window in windows)
        self._note(row, total, sum(sum(window.trained) for window in windows), report)
        return row

    def _conversation(self, row: Row, report: LengthReport) -> Row | None:
        messages = with_instruction(self._recipe, row.messages or [])
        try:
            encoded = encode_conversation(self._tokens, messages)
        except DataError:
            self._drop(row, _why_unusable(messages), report)
            return None
        if len(encoded.ids) > self._limit:
            cut = None
            if self._recipe.data.over_long == "cut":
                cut = cut_conversation(self._tokens, messages, self._limit)
            if cut is None:
                self._drop(row, "over_long", report)
                return None
            before = len(encoded.ids)
            encoded = encode_conversation(self._tokens, cut)
            report.cut_rows += 1
            report.lost_tokens += before - len(encoded.ids)
            row.messages = cut
        self._note(row, len(encoded.ids), sum(encoded.trained), report)
        return row


def _why_unusable(messages: list[dict[str, Any]]) -> str:
    """The audit's word for a conversation that `encode_conversation` refuses."""
    trains = any(message["train"] for message in messages)
    return "begins_with_assistant" if trains else "no_trained_token"
