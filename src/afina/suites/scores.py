"""From the answers to a task's rows to its figures: each metric as a function of row numbers.

An answer to a row is one or two numbers, by the metric's kind:

- mean: the value.
- weighted_mean: value and weight (a question of several rows weighs as one).
- matthews, f1, macro_f1: the right code and the code that was said.
- pearson, spearman: the right value and the value that was said.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def mean(answers: Array) -> float:
    """The mean value; [rows, 1] to a number."""
    return float(answers[:, 0].mean()) if len(answers) else math.nan


def weighted_mean(answers: Array) -> float:
    """The mean value by weight; [rows, 2]."""
    total = float(answers[:, 1].sum())
    return float(answers[:, 0] @ answers[:, 1]) / total if total else math.nan


def matthews(answers: Array) -> float:
    """Matthews' correlation of two labels (Matthews 1975); 0 where one side has one label only."""
    right, said = answers[:, 0] == 1, answers[:, 1] == 1
    hits, misses = float((right & said).sum()), float((right & ~said).sum())
    alarms, passes = float((~right & said).sum()), float((~right & ~said).sum())
    spread = (hits + alarms) * (hits + misses) * (passes + alarms) * (passes + misses)
    return (hits * passes - alarms * misses) / math.sqrt(spread) if spread else 0.0


def f1(answers: Array, label: float = 1) -> float:
    """F1 of one label, by default the label 1; 0 where it is neither right nor said."""
    right, said = answers[:, 0] == label, answers[:, 1] == label
    both = float((right & said).sum())
    total = float(right.sum() + said.sum())
    return 2 * both / total if total else 0.0


def macro_f1(answers: Array) -> float:
    """The plain mean of the F1 of the labels 0, 1 and 2, as CommitmentBank asks."""
    return (f1(answers, 0) + f1(answers, 1) + f1(answers, 2)) / 3


def pearson(answers: Array) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    right, said = answers[:, 0], answers[:, 1]
    if len(answers) < 2 or np.ptp(right) == 0 or np.ptp(said) == 0:
        return math.nan
    return float(np.corrcoef(right, said)[0, 1])


def spearman(answers: Array) -> float:
    """Spearman's correlation: Pearson's of the ranks, ties sharing theirs."""
    from scipy.stats import rankdata

    return pearson(np.stack([rankdata(answers[:, 0]), rankdata(answers[:, 1])], axis=1))


KINDS: dict[str, Callable[[Array], float]] = {
    "mean": mean,
    "weighted_mean": weighted_mean,
    "matthews": matthews,
    "f1": f1,
    "macro_f1": macro_f1,
    "pearson": pearson,
    "spearman": spearman,
}


def by_group(keys: Sequence[Hashable], right: Sequence[bool]) -> list[tuple[float, float]]:
    """Whole groups right: for each row whether its group is, and one over the group's rows.

    Their weighted mean is the share of groups in which every row is right: MultiRC's exact match over
    the answers to one question.
    """
    size = Counter(keys)
    wrong = {key for key, hit in zip(keys, right, strict=True) if not hit}
    return [(float(key not in wrong), 1 / size[key]) for key in keys]


def same_by_group(keys: Sequence[Hashable], said: Sequence[Hashable]) -> list[tuple[float, float]]:
    """The same for groups in which every row was answered alike: the parity of Winogender pairs."""
    first: dict[Hashable, Hashable] = {}
    alike = [first.setdefault(key, answer) == answer for key, answer in zip(keys, said, strict=True)]
    return by_group(keys, alike)
