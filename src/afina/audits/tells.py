"""What gives the label away without a look at the content: the source, a column, the form of the text.

A model takes the easiest way. Where mail of one source is all legitimate, it learns the source, and its
good figure on a test split of the same sources says nothing about mail from elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from afina.metrics.statistics import wilson

Array = np.ndarray[Any, np.dtype[Any]]
FOLDS = 5
MOST_VALUES = 50
# A form that tells the label this well above always saying the most frequent one is worth a look.
STRONG = 0.15

FORMS: dict[str, re.Pattern[str]] = {
    "link": re.compile(r"https?://|www\.", re.I),
    "e-mail address": re.compile(r"\S@\S"),
    "HTML": re.compile(r"</?[a-z][a-z0-9]*[^<>]*>", re.I),
    "entity (&amp;)": re.compile(r"&(?:[a-z]{2,6}|#\d+);", re.I),
    "mail header": re.compile(
        r"^(?:from|to|subject|date|received|message-id|de|para|asunto):", re.I | re.M
    ),
    "quoted line (>)": re.compile(r"^\s*>", re.M),
    "signature (--)": re.compile(r"^--\s*$", re.M),
    "unsubscribe": re.compile(r"unsubscribe|darse de baja|cancelar (?:la )?suscripción", re.I),
    "year 1990-2009": re.compile(r"(?<!\d)(?:199\d|200\d)(?!\d)"),
    "year 2010-2029": re.compile(r"(?<!\d)20[12]\d(?!\d)"),
    "money sign": re.compile(r"[$€£]\s?\d"),
    "word in capitals": re.compile(r"(?<!\w)[A-ZÁÉÍÓÚÑ]{4,}(?!\w)"),
    "accented letter": re.compile(r"[áéíóúñüÁÉÍÓÚÑÜ¿¡]"),
    "mask ([…])": re.compile(r"\[[A-Za-z_\-]+\]|<[A-Z_]+>"),
    "space before punctuation": re.compile(r"\w [.,!?](?:\s|$)"),
    "tab": re.compile(r"\t"),
    "line break": re.compile(r"\n"),
    "exclamation mark": re.compile(r"!"),
    "hyphen": re.compile(r"\w-\w"),
    "digit": re.compile(r"\d"),
    "ellipsis": re.compile(r"\.\.\.|…"),
}
_AMOUNTS = (
    "characters",
    "words",
    "share of capitals",
    "share of digits",
    "share of punctuation",
    "letters a word",
)


def form_features(texts: Sequence[str]) -> tuple[list[str], Array]:
    """Names, and one column for each: 0 or 1 for a form, or an amount; [texts, forms]."""
    rows = []
    for text in texts:
        words = text.split()
        size = max(1, len(text))
        rows.append(
            [
                *(float(pattern.search(text) is not None) for pattern in FORMS.values()),
                np.log1p(len(text)),
                np.log1p(len(words)),
                sum(letter.isupper() for letter in text) / size,
                sum(letter.isdigit() for letter in text) / size,
                sum(not letter.isalnum() and not letter.isspace() for letter in text) / size,
                np.mean([len(word) for word in words]) if words else 0.0,
            ]
        )
    return [*FORMS, *_AMOUNTS], np.array(rows, dtype=float).reshape(
        len(rows), len(FORMS) + len(_AMOUNTS)
    )


def column_tells(values: Sequence[str], truth: Array, labels: int, folds: Array) -> dict[str, Any]:
    """How often the label is right when each value of a column says the label most frequent with it.

    Learnt on four fifths of the rows and asked about the last, five times.

    Args:
        values: of the column; [rows]. truth: label codes; [rows]. folds: 0 to 4; [rows].
    """
    said = np.zeros(len(truth), dtype=np.int64)
    for fold in range(FOLDS):
        known: dict[str, Counter[int]] = {}
        everywhere: Counter[int] = Counter()
        for row in np.flatnonzero(folds != fold):
            known.setdefault(values[int(row)], Counter())[int(truth[row])] += 1
            everywhere[int(truth[row])] += 1
        usual = everywhere.most_common(1)[0][0] if everywhere else 0
        for row in np.flatnonzero(folds == fold):
            own = known.get(values[int(row)])
            said[row] = own.most_common(1)[0][0] if own else usual
    return _score(said == truth, truth, labels)


def form_tells(texts: Sequence[str], truth: Array, labels: int, folds: Array) -> dict[str, Any]:
    """How often the form of the text alone tells the label, by a linear model, and which forms most.

    Args:
        texts: [rows]. truth: label codes; [rows]. folds: 0 to 4; [rows].
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names, features = form_features(texts)
    said = np.zeros(len(truth), dtype=np.int64)
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        if len(np.unique(truth[train])) < 2 or not test.any():
            said[test] = np.bincount(truth[train], minlength=labels).argmax()
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
        said[test] = model.fit(features[train], truth[train]).predict(features[test])
    return {
        **_score(said == truth, truth, labels),
        "strongest": _strongest(names, features, truth, labels),
    }


def _score(right: Array, truth: Array, labels: int) -> dict[str, Any]:
    interval = wilson(int(right.sum()), len(right))
    usual = float(np.bincount(truth, minlength=labels).max() / max(1, len(truth)))
    return {
        "accuracy": float(right.mean()),
        "ci95": [interval.low, interval.high],
        "most_frequent_label": usual,
        "strong": bool(interval.low >= usual + STRONG * (1 - usual)),
    }


def _strongest(
    names: list[str], features: Array, truth: Array, labels: int, most: int = 5
) -> list[dict[str, Any]]:
    """The forms that are most unequal among the labels: their share in each label.

    Only those that are there or not; ranked by the largest difference between two labels.
    """
    found: list[tuple[float, str, list[float]]] = []
    for column, name in enumerate(names[: len(FORMS)]):
        shares = [
            float(features[truth == label, column].mean()) if (truth == label).any() else 0.0
            for label in range(labels)
        ]
        found.append((max(shares) - min(shares), name, shares))
    found.sort(key=lambda item: (-item[0], item[1]))
    return [
        {"form": name, "shares": shares, "difference": difference}
        for difference, name, shares in found[:most]
    ]


def folds_of(groups: Sequence[str] | None, count: int, seed: int) -> Array:
    """A fold of 0 to 4 for each row; rows of one group have the same. [rows]"""
    random = np.random.default_rng(seed)
    if groups is None:
        return random.permutation(np.arange(count) % FOLDS)
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    return random.permutation(np.arange(len(names)) % FOLDS)[codes]
