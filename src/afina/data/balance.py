"""Weights with which every value of a column is trained on equally often with every label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from afina.errors import DataError
from afina.language import _

Array = np.ndarray[Any, np.dtype[Any]]
# A row of a small source is seen this many times in an epoch at most: more would be learnt by heart.
MOST = 20.0


def balance(values: Sequence[str], labels: Sequence[str], column: str) -> tuple[Array, dict[str, Any]]:
    """Each row's factor, and what was done, for audit.json.

    A cell is a value of the column with a label; of k cells and n rows, a row of a cell of m rows is
    seen n / (k · m) times in an epoch: each cell as often, and as many rows in all as before. Rows
    without a value are one more value.

    Args:
        values: of the column, empty for none; labels: of the same rows; [rows].
    Returns:
        Factors; [rows]. And the cells with their rows and factors.
    Raises:
        DataError: when no row has the column.
    """
    if not any(values):
        raise DataError(
            _("no training row has a value in `{column}` (data.balance)").format(column=column),
            fix=_("name another column, or leave data.balance out"),
        )
    keys = list(zip(values, labels, strict=True))
    cells = sorted(set(keys))
    numbers = {cell: number for number, cell in enumerate(cells)}
    codes = np.array([numbers[key] for key in keys])
    counts = np.bincount(codes)
    wanted = len(codes) / (len(cells) * counts)
    factors = np.minimum(wanted, MOST)
    return factors[codes], {
        "column": column,
        "most": MOST,
        "cells": [
            {
                "value": value or None,
                "label": label or None,
                "rows": int(counts[number]),
                "times": round(float(factors[number]), 4),
                "cut_to_most": bool(wanted[number] > MOST),
            }
            for number, (value, label) in enumerate(cells)
        ],
    }
