"""Smaller parts of the training rows: seeded, stratified by label, each inside the next larger one."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def part_sizes(order: Array, units: Array, labels: Array, share: float) -> int:
    """How many rows of an order a share takes: whole units, and every label at least once.

    Args:
        order: from `nested_order`; [rows].
        units: number of each row's unit; [rows]. labels: code of each row's label; [rows].
    Returns:
        The count whose first rows of the order are the part; of two equally near, the smaller.
    """
    ranked = units[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
    _kinds, first = np.unique(labels[order], return_index=True)
    ends = ends[ends > first.max()]
    return int(ends[np.argmin(np.abs(ends - share * len(order)))])


def nested_order(labels: Array, units: Array, seed: int) -> Array:
    """An order of the rows whose beginnings are stratified by label and hold whole units.

    Units are shuffled within the label that most of their rows have, and taken in turn from the labels,
    each as far along as the others. The first unit of every label comes first.

    Args:
        labels: code of each row's label; [rows]. units: number of each row's unit; [rows].
    Returns:
        Row numbers; [rows], the rows of a unit beside each other and in their own order.
    """
    names, compact, sizes = np.unique(units, return_inverse=True, return_counts=True)
    compact = compact.ravel()
    tally = np.zeros((len(names), int(labels.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(tally, (compact, labels), 1)
    usual = tally.argmax(axis=1)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    position = np.zeros(len(names))
    for label in np.unique(usual):
        own = shuffled[usual[shuffled] == label]
        before = np.cumsum(sizes[own]) - sizes[own]
        position[own] = (before + sizes[own] / 2) / sizes[own].sum()
        position[own[0]] = -1
    rank = np.empty(len(names), dtype=np.int64)
    rank[shuffled[np.argsort(position[shuffled], kind="stable")]] = np.arange(len(names))
    return np.argsort(rank[compact], kind="stable")
