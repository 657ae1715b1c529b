"""Folds that leave out whole values of a column: sources, channels, countries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from afina.data.roles import Row

# A value counts for a label of which it has so many rows; a model needs as many of each label.
FEWEST_ROWS = 5
FEW_ROWS, NOTHING_LEFT = "few_rows", "no_rows_of_a_label_left"
Counts = dict[str, Counter[str]]


@dataclass(frozen=True)
class Folds:
    """What is left out together, in the order of the values.

    Attributes:
        folds: the values of each fold; each value stands in one fold at most.
        not_left_out: the values that stand in none, and why: FEW_ROWS or NOTHING_LEFT.
    """

    folds: list[tuple[str, ...]]
    not_left_out: dict[str, str] = field(default_factory=dict)


def value_of(row: Row, column: str) -> str | None:
    """The value of a column; `source` is the row's source unless the rows have such a column."""
    if column in row.extra:
        return str(row.extra[column])
    return row.source or None if column == "source" else None


def counts_of(values: Sequence[str | None], labels: Sequence[str]) -> Counts:
    """Rows by value and label; rows without a value are left out."""
    found: Counts = {}
    for value, label in zip(values, labels, strict=True):
        if value is not None:
            found.setdefault(value, Counter())[label] += 1
    return found


def folds_within(values: Sequence[str | None], labels: Sequence[str], known: list[str]) -> Folds:
    """The folds of rows that are answered and trained on in turn.

    Args:
        values, labels: of each row; [rows]. known: all labels.
    """
    counts = counts_of(values, labels)
    bare = Counter(label for label, value in zip(labels, values, strict=True) if value is None)
    return make_folds(counts, counts, bare, known)


def make_folds(tested: Counts, trained: Counts, without_value: Counter[str], labels: list[str]) -> Folds:
    """Which values are left out together.

    A value that has rows of several labels is a fold alone. Values of one label only are joined with
    such values of every other label that has any, the largest first, so that a fold has both kinds of
    rows and each value is left out once: n legitimate and m phishing sources make min(n, m) folds. Where
    that would be one fold, each is left out alone. A fold without which no rows of some label would be
    left to train on is left out value by value, and what does not go alone either is not left out.

    Args:
        tested: rows to be answered, by value and label. trained: rows to be trained on.
        without_value: training rows by label that have no value; they stay in every fold.
    """
    skipped: dict[str, str] = {}
    folds: list[tuple[str, ...]] = []
    single: dict[str, list[str]] = {}
    for value in sorted(tested, key=lambda name: (-tested[name].total(), name)):
        known = [label for label in labels if tested[value][label] >= FEWEST_ROWS]
        if not known:
            skipped[value] = FEW_ROWS
        elif len(known) > 1:
            folds.append((value,))
        else:
            single.setdefault(known[0], []).append(value)
    several = min(map(len, single.values()), default=0)
    if len(single) > 1 and several > 1:
        joined: list[list[str]] = [[] for _fold in range(several)]
        for names in single.values():
            for place, name in enumerate(names):
                joined[place % several].append(name)
        folds += [tuple(sorted(names)) for names in joined]
    else:
        folds += [(name,) for names in single.values() for name in names]

    def leaves_enough(fold: tuple[str, ...]) -> bool:
        left = Counter(without_value)
        for value, counts in trained.items():
            if value not in fold:
                left.update(counts)
        return all(left[label] >= FEWEST_ROWS for label in labels)

    kept: list[tuple[str, ...]] = []
    for fold in folds:
        if leaves_enough(fold):
            kept.append(fold)
            continue
        for value in fold:
            if len(fold) > 1 and leaves_enough((value,)):
                kept.append((value,))
            else:
                skipped[value] = NOTHING_LEFT
    return Folds(sorted(kept), dict(sorted(skipped.items())))
