"""Whether a row's loss tells that it was trained on: the membership attack of Yeom et al. 2018.

The AUC is the chance that a row that was trained on has a lower loss than one that was not: 0.5 tells
nothing, 1 tells of every row. The base model, which was trained on neither, says how much of it the rows
themselves bring: training and unseen rows may come from different groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afina.evaluation.score import number
from afina.metrics.labels import auc
from afina.metrics.statistics import Interval, group_count
from afina.metrics.two_samples import Sample, two_sample_bootstrap

Array = np.ndarray[Any, np.dtype[Any]]
# Losses of one model: of the training rows and of the unseen ones; [rows] each.
Losses = tuple[Array, Array]


def membership_auc(train: Array, unseen: Array) -> float:
    """The chance that a loss of `train` is below one of `unseen`; ties count one half."""
    truth = np.repeat([1, 0], [len(train), len(unseen)])
    return auc(truth, -np.concatenate([train, unseen]), 1)


def membership_lines(
    of: str, losses: dict[str, Losses], groups: tuple[Array | None, Array | None], seed: int
) -> list[dict[str, Any]]:
    """The AUC of each model, and of tuned minus base where both were measured, with 95 % intervals.

    Args:
        of: what the loss is of: label, answer or text.
        losses: by model. groups: of the training rows and of the unseen ones.
    """
    first = next(iter(losses.values()))
    of_train, of_unseen = (Sample(len(part), own) for part, own in zip(first, groups, strict=True))

    def value(model: str, a: Array, b: Array) -> float:
        train, unseen = losses[model]
        return membership_auc(train[a], unseen[b])

    def line(name: str, found: float, interval: Interval) -> dict[str, Any]:
        return {
            "loss": of,
            "model": name,
            "auc": number(found),
            "ci95": [number(interval.low), number(interval.high)],
            "method": interval.method,
            "n_train": of_train.count,
            "n_unseen": of_unseen.count,
            "groups_train": group_count(groups[0]),
            "groups_unseen": group_count(groups[1]),
        }

    whole = np.arange(of_train.count), np.arange(of_unseen.count)
    lines = []
    for model in losses:
        interval = two_sample_bootstrap(lambda a, b, m=model: value(m, a, b), of_train, of_unseen, seed)  # type: ignore[misc]
        lines.append(line(model, value(model, *whole), interval))
    if {"tuned", "base"} <= losses.keys():

        def difference(a: Array, b: Array) -> float:
            return value("tuned", a, b) - value("base", a, b)

        interval = two_sample_bootstrap(difference, of_train, of_unseen, seed)
        lines.append(line("tuned_minus_base", difference(*whole), interval))
    return lines
