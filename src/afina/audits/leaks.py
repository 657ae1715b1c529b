"""Test rows that stand in the training rows, whole or edited: what a good figure may only remember.

The index is of the test rows, and the training rows pass by: memory grows with the test set alone. Two
looks at each test row: how many of its words lie in runs of 8 that some training row has (verbatim
passages, Brown et al. 2020 looked for 13), and how many of its runs of 3 the one nearest training row
has (a row that was edited here and there). The second is the exact share that MinHash would estimate.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
LONG, SHORT = 8, 3  # words in a run
# A row is called leaked from these shares on; see benchmarks/leaks.py for what they find and what not.
LEAST_COVERED, LEAST_SHARED = 0.5, 0.3
FEWEST_SHARED = 3
# What more training rows than these have is boilerplate.
BOILERPLATE_ROWS, BOILERPLATE_SHARE = 10, 0.01
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Leak:
    """A test row and the training row nearest to it.

    Attributes:
        row: number of the test row; train_row: of the nearest training row, -1 when there is none.
        covered: share of its words in runs of 8 that training rows have.
        longest: words of the longest passage that training rows have.
        shared: share of its runs of 3 words that the nearest training row has.
    """

    row: int
    train_row: int
    covered: float
    longest: int
    shared: float


def words_of(text: str) -> list[str]:
    """Words as runs of letters and digits, without case."""
    kept = (c if c.isalnum() else " " for c in unicodedata.normalize("NFKC", text).casefold())
    return "".join(kept).split()


class LeakIndex:
    """Looks for test rows among training rows.

    Runs that many training rows have are boilerplate (a signature, a form letter) and count for nothing.

    Args:
        test: the texts of the test rows. train: those of the training rows; they are read twice.
    """

    def __init__(self, test: Sequence[str], train: Sequence[str]) -> None:
        self._numbers: dict[str, int] = {}
        rows = [self._coded(words_of(text), learn=True) for text in test]
        self._sizes = np.array([len(row) for row in rows], dtype=np.int64)
        self._long, self._short = _Runs(rows, LONG), _Runs(rows, SHORT)
        self._begun = [np.zeros(max(0, len(row) - LONG + 1), dtype=bool) for row in rows]
        self._best = np.zeros(len(rows), dtype=np.int64)
        self._nearest = np.full(len(rows), -1, dtype=np.int64)
        for text in train:
            codes = self._coded(words_of(text))
            self._long.count(codes)
            self._short.count(codes)
        most = max(BOILERPLATE_ROWS, int(BOILERPLATE_SHARE * len(train)))
        self._long.forget_above(most)
        self._short.forget_above(most)
        for number, text in enumerate(train):
            self._look_at(number, self._coded(words_of(text)))

    def _look_at(self, number: int, codes: Array) -> None:
        for row, place in zip(*self._long.found(codes), strict=True):
            self._begun[row][place] = True
        counts = np.bincount(self._short.found(codes)[0], minlength=0)
        for row in np.flatnonzero(counts > self._best[: len(counts)]):
            self._best[row], self._nearest[row] = counts[row], number

    def leaks(self, covered: float = LEAST_COVERED, shared: float = LEAST_SHARED) -> list[Leak]:
        """The test rows that are leaked, the surest first."""
        found = []
        runs_of = self._short.kept_runs(len(self._sizes))
        for row, begun in enumerate(self._begun):
            words, runs = int(self._sizes[row]), max(1, int(runs_of[row]))
            inside = np.convolve(begun, np.ones(LONG, dtype=int))[:words] > 0 if begun.any() else begun
            leak = Leak(
                row,
                int(self._nearest[row]),
                float(inside.sum() / max(1, words)),
                _longest(inside),
                float(self._best[row] / runs),
            )
            near = leak.shared >= shared and self._best[row] >= min(FEWEST_SHARED, runs)
            if leak.covered >= covered or near:
                found.append(leak)
        return sorted(found, key=lambda leak: (-max(leak.covered, leak.shared), leak.row))

    def _coded(self, words: list[str], learn: bool = False) -> Array:
        """Words as numbers; -1 for one that no test row has."""
        numbers = self._numbers
        if learn:
            return np.array([numbers.setdefault(w, len(numbers)) for w in words], dtype=np.int64)
        return np.array([numbers.get(word, -1) for word in words], dtype=np.int64)


class _Runs:
    """Every run of so many words of the test rows, by hash."""

    def __init__(self, rows: list[Array], size: int) -> None:
        self._size = size
        hashes = [_hashes(row, size) for row in rows]
        owners = np.repeat(np.arange(len(rows)), [len(part) for part in hashes])
        places = np.concatenate([np.arange(len(part)) for part in hashes] or [np.zeros(0, np.int64)])
        every = np.concatenate(hashes or [np.zeros(0, np.uint64)])
        order = np.argsort(every, kind="stable")
        self._owners, self._places = owners[order], places[order]
        self._hashes, self._starts, self._sizes = np.unique(
            every[order], return_index=True, return_counts=True
        )
        self._trained = np.zeros(len(self._hashes), dtype=np.int64)
        self._kept = np.ones(len(self._hashes), dtype=bool)

    def _known(self, codes: Array) -> Array:
        """Which of the runs a row has, each once."""
        wanted = np.unique(_hashes(codes, self._size, known=True))
        at = np.searchsorted(self._hashes, wanted)
        inside = at < len(self._hashes)
        at, wanted = at[inside], wanted[inside]
        return np.asarray(at[self._hashes[at] == wanted])

    def count(self, codes: Array) -> None:
        """Takes down which runs a training row has."""
        self._trained[self._known(codes)] += 1

    def forget_above(self, most: int) -> None:
        """Leaves out the runs that more training rows have."""
        self._kept = self._trained <= most

    def kept_runs(self, rows: int) -> Array:
        """How many runs of each test row were not left out; [rows]."""
        kept = np.repeat(self._kept, self._sizes)
        return np.asarray(np.bincount(self._owners, kept, minlength=rows))

    def found(self, codes: Array) -> tuple[Array, Array]:
        """Test rows and places in them of the runs that a row has."""
        at = self._known(codes)
        at = at[self._kept[at]]
        starts, sizes = self._starts[at], self._sizes[at]
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen = np.repeat(starts, sizes) + inside
        return self._owners[chosen], self._places[chosen]


def _hashes(codes: Array, size: int, known: bool = False) -> Array:
    """A hash of each run of so many words; with `known`, of those whose words all are. Modulo 2^64."""
    count = len(codes) - size + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    whole = np.ones(count, dtype=bool)
    for offset in range(size):
        part = codes[offset : offset + count]
        whole &= part >= 0
        mixed = (part.astype(np.uint64) + np.uint64(1)) * _PRIME
        total = (total ^ (mixed ^ (mixed >> np.uint64(29)))) * np.uint64(0xBF58476D1CE4E5B9)
        total ^= total >> np.uint64(32)
    return total[whole] if known else total


def _longest(inside: Array) -> int:
    """The longest run of true values."""
    longest = run = 0
    for value in inside.tolist():
        run = run + 1 if value else 0
        longest = max(longest, run)
    return longest
