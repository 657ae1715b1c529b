"""Equal and nearly equal rows, found before the split so that none leaks across it.

Nearly equal: Jaccard similarity of word 3-grams, estimated by MinHash (Broder 1997; signatures from
`datasketch`) with banding (Leskovec et al., Mining of Massive Datasets, ch. 3). The bands are sorted
arrays instead of hash tables: a million rows take about 0.6 GB.
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from typing import Any

import numpy as np

PERMUTATIONS = 128
ROWS_PER_BAND = 4
BANDS = PERMUTATIONS // ROWS_PER_BAND
_LEADERS = 8
_WORD = re.compile(r"\w+")


def content_hash(text: str) -> int:
    """64 bits of the SHA-256 of a text, case and spaces aside: equal texts have equal hashes."""
    normal = " ".join(text.lower().split())
    return int.from_bytes(hashlib.sha256(normal.encode()).digest()[:8], "little")


def shingles(text: str) -> set[bytes]:
    """The word 3-grams of a text; a shorter text, or one without words, is one shingle."""
    words = _WORD.findall(text.lower())
    if len(words) < 3:
        return {" ".join(words or text.split()).encode()}
    return {" ".join(words[start : start + 3]).encode() for start in range(len(words) - 2)}


class NearDuplicates:
    """Collects rows one by one, then groups those that are nearly equal.

    The bands propose a pair at similarity s but for a chance of (1 - s^4)^32: below 1e-7 at 0.8. The
    signatures then estimate s with a standard error of sqrt(s (1 - s) / 128); a pair is taken down to
    two of them below the threshold, so that one in 40 at the threshold is missed, and hardly any above
    it. A pair that is joined too much only stays on one side of the split.
    """

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHash

        self.threshold = threshold
        self._taken = threshold - 2 * math.sqrt(threshold * (1 - threshold) / PERMUTATIONS)
        self._first = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
        self._blocks: list[Any] = []
        self._rows: list[Any] = []

    def add(self, text: str) -> None:
        """Takes the next row's text."""
        from datasketch import MinHash

        sketch = MinHash(
            num_perm=PERMUTATIONS,
            seed=1,
            hashfunc=zlib.crc32,
            permutations=self._first.permutations,
            scheme=self._first.scheme,
        )
        sketch.update_batch(list(shingles(text)))
        self._rows.append(sketch.hashvalues.astype(np.uint32))
        if len(self._rows) == 10_000:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._blocks.append(np.stack(self._rows))
            self._rows = []

    def clusters(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """For each row, the number of the first row of its cluster; shape [rows]."""
        self._flush()
        if not self._blocks:
            return np.zeros(0, dtype=np.int64)
        signatures = self._take_signatures()
        parents = Clusters(len(signatures))
        for band in range(BANDS):
            keys = _band_keys(signatures[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND])
            order = np.argsort(keys, kind="stable")
            same = keys[order][1:] == keys[order][:-1]
            self._join(order, same, signatures, parents)
        return parents.roots()

    def _take_signatures(self) -> Any:
        """All signatures as one array; a block is let go when copied, so they never exist twice."""
        signatures = np.empty((sum(map(len, self._blocks)), PERMUTATIONS), dtype=np.uint32)
        start = 0
        self._blocks.reverse()
        while self._blocks:
            block = self._blocks.pop()
            signatures[start : start + len(block)] = block
            start += len(block)
        return signatures

    def _join(self, order: Any, same: Any, signatures: Any, parents: Clusters) -> None:
        """Joins, within each run of equal band keys, the rows that are similar to one of its leaders."""
        leaders: list[int] = []
        previous = -2
        for position in np.flatnonzero(same):
            if position != previous + 1:
                leaders = [int(order[position])]
            row = int(order[position + 1])
            previous = int(position)
            for leader in leaders:
                if parents.find(leader) == parents.find(row):
                    break
                if np.mean(signatures[leader] == signatures[row]) >= self._taken:
                    parents.join(leader, row)
                    break
            else:
                if len(leaders) < _LEADERS:
                    leaders.append(row)


def _band_keys(part: Any) -> Any:
    """64 bits for the numbers of a band; [rows, ROWS_PER_BAND] to [rows].

    Two bands may share a key by chance: a key only proposes a pair, the signatures decide.
    """
    keys = np.zeros(len(part), dtype=np.uint64)
    for column in part.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


class Clusters:
    """Disjoint sets of row numbers; the smallest number names the set (Tarjan 1975)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count, dtype=np.int64)

    def find(self, row: int) -> int:
        """The name of the set that holds `row`."""
        parent = self._parent
        root = row
        while parent[root] != root:
            root = int(parent[root])
        while parent[row] != root:
            parent[row], row = root, int(parent[row])
        return root

    def join(self, left: int, right: int) -> None:
        """Makes one set of the two that hold these rows."""
        first, second = sorted((self.find(left), self.find(right)))
        self._parent[second] = first

    def roots(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The name of each row's set; shape [rows]."""
        return np.array([self.find(row) for row in range(len(self._parent))], dtype=np.int64)
