"""What lies behind a classifier's figures: confusion, each label, the curves, the reliability."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from afina.evaluation.answers import TestRows
from afina.evaluation.score import Measured, number
from afina.metrics.calibration import reliability
from afina.metrics.labels import by_label, confusion, precision_recall_curve, roc_curve

Array = np.ndarray[Any, np.dtype[Any]]
DETAILS = ("confusion", "by_label", "curves", "reliability")
MOST_POINTS = 200  # of a curve in evaluation.json; what a page can show


def label_details(
    measured: Measured, test: TestRows, labels: list[str], positive: int | None
) -> dict[str, dict[str, Any]]:
    """`confusion`, `by_label`, `reliability`; with a positive label and both kinds of rows `curves`.

    Curves are lists of [false-positive rate, recall] and [recall, precision], thinned.
    """
    said = measured.answers[:, 0].astype(int)
    shares = by_label(test.truth, said, len(labels))
    found: dict[str, dict[str, Any]] = {
        "confusion": {"counts": confusion(test.truth, said, len(labels)).tolist()},
        "by_label": {
            "labels": {
                label: {
                    "precision": number(float(shares[code, 0])),
                    "recall": number(float(shares[code, 1])),
                    "f1": number(float(shares[code, 2])),
                    "rows": int(np.sum(test.truth == code)),
                }
                for code, label in enumerate(labels)
            }
        },
        "reliability": {
            "bins": [
                {"confidence": float(mean), "right": float(share), "rows": int(rows)}
                for mean, share, rows in reliability(measured.answers[:, 2], said == test.truth)
            ]
        },
    }
    hits = int(np.sum(test.truth == positive))
    if positive is not None and 0 < hits < len(test.truth):
        score = measured.answers[:, 1]
        found["curves"] = {
            "roc": _thinned(roc_curve(test.truth, score, positive)[:, :2]),
            "precision_recall": _thinned(precision_recall_curve(test.truth, score, positive)[:, :2]),
        }
    return found


def _thinned(points: Array) -> list[list[float]]:
    """At most MOST_POINTS, first and last among them."""
    step = max(1, math.ceil(len(points) / MOST_POINTS))
    kept = sorted({*range(0, len(points), step), len(points) - 1})
    return [[round(float(value), 6) for value in points[row]] for row in kept]
