"""The data stage: reads every source, finds duplicates, splits, and writes `data/`.

Rows go through a scratch file, so that a million of them need little memory: only hashes, codes and
MinHash signatures are held.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from afina.data.duplicates import NearDuplicates, content_hash
from afina.data.lengths import LengthLimit, LengthReport
from afina.data.roles import Row, find_roles, make_row
from afina.data.sources import read_source
from afina.data.split import SPLITS, limit_rows, split_rows, units_of
from afina.data.table import RowWriter, iterate_rows
from afina.errors import DataError
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.files import atomic, write_json

AUDIT_SCHEMA = "afina/audit/1"
_MOST_ERRORS = 20
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class _Pool:
    """What is held of the rows read: arrays by row number."""

    hashes: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    roles: dict[str, dict[str, str]] = field(default_factory=dict)


def prepare(recipe: Recipe, tokens: Tokens, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes train, validation, test and further test sets as Parquet, and audit.json.

    Returns:
        The audit.
    Raises:
        DataError: for rows that cannot be used (up to 20 are named), or a split that cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".rows.", suffix=".part") as temporary:
        scratch = Path(temporary) / "rows.parquet"
        pool = _read(recipe, scratch, say)
        return _divide(recipe, tokens, folder, scratch, pool, say)


def _read(recipe: Recipe, scratch: Path, say: Callable[[str], None]) -> _Pool:
    pool = _Pool()
    with RowWriter(scratch) as writer:
        for source in recipe.data.train:
            for row in read_rows_of(recipe, source.source, pool.roles):
                row.weight = source.weight
                pool.hashes.append(content_hash(row.content()))
                pool.labels.append(row.label or "")
                pool.sources.append(row.source)
                if recipe.data.split.group_by:
                    pool.groups.append(_group(row, recipe.data.split.group_by))
                writer.write(row)
                if writer.count % 100_000 == 0:
                    say(_("  {count} rows read").format(count=f"{writer.count:,}"))
    if not pool.hashes:
        raise DataError(_("the sources hold no rows"), where=", ".join(s.source for s in recipe.data.train))
    return pool


def read_rows_of(recipe: Recipe, source: str, roles_found: dict[str, dict[str, str]]) -> Iterator[Row]:
    """The rows of one source, checked; the roles of its columns are added to `roles_found`.

    Raises DataError that names every faulty row, up to 20.
    """
    kind = recipe.task.kind
    roles: dict[str, str] | None = None
    seen: tuple[str, ...] = ()
    faults: list[DataError] = []
    for where, raw in read_source(source):
        if roles is None or not set(roles.values()) <= set(raw):
            if roles is None:
                roles = find_roles(kind, recipe.data.columns, list(raw), where)
                roles_found[source] = roles
            seen = tuple(raw)
        try:
            row = make_row(kind, roles, raw, where)
        except DataError as fault:
            faults.append(fault)
            if len(faults) == _MOST_ERRORS:
                break
            continue
        if recipe.task.labels is not None and kind == "classify" and row.label not in recipe.task.labels:
            faults.append(
                DataError(
                    _("label {label!r} is not one of task.labels ({labels})").format(
                        label=row.label, labels=", ".join(recipe.task.labels)
                    ),
                    where=where,
                )
            )
            if len(faults) == _MOST_ERRORS:
                break
            continue
        row.source = source
        row.make_id()
        if not faults:
            yield row
    if faults:
        _raise_all(faults, seen)


def _raise_all(faults: list[DataError], columns: tuple[str, ...]) -> None:
    lines = [f"{fault.where}: {fault.what}" for fault in faults]
    if len(faults) == _MOST_ERRORS:
        lines.append(_("(only the first {count} are shown)").format(count=_MOST_ERRORS))
    raise DataError("\n".join(lines), fix=faults[0].fix or _("columns here: {columns}").format(columns=", ".join(columns)))


def _group(row: Row, column: str) -> str:
    if column == "source" and column not in row.extra:
        return row.source
    if column not in row.extra:
        raise DataError(
            _("data.split.group_by is `{column}`, and a row of {source} has no such column").format(
                column=column, source=row.source
            ),
            fix=_("columns here: {columns}").format(columns=", ".join(row.extra) or "-"),
        )
    return str(row.extra[column])


def _codes(values: list[str]) -> tuple[list[str], Array]:
    names, codes = np.unique(np.array(values, dtype=object), return_inverse=True)
    return [str(name) for name in names], codes.astype(np.int64)


def _keep_unequal(hashes: Array, labels: Array) -> tuple[Array, int, int]:
    """True for the first of equal rows; none of rows with equal text and different labels stays."""
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    conflicting = np.zeros(len(values), dtype=bool)
    conflicting[inverse[labels != labels[first[inverse]]]] = True
    keep = np.zeros(len(hashes), dtype=bool)
    keep[first] = ~conflicting
    in_conflict = int(conflicting[inverse].sum())
    return keep, len(hashes) - int(keep.sum()) - in_conflict, in_conflict


def _divide(
    recipe: Recipe, tokens: Tokens, folder: Path, scratch: Path, pool: _Pool, say: Callable[[str], None]
) -> dict[str, Any]:
    label_names, labels = _codes(pool.labels)
    if recipe.task.kind == "classify" and len(label_names) < 2:
        raise DataError(
            _("all rows have the label {label!r}; a classifier needs at least two labels").format(label=label_names[0])
        )
    hashes = np.array(pool.hashes, dtype=np.uint64)
    keep, equal, conflicting = _keep_unequal(hashes, labels)
    say(_("looking for near-duplicates among {count} rows").format(count=f"{int(keep.sum()):,}"))
    rows = np.flatnonzero(keep)
    clusters = _clusters(scratch, keep, recipe.data.near_duplicate)
    groups = _codes(pool.groups)[1][rows] if recipe.data.split.group_by else None
    units = units_of(clusters, groups)
    split = recipe.data.split
    seed = recipe.seed if split.seed is None else split.seed
    chosen = split_rows(units, labels[rows], (split.train, split.validation, split.test), seed, label_names)
    before = np.bincount(chosen, minlength=3)
    limited = np.ones(len(rows), dtype=bool)
    if recipe.data.limit is not None:
        limited = limit_rows(chosen, labels[rows], units, recipe.data.limit, seed)
    place = np.full(len(keep), -1, dtype=np.int8)
    place[rows[limited]] = chosen[limited]
    names = recipe.task.labels or (label_names if recipe.task.kind == "classify" else [])
    reports = _write_splits(recipe, tokens, names, folder, scratch, place)
    trained_hashes = set(hashes[place == 0].tolist())
    audit = {
        "schema": AUDIT_SCHEMA,
        "task": recipe.task.kind,
        "labels": names,
        "roles": pool.roles,
        "sources": {
            name: {"rows": count, "kept": int(sum(1 for row in rows if pool.sources[row] == name))}
            for name, count in Counter(pool.sources).items()
        },
        "rows_read": len(keep),
        "equal_rows_removed": equal,
        "conflicting_rows_removed": conflicting,
        "near_duplicate": {
            "threshold": recipe.data.near_duplicate,
            "clusters_of_several": int((np.bincount(clusters, minlength=1) > 1).sum()),
            "rows_in_them": int(np.bincount(clusters)[np.bincount(clusters) > 1].sum()),
        },
        "group_by": split.group_by,
        "groups": int(len(np.unique(groups))) if groups is not None else None,
        "limit": None
        if recipe.data.limit is None
        else {
            "rows": recipe.data.limit,
            "train_before": int(before[0]),
            "validation_before": int(before[1]),
            "train_after": int((place == 0).sum()),
            "validation_after": int((place == 1).sum()),
        },
        "splits": {name: report.as_json() for name, report in reports.items()},
        "test_sets": {
            test.name: _write_test_set(recipe, tokens, names, folder, test.name, test.source, trained_hashes)
            for test in recipe.data.test
        },
    }
    for name in ("train", "validation", "test"):
        if not audit["splits"][name]["rows"]:  # type: ignore[index]
            raise DataError(
                _("no row is left in the {split} split: all were dropped").format(split=name),
                fix=_("see data.max_length and data.over_long"),
            )
    write_json(folder / "audit.json", audit)
    return audit


def _clusters(scratch: Path, keep: Array, threshold: float | None) -> Array:
    """Number of each kept row's near-duplicate cluster."""
    if threshold is None:
        return np.arange(int(keep.sum()), dtype=np.int64)
    near = NearDuplicates(threshold)
    for row, kept in zip(iterate_rows(scratch), keep, strict=True):
        if kept:
            near.add(row.content())
    return near.clusters()


def _blocks(rows: Iterable[Row], size: int = 500) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while block := list(islice(iterator, size)):
        yield block


def _write_splits(
    recipe: Recipe, tokens: Tokens, labels: list[str], folder: Path, scratch: Path, place: Array
) -> dict[str, LengthReport]:
    limit = LengthLimit(tokens, recipe, labels)
    reports = {name: LengthReport() for name in SPLITS}
    with ExitStack() as stack:
        writers = []
        for name in SPLITS:
            path = stack.enter_context(atomic(folder / f"{name}.parquet"))
            writers.append(stack.enter_context(RowWriter(path)))
        position = 0
        for block in _blocks(iterate_rows(scratch)):
            for split, name in enumerate(SPLITS):
                part = [row for offset, row in enumerate(block) if place[position + offset] == split]
                if part:
                    for row in limit.apply(part, reports[name]):
                        writers[split].write(row)
            position += len(block)
    return reports


def _write_test_set(
    recipe: Recipe, tokens: Tokens, labels: list[str], folder: Path, name: str, source: str, trained: set[int]
) -> dict[str, Any]:
    """Writes a further test set; counts rows that stand in the training split too."""
    limit = LengthLimit(tokens, recipe, labels)
    report = LengthReport()
    roles: dict[str, dict[str, str]] = {}
    seen: set[int] = set()
    equal = in_training = 0
    unknown: Counter[str] = Counter()
    with atomic(folder / f"test_{name}.parquet") as path, RowWriter(path) as writer:
        for block in _blocks(read_rows_of(recipe, source, roles)):
            kept = []
            for row in block:
                digest = content_hash(row.content())
                if recipe.task.kind == "classify" and row.label not in labels:
                    unknown[str(row.label)] += 1
                elif digest in seen:
                    equal += 1
                else:
                    seen.add(digest)
                    in_training += digest in trained
                    kept.append(row)
            for row in limit.apply(kept, report):
                writer.write(row)
    if not report.rows:
        raise DataError(
            _("test set {name} has no row with a label of the training data").format(name=name),
            where=source,
            fix=_("labels here: {found}; labels trained on: {labels}").format(
                found=", ".join(unknown) or "-", labels=", ".join(labels)
            ),
        )
    return {
        **report.as_json(),
        "source": source,
        "roles": roles[source],
        "equal_rows_removed": equal,
        "rows_with_unknown_label": dict(unknown),
        "rows_also_in_training": in_training,
    }
