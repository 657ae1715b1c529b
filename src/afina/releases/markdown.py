"""Markdown of cells that hold anything: labels, column values, names of sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """A text that stays in its cell: no line breaks, no bars, no tags."""
    plain = " ".join(str(text).split())
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def code(text: object) -> str:
    """A text as code; a backtick in it becomes an apostrophe."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table."""
    lines = ["| " + " | ".join(cell(one) for one in head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(cell(one) for one in row) + " |" for row in rows]
