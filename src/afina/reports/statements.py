"""A sentence of the page and its tone."""

from __future__ import annotations

from dataclasses import dataclass

GOOD, BAD, WARN, PLAIN = "good", "bad", "warn", "plain"


@dataclass(frozen=True)
class Statement:
    """One sentence or two, and how it is to be taken."""

    tone: str
    text: str
