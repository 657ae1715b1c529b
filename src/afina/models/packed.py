"""Rows one after another without padding, and how they attend: each to itself and to a shared prefix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Group:
    """Rows of equal length that stand one after another.

    Attributes:
        start: where the first begins, in packed tokens. rows: how many. length: tokens of each.
        offset: position of each row's first token: the length of the group it goes on from, or 0.
        after: the number of that group, a single row that comes earlier; only asked with an offset.
    """

    start: int
    rows: int
    length: int
    offset: int
    after: int = 0

    @property
    def stop(self) -> int:
        """Where the last ends."""
        return self.start + self.rows * self.length


@dataclass
class Packed:
    """The tokens of a batch in one line: the prefix that all rows share, then each row's own tokens.

    Attributes:
        ids: token ids; [tokens].
        groups: the prefix, if there is one, as a group of its own; then the rows, shortest first.
        starts: where each row of the batch has its own tokens; [rows].
        lengths: how many those are; [rows].
        prefix: tokens of the shared prefix.
        wanted: the packed tokens whose last state is asked for; None for all.
        row_norms: squared gradient norms by row are added here when it is given; [rows].
    """

    ids: Any
    groups: list[Group]
    starts: list[int]
    lengths: list[int]
    prefix: int = 0
    wanted: Any = None
    row_norms: Any = None
    _masks: dict[tuple[int, int, int, Any], Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Packed tokens."""
        return int(self.ids.shape[0])

    def first_token(self) -> Any:
        """`starts` as a tensor; [rows]."""
        return torch.tensor(self.starts, device=self.ids.device)

    def row_of_token(self) -> Any:
        """Which row of the batch each packed token belongs to; [tokens]. Without a prefix only."""
        rows = torch.empty(self.tokens, dtype=torch.long)
        for row, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            rows[start : start + length] = row
        return rows.to(self.ids.device)

    def mask(self, first: int, queries: int, keys: int, repeats: int, dtype: Any) -> Any:
        """What is added to scores: 0 or minus infinity; [1, repeats · queries, keys].

        Query i stands at position `first` + i and sees the keys up to it.
        """
        name = (first, queries, keys, dtype)
        if name not in self._masks:
            seen = torch.ones(queries, keys, dtype=torch.bool).tril(first)
            mask = torch.zeros(queries, keys, dtype=dtype).masked_fill_(~seen, float("-inf"))
            self._masks[name] = mask.repeat(repeats, 1)[None]
        return self._masks[name]


def pack(ids: Any, lengths: list[int], prefix: int = 0) -> Packed:
    """Packs right-padded rows.

    Args:
        ids: [rows, length]. lengths: tokens of each row.
        prefix: how many tokens at the beginning all rows have in common and read once; each row must
            have at least one more.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    pieces = [ids[0, :prefix]] if prefix else []
    groups = [Group(0, 1, prefix, 0)] if prefix else []
    starts = [0] * len(lengths)
    place = prefix
    for row in order:
        own = lengths[row] - prefix
        pieces.append(ids[row, prefix : lengths[row]])
        starts[row] = place
        last = groups[-1] if groups and groups[-1].start >= prefix else None
        if last is not None and last.length == own:
            groups[-1] = Group(last.start, last.rows + 1, own, prefix)
        else:
            groups.append(Group(place, 1, own, prefix))
        place += own
    return Packed(torch.cat(pieces), groups, starts, [n - prefix for n in lengths], prefix)


def pack_trees(prompts: list[list[int]], branches: list[list[list[int]]]) -> Packed:
    """Packs prompts with several continuations each: a continuation sees its prompt and itself.

    Returns:
        `starts` and `lengths` are those of the prompts and continuations in the order given: prompt,
        its continuations, the next prompt.
    """
    pieces: list[int] = []
    groups: list[Group] = []
    for prompt, following in zip(prompts, branches, strict=True):
        root = len(groups)
        groups.append(Group(len(pieces), 1, len(prompt), 0))
        pieces += prompt
        for branch in following:
            groups.append(Group(len(pieces), 1, len(branch), len(prompt), root))
            pieces += branch
    return Packed(torch.tensor(pieces), groups, [g.start for g in groups], [g.length for g in groups])


def common_prefix(ids: Any, limit: int) -> int:
    """How many tokens at the beginning are equal in all rows, at most `limit`; [rows, length] to int."""
    same = (ids[:, :limit] == ids[:1, :limit]).all(dim=0)
    return int(same.long().cumprod(dim=0).sum())
