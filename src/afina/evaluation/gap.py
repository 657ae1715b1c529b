"""How much better the released model is on rows it was trained on than on validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows
from afina.evaluation.score import number
from afina.evaluation.seen import Compared
from afina.metrics.labels import accuracy, macro_f1
from afina.metrics.statistics import group_count
from afina.metrics.two_samples import Sample, two_sample_bootstrap

Array = np.ndarray[Any, np.dtype[Any]]
# On one set's own answers and row numbers.
OnRows = Callable[[Array], float]
LOWER_IS_BETTER = ("loss", "perplexity")
# A probability of 0 would make the loss of all rows infinite.
_LEAST = 1e-12


def label_losses(answers: Answers, test: TestRows) -> Array:
    """Minus log-probability in nats that the tuned model gives the right label; [rows]."""
    found = answers.probabilities("tuned", test)
    return np.asarray(-np.log(np.maximum(found[np.arange(len(test.rows)), test.truth], _LEAST)))


def gap_lines(answers: Answers, compared: Compared) -> list[dict[str, Any]]:
    """For each metric the tuned model's value on both sets, and the gap with its 95 % interval.

    The gap is above 0 where the model is better on training rows: validation minus training for loss and
    perplexity, training minus validation for accuracy and macro-F1. Both sets are resampled apart, by
    whole groups where there are any.
    """
    train, validation = compared.train, compared.unseen
    on_train, on_validation = _metrics(answers, train), _metrics(answers, validation)
    lines = []
    for name, metric in on_train.items():
        lines.append(_line(name, metric, on_validation[name], train, validation, answers.recipe.seed))
        answers.stop.check()
    return lines


def _metrics(answers: Answers, test: TestRows) -> dict[str, OnRows]:
    """The metrics of a task's kind on one set."""
    if answers.recipe.task.kind != "classify":
        found = answers.losses("tuned", test)

        def loss(rows: Array) -> float:
            tokens = found[rows, 1].sum()
            return float(found[rows, 0].sum() / tokens) if tokens else math.nan

        return {"loss": loss, "perplexity": lambda rows: math.exp(min(loss(rows), 700.0))}
    losses, said = label_losses(answers, test), answers.said("tuned", test)
    return {
        "loss": lambda rows: float(losses[rows].mean()),
        "accuracy": lambda rows: accuracy(test.truth[rows], said[rows]),
        "macro_f1": lambda rows: macro_f1(test.truth[rows], said[rows], len(answers.labels)),
    }


def _line(
    name: str, on_train: OnRows, on_validation: OnRows, train: TestRows, validation: TestRows, seed: int
) -> dict[str, Any]:
    sign = 1 if name in LOWER_IS_BETTER else -1

    def gap(of_train: Array, of_validation: Array) -> float:
        return sign * (on_validation(of_validation) - on_train(of_train))

    everything = [np.arange(len(test.rows)) for test in (train, validation)]
    interval = two_sample_bootstrap(
        gap,
        Sample(len(train.rows), train.groups),
        Sample(len(validation.rows), validation.groups),
        seed,
    )
    return {
        "model": "tuned",
        "metric": name,
        "train": number(on_train(everything[0])),
        "validation": number(on_validation(everything[1])),
        "gap": number(gap(*everything)),
        "ci95": [number(interval.low), number(interval.high)],
        "method": interval.method,
        "n_train": len(train.rows),
        "n_validation": len(validation.rows),
        "groups_train": group_count(train.groups),
        "groups_validation": group_count(validation.groups),
    }
