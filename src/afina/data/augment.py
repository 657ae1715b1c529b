"""Training rows changed by lot, so that a model does not lean on the form of its sources.

What a source has and another has not (capitals, header lines, how addresses were masked, length) gives
the label away in training and is gone on the next source. A changed row takes the place of its original.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from afina.data.roles import Row
from afina.recipe import Augment

Random = np.random.Generator
# Header lines of an e-mail at the start of a text.
_HEADER = re.compile(
    r"(?:from|to|cc|subject|date|reply-to|return-path|message-id|received|content-type|mime-version|"
    r"sender|de|para|asunto|fecha|x-[\w-]+)\s?:.*",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<link>(?:https?://|www\.)[^\s<>\"')\]]+)"
    r"|(?P<masked>[<\[{](?:url|link|enlace|e-?mail|correo|address|phone)[>\]}])"
    r"|(?P<phone>\+?\d[\d ().-]{7,}\d)",
    re.IGNORECASE,
)
_MAILS = ("ana@example.com", "info@example.org", "<email>", "[correo]", "user_41@mail.example.net")
_LINKS = ("http://example.com/a8f2", "https://www.example.org/login", "<url>", "[link]", "example.net/x")
_PHONES = ("+1 202 555 0143", "<phone>", "555-0199", "+52 55 5000 0000")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
TYPOS_IN = 0.06  # share of the words that get a wrong letter
SHORTEST = 0.3  # of the words that truncation leaves


def casing(text: str, random: Random) -> str:
    """All lower case, all capitals, or a capital at each word."""
    return (str.lower, str.upper, str.title)[int(random.integers(3))](text)


def typos(text: str, random: Random) -> str:
    """In some of its words two letters swapped, or one left out, doubled or another; one at least."""
    parts = re.split(r"(\s+)", text)
    words = [place for place, part in enumerate(parts) if len(part) > 2 and part.isalpha()]
    if not words:
        return text
    count = max(1, round(TYPOS_IN * len(words)))
    for place in random.choice(words, size=min(count, len(words)), replace=False):
        parts[place] = _typo(parts[place], random)
    return "".join(parts)


def _typo(word: str, random: Random) -> str:
    at = int(random.integers(len(word) - 1))
    kind = int(random.integers(4))
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[: at + 1] + word[at:]
    return word[:at] + _LETTERS[int(random.integers(26))] + word[at + 1 :]


def headers(text: str, random: Random) -> str:
    """Without the header lines that it begins with; with a subject line where there are none."""
    lines = text.split("\n")
    first = 0
    while first < len(lines) and (_HEADER.fullmatch(lines[first].strip()) or not lines[first].strip()):
        first += 1
    if first and first < len(lines) and any(line.strip() for line in lines[:first]):
        return "\n".join(lines[first:])
    name = ("Subject", "Asunto")[int(random.integers(2))]
    return f"{name}: {' '.join(text.split()[:6])}\n{text}"


def addresses(text: str, random: Random) -> str:
    """With every e-mail address, link, phone number and mask of one replaced, each by one kind."""
    chosen = {
        "mail": _MAILS[int(random.integers(len(_MAILS)))],
        "link": _LINKS[int(random.integers(len(_LINKS)))],
        "phone": _PHONES[int(random.integers(len(_PHONES)))],
    }

    def other(match: re.Match[str]) -> str:
        kind = str(match.lastgroup)
        if kind == "masked":
            name = match[0].lower()
            kind = "mail" if "mail" in name or "correo" in name else "link"
            kind = "phone" if "phone" in name else kind
        return chosen[kind]

    return _ADDRESS.sub(other, text)


def truncation(text: str, random: Random) -> str:
    """Its first words: between 30 and 100 % of them."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    if len(ends) < 2:
        return text
    share = SHORTEST + (1 - SHORTEST) * float(random.random())
    return text[: ends[max(1, round(share * len(ends))) - 1]]


# In the order in which they are applied.
KINDS: dict[str, Callable[[str, Random], str]] = {
    "headers": headers,
    "addresses": addresses,
    "truncation": truncation,
    "typos": typos,
    "casing": casing,
}


class Augmenter:
    """Changes rows by lot; the same row with the same seed always in the same way.

    Attributes:
        counts: rows that each kind has changed; rows: those changed by any.
    """

    def __init__(self, rates: Augment, seed: int) -> None:
        self._rates, self._seed = rates, seed
        self.counts: Counter[str] = Counter()
        self.rows = self.seen = 0

    def __bool__(self) -> bool:
        """Whether any kind has a rate above 0."""
        return any(getattr(self._rates, kind) > 0 for kind in KINDS)

    def __call__(self, row: Row) -> Row:
        """The row, or a changed one with the same id; `augmented` among its columns says how."""
        self.seen += 1
        text, done = row.text, []
        for number, (kind, change) in enumerate(KINDS.items()):
            # Its own numbers for each row and kind: another rate changes no other row.
            random = np.random.default_rng([self._seed, int(row.id, 16), number])
            if random.random() < getattr(self._rates, kind):
                changed = change(text, random)
                if changed != text and changed.strip():
                    text = changed
                    done.append(kind)
        if not done:
            return row
        self.counts.update(done)
        self.rows += 1
        return replace(row, text=text, extra={**row.extra, "augmented": ",".join(done)})

    def as_json(self) -> dict[str, Any]:
        """For audit.json: training rows looked at, rows changed, and rows changed by kind."""
        return {
            "rows": self.seen,
            "changed": self.rows,
            "by_kind": {kind: self.counts[kind] for kind in sorted(KINDS) if self.counts[kind]},
        }
