"""Models that stand in the tables beside base, probe, tuned model and baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from afina.data.roles import Row

if TYPE_CHECKING:
    from afina.evaluation.answers import Answers, TestRows

Array = np.ndarray[Any, np.dtype[Any]]


class Further:
    """A model that answers the same rows: as a classifier, by losses, or in writing, as its task is.

    Attributes:
        threshold: probability of the positive label from which it is said.
        likelihoods: whether a classifier's right label is read as text, for perplexity.
    """

    threshold = 0.5
    likelihoods = False

    def probabilities(self, test: TestRows) -> Array:
        """Of a classifier: probabilities of the labels, in the order of this run; [rows, labels]."""
        raise TypeError(f"{type(self).__name__} has no labels")

    def losses(self, rows: list[Row]) -> Array:
        """Summed loss in nats and trained tokens of each row; [rows, 2]."""
        raise TypeError(f"{type(self).__name__} has no losses")

    def write(self, asked: list[dict[str, str]], most: int) -> str:
        """The answer to a conversation, of at most so many tokens."""
        raise TypeError(f"{type(self).__name__} writes nothing")

    def kept(self, test: TestRows) -> Array | None:
        """The rows that it may be measured on, as row numbers; None for all."""
        return None

    def let_go(self) -> None:
        """Frees what was loaded for it alone; asked again, it loads again."""

    def report(self) -> list[dict[str, Any]]:
        """What evaluation.json says of how it was made: a line for each prompt that was tried."""
        return []


def further_models(answers: Answers) -> dict[str, Further]:
    """The recipe's further models by name. Nothing is loaded yet.

    Raises:
        AfinaError: when a run of evaluate.compare is not there, or does another task.
    """
    from afina.evaluation.others import compared_models, quantised_models
    from afina.evaluation.prompted import prompted_model

    prompted = prompted_model(answers)
    found: dict[str, Further] = {} if prompted is None else {"prompted": prompted}
    return {**found, **quantised_models(answers), **compared_models(answers)}
