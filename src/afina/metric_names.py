"""Every metric by name: what it is taken on, which way is better, whether it is a share.

Without imports, so that the recipe can read it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# labels: what was said; alarm: what was said about one label; likelihood: the loss of the right tokens;
# text: a written answer beside the right one.
Needs = Literal["labels", "alarm", "likelihood", "text"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        needs: what it is taken on.
        low: the least that it can be; high: the most; None without a bound.
        lower_is_better: which way is better.
    """

    needs: Needs
    low: float | None = 0.0
    high: float | None = 1.0
    lower_is_better: bool = False


METRICS: dict[str, Metric] = {
    "macro_f1": Metric("labels"),
    "micro_f1": Metric("labels"),
    "accuracy": Metric("labels"),
    "mcc": Metric("labels", low=-1.0),
    "calibration_error": Metric("labels", lower_is_better=True),
    "auc": Metric("alarm"),
    "recall": Metric("alarm"),
    "precision": Metric("alarm"),
    "false_positive_rate": Metric("alarm", lower_is_better=True),
    "recall_at_1_fpr": Metric("alarm"),
    "perplexity": Metric("likelihood", low=1.0, high=None, lower_is_better=True),
    "bits_per_byte": Metric("likelihood", high=None, lower_is_better=True),
    "exact_match": Metric("text"),
    "rouge1": Metric("text"),
    "rouge2": Metric("text"),
    "rouge_l": Metric("text"),
    "bleu": Metric("text", high=100.0),
    "chrf": Metric("text", high=100.0),
}


def names(*needs: Needs) -> tuple[str, ...]:
    """The metrics that are taken on one of these."""
    return tuple(name for name, metric in METRICS.items() if metric.needs in needs)


def is_share(name: str) -> bool:
    """Whether it lies between 0 and 1; so does a metric that is not known here."""
    metric = METRICS.get(name)
    return metric is None or (metric.low, metric.high) == (0.0, 1.0)


# What `evaluate.metrics: auto` takes; with one label a row micro-F1 is the accuracy. Perplexity is of a
# classifier with a head of tokens.
_AUTO_LABELS = tuple(name for name in names("labels", "alarm") if name != "micro_f1")
LIKELIHOOD_METRICS = names("likelihood")
AUTO_METRICS = {
    "classify": (*_AUTO_LABELS, "perplexity"),
    "generate": LIKELIHOOD_METRICS,
    "text": LIKELIHOOD_METRICS,
}
LOWER_IS_BETTER = frozenset(name for name, metric in METRICS.items() if metric.lower_is_better)
# Shares of rows, with a score interval where rows stand alone.
SHARES = frozenset({"accuracy", "micro_f1", "recall", "precision", "false_positive_rate", "exact_match"})
# What evaluate.swaps changes in texts, and what the gate can limit of it: no metric of a set's own rows.
SWAPS = ("names", "countries", "address")
SWAP_FLIPS = "swap_flips"
# The figure of a test suite, for the gate: its set is the suite's name.
SUITE_SCORE = "suite_score"
# The metrics that rank models: the first that was measured. Rates that a model reaches by always saying
# the same, and the one about confidence alone, come last.
_ALONE = ("recall", "precision", "false_positive_rate", "calibration_error")
RANKING = (*(name for name in METRICS if name not in _ALONE), *_ALONE)
