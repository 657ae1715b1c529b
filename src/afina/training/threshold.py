"""The temperature and the threshold of an alarm, also chosen on sources that the probe did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.data.folds import Folds, folds_within, value_of
from afina.data.roles import Row
from afina.data.rows import group_of
from afina.errors import DataError
from afina.language import _
from afina.metrics.calibration import fit_temperature, softmax
from afina.metrics.labels import false_positive_rate, macro_f1, recall
from afina.training.probe import fit_head

Array = np.ndarray[Any, np.dtype[Any]]
HALF = 0.5


@dataclass(frozen=True)
class Choice:
    """What turns logits into an alarm.

    Attributes:
        temperature: logits are divided by it. threshold: the probability from which it is an alarm.
        rows: how many rows chose; rates: what the threshold does on them, by metric.
        folds: the values that were left out together; None when the rows are those of validation.
        not_left_out: values that could not be left out, and why.
    """

    temperature: float
    threshold: float
    rows: int
    rates: dict[str, float]
    folds: list[tuple[str, ...]] | None = None
    not_left_out: dict[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """For train.json."""
        return {
            **{name: value for name, value in vars(self).items() if name != "folds"},
            "folds": None if self.folds is None else [list(fold) for fold in self.folds],
        }


def best_threshold(score: Array, truth: Array, positive: int, most: float | None) -> float:
    """The threshold on the probability of `positive`: a row at or above it is an alarm.

    With `most`, the lowest threshold whose false-positive rate on these rows is at most that; else the
    one with the best macro-F1, of equals the one nearest to 0.5. A threshold lies in the middle between
    two scores that occur, so that it does not hang on the last digit of one row.

    Args:
        score: probability of the positive label; [rows]. truth: label codes 0 or 1; [rows].
    Raises:
        ValueError: without rows of both labels.
    """
    is_positive = truth == positive
    if is_positive.all() or not is_positive.any():
        raise ValueError("a threshold needs rows of both labels")
    scores = np.unique(score)
    middles = (scores[:-1] + scores[1:]) / 2
    # Below the lowest score everything is an alarm, above the highest nothing; that may be 1 itself.
    above = (scores[-1] + 1) / 2 if scores[-1] < 1 else np.nextafter(1.0, 2.0)
    thresholds = np.concatenate([[scores[0] / 2], middles, [above]])
    ordered_other, ordered_hits = np.sort(score[~is_positive]), np.sort(score[is_positive])
    alarms = len(ordered_other) - np.searchsorted(ordered_other, thresholds, side="left")
    found = len(ordered_hits) - np.searchsorted(ordered_hits, thresholds, side="left")
    if most is not None:
        keeps = alarms / len(ordered_other) <= most + 1e-12
        return float(thresholds[np.flatnonzero(keeps)[0]])
    missed, quiet = len(ordered_hits) - found, len(ordered_other) - alarms
    with np.errstate(invalid="ignore"):
        of_hits = 2 * found / (2 * found + alarms + missed)
        of_others = np.nan_to_num(2 * quiet / (2 * quiet + alarms + missed))
    values = (of_hits + of_others) / 2
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - HALF))]])


def choose(
    logits: Array, truth: Array, positive: int, most: float | None, temperature: float | None = None
) -> Choice:
    """Temperature (unless it is given) and threshold by the logits of rows whose labels are known."""
    if temperature is None:
        temperature = fit_temperature(logits, truth)
    score = softmax(logits, temperature)[:, positive]
    threshold = best_threshold(score, truth, positive, most)
    said = np.where(score >= threshold, positive, 1 - positive)
    rates = {
        "macro_f1": macro_f1(truth, said, 2),
        "recall": recall(truth, said, positive),
        "false_positive_rate": false_positive_rate(truth, said, positive),
    }
    return Choice(temperature, threshold, len(truth), rates)


@dataclass(frozen=True)
class Held:
    """Rows whose values of a column can be left out.

    Attributes:
        features: mean states on the frozen base; [rows, hidden]. truth: label codes; [rows].
        values: the column's value of each row, or None. weights: of each row in a fit; [rows].
        groups: codes of rows that belong together, or None; [rows].
    """

    features: Array
    truth: Array
    values: list[str | None]
    weights: Array
    groups: Array | None = None

    def part(self, rows: Array) -> Held:
        """Some of the rows."""
        return Held(
            self.features[rows],
            self.truth[rows],
            [self.values[int(row)] for row in rows],
            self.weights[rows],
            None if self.groups is None else self.groups[rows],
        )


def held_rows(
    rows: Sequence[Row], features: Array, truth: Array, column: str, group_by: str | None
) -> Held:
    """Rows of a run with their values of the column.

    Args:
        features: [rows, hidden]. truth: label codes; [rows].
        group_by: the column of rows that stay together; of no account where it is the one left out.
    """
    groups = None
    if group_by is not None and group_by != column:
        groups = np.unique([group_of(row, group_by) for row in rows], return_inverse=True)[1]
    values = [value_of(row, column) for row in rows]
    return Held(features, truth, values, np.array([row.weight for row in rows]), groups)


def answers_left_out(
    held: Held,
    labels: list[str],
    strength: float,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> tuple[Array, Folds]:
    """What the probe says of each row when it is fitted without the values of its fold.

    Rows of a group that has rows in the fold are not fitted on either.

    Returns:
        Logits; [rows, labels], NaN for rows in no fold. And the folds.
    """
    found = folds_within(held.values, [labels[int(code)] for code in held.truth], labels)
    values = np.array([value if value is not None else "" for value in held.values])
    known = np.array([value is not None for value in held.values])
    logits = np.full((len(held.truth), len(labels)), np.nan)
    done, skipped = [], dict(found.not_left_out)
    for fold in found.folds:
        check()
        out = known & np.isin(values, fold)
        kept = ~out
        if held.groups is not None:
            kept &= ~np.isin(held.groups, held.groups[out])
        if len(np.unique(held.truth[kept])) < len(labels):
            skipped |= dict.fromkeys(fold, "groups_leave_no_rows_of_a_label")
            continue
        head = fit_head(
            held.features[kept], held.truth[kept], len(labels), strength, seed, held.weights[kept]
        )
        logits[out] = head.logits(held.features[out])
        done.append(fold)
    return logits, Folds(done, skipped)


def choose_left_out(
    held: Held,
    labels: list[str],
    positive: int,
    strength: float,
    most: float | None,
    seed: int,
    column: str,
    check: Callable[[], None] = lambda: None,
) -> Choice:
    """Temperature and threshold of the probe on rows of values that it was not fitted on.

    Raises:
        DataError: when fewer than two folds, or no rows of one of the labels, can be left out.
    """
    logits, folds = answers_left_out(held, labels, strength, seed, check)
    answered = np.isfinite(logits[:, 0])
    truth = held.truth[answered]
    if len(folds.folds) < 2 or len(np.unique(truth)) < 2:
        raise DataError(
            _("fewer than two folds of values of `{column}` can be left out for the threshold").format(
                column=column
            ),
            where="train.threshold_by",
            fix=_(
                "give rows of at least two values of each label, choose another column, or take "
                "threshold_from: validation"
            ),
        )
    choice = choose(logits[answered], truth, positive, most)
    return Choice(
        choice.temperature, choice.threshold, choice.rows, choice.rates, folds.folds, folds.not_left_out
    )
