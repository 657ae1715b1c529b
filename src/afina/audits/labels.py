"""Rows whose label may be wrong, and how labels are spread over the other columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from afina.audits.tells import FOLDS

Array = np.ndarray[Any, np.dtype[Any]]
# What a model that never saw the row gives its label at most, for the row to be suspected.
LEAST_LIKELY = 0.1
FEWEST_ROWS = 50


def suspects(
    texts: Sequence[str], truth: Array, labels: int, folds: Array
) -> list[tuple[int, int, float]]:
    """Rows that a linear model of words, fitted on the other folds, would label otherwise and surely.

    The confident rows of Northcutt et al. 2021, with out-of-fold probabilities of TF-IDF and logistic
    regression.

    Args:
        texts: [rows]. truth: label codes; [rows]. folds: 0 to 4; [rows].
    Returns:
        (row, the label it would get, the probability of its own label), least likely first.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    if len(texts) < FEWEST_ROWS:
        return []
    found = []
    for fold in range(FOLDS):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(np.unique(truth[train])) < 2 or not len(test):
            continue
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        try:
            features = words.fit_transform([texts[int(row)] for row in train])
        except ValueError:  # no word stands in two rows
            continue
        model = LogisticRegression(C=10.0, max_iter=2000).fit(features, truth[train])
        shares = np.zeros((len(test), labels))
        asked = words.transform([texts[int(row)] for row in test])
        shares[:, model.classes_] = model.predict_proba(asked)
        for row, share in zip(test, shares, strict=True):
            own = float(share[truth[row]])
            if own <= LEAST_LIKELY:
                found.append((int(row), int(share.argmax()), own))
    return sorted(found, key=lambda item: (item[2], item[0]))


def spread(values: Sequence[str], truth: Array, labels: int) -> dict[str, Any]:
    """Rows of each value of a column by label, and Cramér's V between 0 (no tie) and 1 (one tells the
    other), with the correction of Bergsma 2013."""
    names, codes = np.unique(np.asarray(values), return_inverse=True)
    table = np.zeros((len(names), labels))
    np.add.at(table, (codes, truth), 1)
    return {
        "values": {
            str(name): [int(count) for count in row] for name, row in zip(names, table, strict=True)
        },
        "cramers_v": cramers_v(table),
    }


def by_group(groups: Sequence[str], truth: Array) -> dict[str, int]:
    """How labels lie in groups: groups of one label alone and their rows, and the largest group.

    Where each group has one label, a model can learn the group instead of what the label means.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    found = {"groups": len(names), "of_one_label": 0, "rows_of_one_label": 0, "largest_rows": 0}
    for place in range(len(names)):
        labels = truth[codes == place]
        alone = len(np.unique(labels)) == 1
        found["of_one_label"] += alone
        found["rows_of_one_label"] += len(labels) if alone else 0
        found["largest_rows"] = max(found["largest_rows"], len(labels))
    return {name: int(count) for name, count in found.items()}


def cramers_v(table: Array) -> float:
    """Of a table of counts; 0 where a side has one value only."""
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    rows, columns = table.shape
    total = table.sum()
    if rows < 2 or columns < 2 or total < 2:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    phi = float(((table - expected) ** 2 / expected).sum() / total)
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (total - 1))
    rows_, columns_ = (size - (size - 1) ** 2 / (total - 1) for size in (rows, columns))
    smaller = min(rows_, columns_) - 1
    return float(np.sqrt(phi / smaller)) if smaller > 0 else 0.0
