"""The data stage: reads every source, finds duplicates, splits, and writes `data/`.

Rows go through a scratch file, so that a million of them need little memory: only hashes, codes and
MinHash signatures are held.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from afina.data.augment import Augmenter
from afina.data.balance import balance
from afina.data.duplicates import NearDuplicates, content_hash
from afina.data.folds import value_of
from afina.data.lengths import LengthLimit, LengthReport
from afina.data.masked import masked_rows
from afina.data.rows import group_of, read_rows_of
from afina.data.split import SPLITS, limit_rows, split_rows, units_of
from afina.data.table import RowWriter, blocks_of, iterate_rows
from afina.data.test_sets import write_test_set
from afina.errors import DataError
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.personal.masking import Masker, masker_of
from afina.recipe import Recipe
from afina.runs.files import atomic, write_json

AUDIT_SCHEMA = "afina/audit/1"
Array = np.ndarray[Any, np.dtype[Any]]


class _Column:
    """Text values by row number, each distinct text held once."""

    def __init__(self) -> None:
        self._codes = array("I")
        self._numbers: dict[str, int] = {}

    def append(self, value: str) -> None:
        """Takes the next row's value."""
        self._codes.append(self._numbers.setdefault(value, len(self._numbers)))

    def coded(self) -> tuple[list[str], Array]:
        """The distinct values, sorted, and each row's place among them; the latter of shape [rows]."""
        names = sorted(self._numbers)
        place = np.empty(len(names), dtype=np.int64)
        for new, name in enumerate(names):
            place[self._numbers[name]] = new
        return names, place[np.frombuffer(self._codes, dtype=np.uint32)] if names else place


@dataclass
class _Pool:
    """What is held of the rows read: about 20 bytes a row."""

    hashes: array[int] = field(default_factory=lambda: array("Q"))
    labels: _Column = field(default_factory=_Column)
    groups: _Column = field(default_factory=_Column)
    sources: _Column = field(default_factory=_Column)
    balance: _Column = field(default_factory=_Column)
    roles: dict[str, dict[str, str]] = field(default_factory=dict)


def prepare(recipe: Recipe, tokens: Tokens, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes train, validation, test and further test sets as Parquet, and audit.json.

    Returns:
        The audit.
    Raises:
        DataError: for rows that cannot be used (up to 20 are named), or a split that cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    masker = masker_of(recipe.data.personal, recipe.data.names)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".rows.", suffix=".part") as temporary:
        scratch = Path(temporary) / "rows.parquet"
        pool = _read(recipe, scratch, masker, say)
        return _divide(recipe, tokens, folder, scratch, pool, masker, say)


def _read(recipe: Recipe, scratch: Path, masker: Masker | None, say: Callable[[str], None]) -> _Pool:
    pool = _Pool()
    with RowWriter(scratch) as writer:
        for source in recipe.data.train:
            rows = read_rows_of(recipe, source.source, pool.roles, recipe.data.split.group_by)
            for row in masked_rows(rows, masker):
                row.weight = source.weight
                pool.hashes.append(content_hash(row.content()))
                pool.labels.append(row.label or "")
                pool.sources.append(row.source)
                if recipe.data.split.group_by:
                    pool.groups.append(group_of(row, recipe.data.split.group_by))
                if recipe.data.balance:
                    pool.balance.append(value_of(row, recipe.data.balance) or "")
                writer.write(row)
                if writer.count % 100_000 == 0:
                    say(_("  {count} rows read").format(count=f"{writer.count:,}"))
    if not pool.hashes:
        raise DataError(
            _("the sources hold no rows"),
            where=", ".join(s.source for s in recipe.data.train),
            fix=_("a table needs rows below its header; check data.train"),
        )
    return pool


def _keep_unequal(hashes: Array, labels: Array) -> tuple[Array, int, int]:
    """True for the first of equal rows; none of rows with equal text and different labels stays."""
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    conflicting = np.zeros(len(values), dtype=bool)
    conflicting[inverse[labels != labels[first[inverse]]]] = True
    keep = np.zeros(len(hashes), dtype=bool)
    keep[first] = ~conflicting
    in_conflict = int(conflicting[inverse].sum())
    return keep, len(hashes) - int(keep.sum()) - in_conflict, in_conflict


def _check_two_labels(label_names: list[str], pool: _Pool) -> None:
    if len(label_names) < 2:
        raise DataError(
            _("all rows have the label {label!r}; a classifier needs at least two labels").format(
                label=label_names[0]
            ),
            where=", ".join(pool.roles),
            fix=_("add rows with another label, or use task.kind text or generate"),
        )


def _divide(
    recipe: Recipe,
    tokens: Tokens,
    folder: Path,
    scratch: Path,
    pool: _Pool,
    masker: Masker | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    label_names, labels = pool.labels.coded()
    if recipe.task.kind == "classify":
        _check_two_labels(label_names, pool)
    hashes = np.frombuffer(pool.hashes, dtype=np.uint64)
    keep, equal, conflicting = _keep_unequal(hashes, labels)
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise DataError(
            _("no row is left: every text stands there with different labels"),
            where=", ".join(pool.roles),
            fix=_("correct the labels, or see whether the right column is taken as the label"),
        )
    clusters = _clusters(scratch, keep, recipe.data.near_duplicate, say)
    groups = pool.groups.coded()[1][rows] if recipe.data.split.group_by else None
    chosen, limited = _choose(recipe, units_of(clusters, groups), labels[rows], label_names)
    place = np.full(len(keep), -1, dtype=np.int8)
    place[rows[limited]] = chosen[limited]
    names = recipe.task.labels or (label_names if recipe.task.kind == "classify" else [])
    if recipe.task.positive is not None and recipe.task.positive not in names:
        raise DataError(
            _("task.positive is {positive!r}, which is not a label of the data").format(
                positive=recipe.task.positive
            ),
            fix=_("labels here: {labels}").format(labels=", ".join(names)),
        )
    factors, balanced = _balance(recipe, pool, label_names, labels, np.flatnonzero(place == 0))
    augmenter = Augmenter(recipe.data.augment, recipe.seed)
    reports = _write_splits(recipe, tokens, names, folder, scratch, place, factors, augmenter)
    trained_hashes = np.unique(hashes[place == 0])
    sizes = np.bincount(clusters)
    audit = {
        "schema": AUDIT_SCHEMA,
        "task": recipe.task.kind,
        "labels": names,
        "roles": pool.roles,
        "sources": _per_source(pool.sources, keep),
        "rows_read": len(keep),
        "equal_rows_removed": equal,
        "conflicting_rows_removed": conflicting,
        "near_duplicate": {
            "threshold": recipe.data.near_duplicate,
            "clusters_of_several": int((sizes > 1).sum()),
            "rows_in_them": int(sizes[sizes > 1].sum()),
        },
        "group_by": recipe.data.split.group_by,
        "groups": len(np.unique(groups)) if groups is not None else None,
        "limit": _limit_counts(recipe.data.limit, chosen, place),
        "balance": balanced,
        "augment": augmenter.as_json() if augmenter else None,
        "personal": {"texts": recipe.data.personal, "names": recipe.data.names},
        "splits": {name: report.as_json() for name, report in reports.items()},
        "test_sets": {
            test.name: write_test_set(
                recipe, tokens, names, folder, test.name, test.source, trained_hashes, masker
            )
            for test in recipe.data.test
        },
    }
    write_json(folder / "audit.json", audit)
    return audit


def _choose(recipe: Recipe, units: Array, labels: Array, label_names: list[str]) -> tuple[Array, Array]:
    """Each row's split, and whether data.limit leaves it in; each of shape [rows]."""
    split = recipe.data.split
    seed = recipe.seed if split.seed is None else split.seed
    shares = (split.train, split.validation, split.test)
    chosen = split_rows(units, labels, shares, seed, label_names, split.group_by)
    if recipe.data.limit is None:
        return chosen, np.ones(len(chosen), dtype=bool)
    return chosen, limit_rows(chosen, labels, units, recipe.data.limit, seed)


def _balance(
    recipe: Recipe, pool: _Pool, label_names: list[str], labels: Array, trained: Array
) -> tuple[dict[int, float], dict[str, Any] | None]:
    """The factor of the weight of each training row, by its number, and what audit.json says of it."""
    if not recipe.data.balance:
        return {}, None
    names, codes = pool.balance.coded()
    values = [names[code] for code in codes[trained]]
    factors, said = balance(values, [label_names[c] for c in labels[trained]], recipe.data.balance)
    return dict(zip(trained.tolist(), factors.tolist(), strict=True)), said


def _limit_counts(limit: int | None, chosen: Array, place: Array) -> dict[str, int] | None:
    if limit is None:
        return None
    return {
        "rows": limit,
        "train_before": int((chosen == 0).sum()),
        "validation_before": int((chosen == 1).sum()),
        "train_after": int((place == 0).sum()),
        "validation_after": int((place == 1).sum()),
    }


def _per_source(sources: _Column, keep: Array) -> dict[str, dict[str, int]]:
    names, codes = sources.coded()
    read = np.bincount(codes, minlength=len(names))
    kept = np.bincount(codes[keep], minlength=len(names))
    return {name: {"rows": int(read[i]), "kept": int(kept[i])} for i, name in enumerate(names)}


def _clusters(scratch: Path, keep: Array, threshold: float | None, say: Callable[[str], None]) -> Array:
    """Number of each kept row's near-duplicate cluster."""
    if threshold is None:
        return np.arange(int(keep.sum()), dtype=np.int64)
    say(_("looking for near-duplicates among {count} rows").format(count=f"{int(keep.sum()):,}"))
    near = NearDuplicates(threshold)
    for row, kept in zip(iterate_rows(scratch), keep, strict=True):
        if kept:
            near.add(row.content())
    return near.clusters()


def _write_splits(
    recipe: Recipe,
    tokens: Tokens,
    labels: list[str],
    folder: Path,
    scratch: Path,
    place: Array,
    factors: dict[int, float],
    augmenter: Augmenter,
) -> dict[str, LengthReport]:
    """Writes the three files; training rows with their weight balanced and, by lot, changed."""
    limit = LengthLimit(tokens, recipe, labels)
    reports = {name: LengthReport() for name in SPLITS}
    with ExitStack() as stack:
        writers = []
        for name in SPLITS:
            path = stack.enter_context(atomic(folder / f"{name}.parquet"))
            writers.append(stack.enter_context(RowWriter(path)))
        position = 0
        for block in blocks_of(iterate_rows(scratch)):
            for offset, row in enumerate(block):
                row.weight *= factors.get(position + offset, 1.0)
                if augmenter and place[position + offset] == 0:
                    block[offset] = augmenter(row)
            for split, name in enumerate(SPLITS):
                part = [row for offset, row in enumerate(block) if place[position + offset] == split]
                if part:
                    for row in limit.apply(part, reports[name]):
                        writers[split].write(row)
            position += len(block)
    for name, report in reports.items():
        if not report.rows:
            raise DataError(
                _("no row is left in the {split} split: all were dropped ({reasons})").format(
                    split=name, reasons=", ".join(sorted(report.dropped)) or "-"
                ),
                fix=_("see data.max_length and data.over_long"),
            )
    return reports
