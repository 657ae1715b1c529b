"""The classical baseline: TF-IDF of word 1-2 grams and logistic regression, on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from afina.data.roles import Row
from afina.metrics.calibration import log_loss

Array = np.ndarray[Any, np.dtype[Any]]
STRENGTHS = (1.0, 10.0, 100.0)


class TfidfBaseline:
    """Fitted on the training rows; its penalty is the one with the least validation log loss."""

    def __init__(self, train: list[Row], validation: list[Row], labels: list[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        codes = {label: code for code, label in enumerate(labels)}
        self._labels = labels
        self._words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        features = self._words.fit_transform([row.text for row in train])
        truth = np.array([codes[str(row.label)] for row in train])
        goal = np.array([codes[str(row.label)] for row in validation])
        weights = np.array([row.weight for row in train])
        best = None
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=2000)
            model.fit(features, truth, sample_weight=weights)
            self._model = model
            loss = log_loss(np.log(self.probabilities([row.text for row in validation]) + 1e-12), goal)
            if best is None or loss < best[0]:
                best = (loss, model)
        assert best is not None
        self._model = best[1]

    def probabilities(self, texts: list[str]) -> Array:
        """Probabilities in the order of the labels; [texts, labels]."""
        found = self._model.predict_proba(self._words.transform(texts))
        full = np.zeros((len(texts), len(self._labels)))
        full[:, self._model.classes_] = found
        return full
