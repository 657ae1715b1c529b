"""Divides rows into train, validation and test: by whole units, stratified by label, seeded."""

from __future__ import annotations

from typing import Any

import numpy as np

from afina.data.duplicates import Clusters
from afina.errors import DataError
from afina.language import _

SPLITS = ("train", "validation", "test")
Array = np.ndarray[Any, np.dtype[Any]]


def units_of(clusters: Array, groups: Array | None) -> Array:
    """Rows that must stay together: those of one near-duplicate cluster or of one group.

    Args:
        clusters: number of each row's cluster; shape [rows].
        groups: code of each row's group, or None; shape [rows].
    Returns:
        Number of each row's unit; shape [rows].
    """
    if groups is None:
        return clusters
    joined = Clusters(len(clusters))
    for keys in (clusters, groups):
        _values, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        for row, start in enumerate(first[inverse]):
            if start != row:
                joined.join(int(start), row)
    return joined.roots()


def split_rows(
    units: Array,
    labels: Array,
    shares: tuple[float, float, float],
    seed: int,
    label_names: list[str],
    group_by: str | None = None,
) -> Array:
    """Assigns each row to a split; 0 train, 1 validation, 2 test.

    Units are taken in seeded order, the largest first, each to the split that lacks most of its labels
    (iterative stratification, Sechidis et al. 2011, on whole units).

    Args:
        units: number of each row's unit; shape [rows].
        labels: code of each row's label; shape [rows].
        shares: of train, validation and test.
        seed: of the order.
        label_names, group_by: for messages.
    Raises:
        DataError: when a split would be left without rows, or without one of the labels.
    """
    _names, compact = np.unique(units, return_inverse=True)
    count, kinds = int(compact.max()) + 1, len(label_names)
    if count < 3:
        raise DataError(
            _("all rows form one group that must stay together; a split needs at least 3")
            if count == 1
            else _(
                "the rows form only {count} groups that must stay together; a split needs at least 3"
            ).format(count=count),
            fix=_("choose another data.split.group_by, or give more rows")
            if group_by
            else _("give more rows; near-duplicates count as one group"),
        )
    totals = np.bincount(labels, minlength=kinds)
    rare = [label_names[kind] for kind in np.flatnonzero(totals < 3)]
    if rare:
        raise DataError(
            _(
                "too few rows with label {labels}: each label needs at least 3, one for each split"
            ).format(labels=", ".join(repr(name) for name in rare)),
            fix=_("add rows with these labels, or leave these labels out"),
        )
    tally = np.zeros((count, kinds), dtype=np.int64)
    np.add.at(tally, (compact, labels), 1)
    sizes = tally.sum(axis=1)
    random = np.random.default_rng(seed)
    order = random.permutation(count)
    order = order[np.argsort(-sizes[order], kind="stable")]
    wanted = np.outer(shares, totals).astype(float)
    missing = wanted.copy()
    chosen = np.zeros(count, dtype=np.int8)
    weight = 1 / np.maximum(wanted, 1e-9)
    for unit in order:
        lack = (missing * weight * tally[unit]).sum(axis=1) / sizes[unit]
        best = int(np.argmax(lack))
        chosen[unit] = best
        missing[best] -= tally[unit]
    _fill_empty(chosen, tally, order)
    _check_labels(chosen, tally, label_names, group_by)
    return chosen[compact]


def _check_labels(chosen: Array, tally: Array, label_names: list[str], group_by: str | None) -> None:
    for split, name in enumerate(SPLITS):
        lacking = [label_names[kind] for kind in np.flatnonzero(tally[chosen == split].sum(axis=0) == 0)]
        if lacking:
            raise DataError(
                _("with these groups the {split} split would have no row with label {labels}").format(
                    split=name, labels=", ".join(repr(label) for label in lacking)
                ),
                fix=_("choose another data.split.group_by or seed, or give more rows")
                if group_by
                else _("choose another data.split.seed, or give more rows"),
            )


def _fill_empty(chosen: Array, tally: Array, order: Array) -> None:
    """Gives a split that lacks a label the smallest unit with it that its own split can spare."""
    for split in (2, 1, 0):
        for kind in range(tally.shape[1]):
            if tally[chosen == split, kind].any():
                continue
            holders = [unit for unit in order[::-1] if tally[unit, kind]]
            holders.sort(key=lambda unit: int(chosen[unit]))  # train first: it has the most to give
            for unit in holders:
                left = tally[chosen == chosen[unit]].sum(axis=0) - tally[unit]
                if (left[tally[unit] > 0] > 0).all():
                    chosen[unit] = split
                    break


def limit_rows(splits: Array, labels: Array, units: Array, limit: int, seed: int) -> Array:
    """Which rows to keep so that train and validation have `limit` rows: a stratified, seeded part.

    Each stratum (split, label) keeps its share and at least one row, and within it each unit keeps its
    share; test rows all stay.

    Returns:
        True for each kept row; shape [rows].
    """
    keep = np.ones(len(splits), dtype=bool)
    rows = np.flatnonzero(splits < 2)
    if len(rows) <= limit:
        return keep
    random = np.random.default_rng(seed)
    rows = random.permutation(rows)
    within_unit, of_unit = _rank(np.stack([splits[rows], labels[rows], units[rows]], axis=1))
    order = np.argsort((within_unit + random.random(len(rows))) / of_unit, kind="stable")
    rows = rows[order]
    within, of_stratum = _rank(np.stack([splits[rows], labels[rows]], axis=1))
    position = np.where(within == 0, 0, (within + 0.5) / of_stratum)
    keep[rows[np.argsort(position, kind="stable")[limit:]]] = False
    return keep


def _rank(strata: Array) -> tuple[Array, Array]:
    """For each row its number within its stratum, and the size of that; each of shape [rows]."""
    _names, inverse, sizes = np.unique(strata, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.ravel()
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.empty(len(strata), dtype=np.int64)
    rank[order] = np.arange(len(strata)) - starts[inverse[order]]
    return rank, sizes[inverse]
