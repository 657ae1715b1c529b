"""Answers that a generating model writes, beside the right ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows
from afina.evaluation.score import Measured, Metric
from afina.metrics import text as text_metrics

Array = np.ndarray[Any, np.dtype[Any]]
# The columns of `answers` that each metric reads.
_COLUMNS = {
    "exact_match": slice(0, 1),
    "rouge1": slice(1, 2),
    "rouge2": slice(2, 3),
    "rouge_l": slice(3, 4),
    "bleu": slice(4, 14),
    "chrf": slice(14, 32),
}


def part_of(test: TestRows, most: int, seed: int) -> TestRows:
    """At most so many rows of a set, chosen by the seed, in their order: writing takes seconds a row."""
    count = len(test.rows)
    if count <= most:
        return test
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    groups = None if test.groups is None else np.unique(test.groups[chosen], return_inverse=True)[1]
    return TestRows(test.name, [test.rows[row] for row in chosen], test.truth, groups)


def measure_written(answers: Answers, model: str, test: TestRows, wanted: list[str]) -> Measured:
    """A model's answers to these rows with the metrics asked for.

    Raises:
        MissingExtra: without the libraries of ROUGE or BLEU, before anything is written.
    """
    text_metrics.require(wanted)
    said, right = answers.written(model, test)
    columns: list[Array] = [
        np.array([[text_metrics.exact_match(a, b)] for a, b in zip(said, right, strict=True)], float)
    ]
    rouge = text_metrics.rouge(said, right) if any(name.startswith("rouge") for name in wanted) else {}
    empty = np.zeros(len(said))
    columns += [rouge.get(name, empty)[:, None] for name in text_metrics.ROUGE]
    for name, counts, width in (
        ("bleu", text_metrics.bleu_counts, 10),
        ("chrf", text_metrics.chrf_counts, 18),
    ):
        columns.append(counts(said, right) if name in wanted else np.zeros((len(said), width)))
    found = np.concatenate([column.reshape(len(said), -1) for column in columns], axis=1)
    return Measured(model, found, {name: _metric(name) for name in wanted})


def _metric(name: str) -> Metric:
    columns = _COLUMNS[name]
    corpus = {"bleu": text_metrics.bleu, "chrf": text_metrics.chrf}.get(name)
    return partial(_value, columns, corpus)


def _value(columns: slice, corpus: Any, answers: Array, rows: Array) -> float:
    part = answers[rows, columns]
    return corpus(part) if corpus is not None else float(part.mean())
