"""Texts in which a placeholder stands for each piece of personal data: `[EMAIL_1]`, `[PHONE_2]`.

Numbered in the order of their first appearance in a text, or in a whole conversation; the same value has
the same number, so that a text still reads as it did. What has been masked is masked to itself: nothing
that could be found is left, so that the rows of training and a text asked about later read alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from afina.personal.finding import Finding, find_personal

Find = Callable[[str], list[Finding]]
PLACEHOLDER = re.compile(r"\[([A-Z]+)_([1-9]\d{0,5})\]")
# A mask can uncover a number whose naming word stood too far away before; three passes were never seen.
MOST_PASSES = 10


class Masker:
    """Masks texts.

    Args:
        find_names: finds the names of people too, where they are to be masked.
    """

    def __init__(self, find_names: Find | None = None) -> None:
        self._find_names = find_names

    def text(self, text: str) -> tuple[str, Counter[str]]:
        """The text with placeholders, and how many pieces were masked, by kind."""
        return self._masked(text, _Numbers())

    def messages(self, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Counter[str]]:
        """A conversation with placeholders, numbered through all of it; no message sees a later one."""
        numbers = _Numbers()
        pieces: Counter[str] = Counter()
        kept = []
        for message in messages:
            content, found = self._masked(str(message["content"]), numbers)
            kept.append({**message, "content": content})
            pieces += found
        return kept, pieces

    def _masked(self, text: str, numbers: _Numbers) -> tuple[str, Counter[str]]:
        pieces: Counter[str] = Counter()
        for _pass in range(MOST_PASSES):
            found = self.find(text)
            text = _replaced(text, found, numbers)
            if not found:
                break
            pieces.update(finding.kind for finding in found)
        return text, pieces

    def find(self, text: str) -> list[Finding]:
        """What would be masked, in its order.

        Patterns first; a name counts where it touches neither them nor a placeholder.
        """
        found = find_personal(text)
        if self._find_names is None:
            return found
        taken = [(one.start, one.end) for one in found]
        taken += [match.span() for match in PLACEHOLDER.finditer(text)]
        for one in self._find_names(text):
            if all(one.end <= start or end <= one.start for start, end in taken):
                found.append(one)
                taken.append((one.start, one.end))
        return sorted(found, key=lambda finding: finding.start)


class _Numbers:
    """Which number each value of a text has; placeholders that stand there already have theirs."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], int] = {}
        self._highest: Counter[str] = Counter()

    def see(self, kind: str, number: int) -> None:
        """A placeholder that stands in the text."""
        self._highest[kind] = max(self._highest[kind], number)

    def of(self, kind: str, value: str) -> int:
        """The number of a value."""
        key = (kind, _same(kind, value))
        if key not in self._of:
            self._highest[kind] += 1
            self._of[key] = self._highest[kind]
        return self._of[key]


def _same(kind: str, value: str) -> str:
    """What is equal of two ways to write one value; the kind is as in its placeholder."""
    value = " ".join(value.casefold().split())
    if kind in ("EMAIL", "NAME"):
        return value
    value = re.sub(r"[\s.()/\-]", "", value)
    return "+" + value[2:] if kind == "PHONE" and value.startswith("00") else value


def _replaced(text: str, found: list[Finding], numbers: _Numbers) -> str:
    parts: list[str] = []
    position = 0
    for start, end, kind in _in_order(text, found):
        if kind is None:
            match = PLACEHOLDER.fullmatch(text, start, end)
            assert match is not None
            numbers.see(match[1], int(match[2]))
            continue
        name = kind.upper()
        parts += [text[position:start], f"[{name}_{numbers.of(name, text[start:end])}]"]
        position = end
    return "".join([*parts, text[position:]])


def _in_order(text: str, found: list[Finding]) -> Iterator[tuple[int, int, str | None]]:
    """Findings and the placeholders that stand there already (without a kind), as they are read."""
    places: list[tuple[int, int, str | None]] = [(one.start, one.end, one.kind) for one in found]
    places += [(*match.span(), None) for match in PLACEHOLDER.finditer(text)]
    yield from sorted(places, key=lambda place: place[0])


def masker_of(personal: str, names: str | None) -> Masker | None:
    """What masks for these settings of `data`; None when texts are kept. Raises as `make_masker`."""
    return make_masker(names) if personal == "mask" else None


def make_masker(names: str | None = None) -> Masker:
    """A masker, of names too when a spaCy model is given.

    Raises:
        MissingExtra: for names without presidio-analyzer. AfinaError: without the model.
    """
    if names is None:
        return Masker()
    from afina.personal.names import NameFinder

    return Masker(NameFinder(names))
