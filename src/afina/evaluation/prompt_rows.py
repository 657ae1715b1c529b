"""The rows that prompts are made of and judged on: examples from training, a part of validation."""

from __future__ import annotations

from typing import Any

import numpy as np

from afina.data.roles import Row

Array = np.ndarray[Any, np.dtype[Any]]


def drawn_examples(rows: list[Row], labels: list[str], count: int, seed: int) -> list[Row]:
    """So many training rows, drawn by the seed: label after label, the labels in a drawn order.

    The order of the examples is the drawn order too: with four examples of two labels, two of each in
    turns. A label whose rows are used up is passed over. Without labels any rows.
    """
    random = np.random.default_rng([seed, 5])
    if not labels:
        return [rows[int(row)] for row in random.permutation(len(rows))[:count]]
    turns = [labels[int(place)] for place in random.permutation(len(labels))]
    waiting = {label: [row for row in rows if row.label == label] for label in turns}
    order = {label: list(random.permutation(len(own))) for label, own in waiting.items()}
    found: list[Row] = []
    while len(found) < count and any(order.values()):
        for label in turns:
            if order[label] and len(found) < count:
                found.append(waiting[label][int(order[label].pop(0))])
    return found


def stratified(truth: Array, rows: int, most: int, seed: int) -> Array:
    """At most `most` of the rows, each label with its share, chosen by the seed; row numbers in order.

    Args:
        truth: label codes; [rows], empty without labels.
    """
    if rows <= most:
        return np.arange(rows)
    random = np.random.default_rng([seed, 6])
    place = random.permutation(rows)  # each row's place in a drawn order
    rank = place / rows
    for code in np.unique(truth):
        own = np.flatnonzero(truth == code)
        rank[own[np.argsort(place[own])]] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(np.lexsort((place, rank))[:most])
