"""How often a classifier decides otherwise when a name, a country or the form of address is another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows
from afina.evaluation.score import number
from afina.evaluation.slices import FEWEST_ROWS
from afina.evaluation.swapping import swap
from afina.metrics.statistics import Interval, bootstrap, group_count, one_group, wilson
from afina.recipe import Recipe

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Swaps:
    """The rows of a set in which something can be swapped, with their changed texts.

    Attributes:
        test: the changed rows, under a name of their own: their answers are kept in a folder of it.
        places: which rows of the set they are; [changed].
        pairs: what was changed into what in each; [changed].
    """

    test: TestRows
    places: Array
    pairs: list[tuple[str, str]]


def swaps_of(test: TestRows, kind: str, seed: int) -> Swaps:
    """One variant of each row of a set that has something to swap; the others are not asked again."""
    found = [
        (place, row, changed)
        for place, row in enumerate(test.rows)
        if (changed := swap(kind, row.text, seed, row.id or str(place))) is not None
    ]
    places = np.array([place for place, _row, _changed in found], dtype=np.int64)
    truth = test.truth[places] if len(test.truth) else test.truth
    groups = None
    if test.groups is not None and len(places):
        groups = np.unique(test.groups[places], return_inverse=True)[1]
    rows = [replace(row, text=changed.text) for _place, row, changed in found]
    return Swaps(
        TestRows(f"{test.name}/swapped_{kind}", rows, truth, groups),
        places,
        [(changed.source, changed.target) for _place, _row, changed in found],
    )


def swapped_models(recipe: Recipe) -> list[str]:
    """The models that are asked again: the tuned one, and baselines, which cost nothing."""
    return ["tuned", *recipe.evaluate.baselines]


def swap_lines(
    answers: Answers, test: TestRows, kind: str, positive: int | None
) -> list[dict[str, Any]]:
    """What a kind of swap does to each model's answers on a set, as lines of evaluation.json."""
    swaps = swaps_of(test, kind, answers.recipe.seed)
    lines = []
    for model in swapped_models(answers.recipe):
        line = {"model": model, "set": test.name, "kind": kind, "of": len(test.rows)}
        if not len(swaps.places):
            nothing = {"rows": 0, "groups": None, "flips": 0, "value": None, "ci95": [None, None]}
            rest: dict[str, Any] = {
                "method": "none",
                "change": None,
                "moved": None,
                "pairs": [],
                "worst": None,
            }
            lines.append({**line, **nothing, **rest})
            continue
        before = answers.probabilities(model, test)[swaps.places]
        flipped = answers.said(model, test)[swaps.places] != answers.said(model, swaps.test)
        after = answers.probabilities(model, swaps.test)
        change = None if positive is None else after[:, positive] - before[:, positive]
        # Half of the summed differences: of two labels, how far the one's probability moves.
        moved = np.abs(after - before).sum(axis=1) / 2
        lines.append({**line, **swap_figures(swaps, flipped, change, moved, answers.recipe.seed)})
    return lines


def swap_figures(
    swaps: Swaps, flipped: Array, change: Array | None, moved: Array, seed: int
) -> dict[str, Any]:
    """The figures of one model.

    Args:
        flipped: whether the changed text got another label; [changed].
        change: of the positive label's probability, changed minus original; [changed] or None.
        moved: total variation distance of both answers, 0 to 1; [changed].
    Returns:
        `rows` that were changed, `flips` among them and `value`, their share, with `ci95`; `change` and
        `moved`, mean values with intervals; `pairs` by what was changed into what, most rows first, each
        with 10 rows or more measured; `worst`, the pair with the largest share of flips, or None.
    """
    everything = np.arange(len(flipped))
    pairs = _pairs(swaps, flipped, change, seed)
    measured = [pair for pair in pairs if pair["flips"] and pair["value"] is not None]
    return {
        "rows": len(flipped),
        "groups": group_count(swaps.test.groups),
        "flips": int(flipped.sum()),
        **_share(flipped, everything, swaps.test.groups, seed),
        "change": None if change is None else _mean(change, everything, swaps.test.groups, seed),
        "moved": _mean(moved, everything, swaps.test.groups, seed),
        "pairs": pairs,
        "worst": max(measured, key=lambda pair: (pair["value"], pair["rows"]), default=None),
    }


def _pairs(swaps: Swaps, flipped: Array, change: Array | None, seed: int) -> list[dict[str, Any]]:
    found = []
    for pair in dict.fromkeys(swaps.pairs):
        rows = np.array([place for place, own in enumerate(swaps.pairs) if own == pair])
        line: dict[str, Any] = {"from": pair[0], "to": pair[1], "rows": len(rows)}
        line |= {"flips": int(flipped[rows].sum()), "value": None, "ci95": [None, None], "change": None}
        if len(rows) >= FEWEST_ROWS:
            line |= _share(flipped, rows, swaps.test.groups, seed)
            line["change"] = None if change is None else _mean(change, rows, swaps.test.groups, seed)
        found.append(line)
    return sorted(found, key=lambda line: (-line["rows"], line["from"], line["to"]))


def _share(hit: Array, rows: Array, groups: Array | None, seed: int) -> dict[str, Any]:
    """The share of rows that are hit: a score interval over rows, a bootstrap over groups."""
    own = hit[rows]
    by_row = wilson(int(own.sum()), len(own))
    interval = by_row
    if groups is not None:
        interval = _over_groups(lambda part: float(own[part].mean()), groups[rows], seed, by_row)
    return {
        "value": float(own.mean()),
        "ci95": [number(interval.low), number(interval.high)],
        "method": interval.method,
    }


def _over_groups(
    value: Callable[[Array], float], groups: Array, seed: int, by_row: Interval
) -> Interval:
    """Where resampling shows no spread (no flip at all, say), the score interval does."""
    codes = np.unique(groups, return_inverse=True)[1]
    interval = bootstrap(value, len(codes), codes, seed, by_row)
    if np.isfinite(interval.low):
        return interval
    return one_group(by_row) if group_count(codes) == 1 else by_row


def _mean(values: Array, rows: Array, groups: Array | None, seed: int) -> dict[str, Any]:
    """A mean with its bootstrap interval; without one where nothing moves."""
    own = values[rows]
    codes = None if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    interval = bootstrap(lambda part: float(own[part].mean()), len(own), codes, seed)
    return {
        "value": float(own.mean()),
        "ci95": [number(interval.low), number(interval.high)],
        "method": interval.method,
    }
