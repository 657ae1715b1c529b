"""Rows whose texts have placeholders in place of personal data, where `data.personal` says mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from afina.data.roles import Row
from afina.language import _
from afina.personal.masking import Masker


def masked_rows(rows: Iterable[Row], masker: Masker | None) -> Iterator[Row]:
    """The rows with text or messages masked; without a masker as they are.

    Before rows are compared: two that differ in an address alone are equal once it is masked. Their id
    is of the masked content, so that it tells nothing of what was there. Labels and other columns stay.
    """
    for row in rows:
        yield row if masker is None else _masked(row, masker)


def _masked(row: Row, masker: Masker) -> Row:
    if row.messages is not None:
        row.messages, pieces = masker.messages(row.messages)
    else:
        row.text, pieces = masker.text(row.text)
    if pieces:
        row.masked = dict(sorted(pieces.items()))
        row.make_id()
    return row


def masked_line(audit: dict[str, Any]) -> str:
    """How many pieces of personal data the data stage masked, by part and by kind."""
    parts = {**audit["splits"], **audit["test_sets"]}
    kinds = sum((Counter(part["masked"]) for part in parts.values()), Counter[str]())
    return _("personal data masked: {pieces:,} pieces ({kinds}); rows: {rows}").format(
        pieces=kinds.total(),
        kinds=", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common()) or "-",
        rows=", ".join(f"{name} {part['masked_rows']:,}" for name, part in parts.items()),
    )
