"""The common check of any export against the run's own model; what differs too much is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.errors import AfinaError
from afina.exports.agreement import share_interval
from afina.exports.asked import ENOUGH, Asked, Said
from afina.inference.engine import decide
from afina.inference.settings import InferenceSettings
from afina.language import _
from afina.metrics.calibration import softmax
from afina.metrics.labels import accuracy, macro_f1
from afina.metrics.statistics import bootstrap, group_count, wilson
from afina.metrics.statistics import compare as compare_answers

Array = np.ndarray[Any, np.dtype[Any]]
AGREEMENT_SCHEMA = "afina/agreement/1"


@dataclass(frozen=True)
class Tolerance:
    """What an export may differ by.

    Attributes:
        top1: the least share of places with the same likeliest token; of rows with the same label, for
            a pooled head. rise: of perplexity, at most; None: whatever it does.
    """

    top1: float
    rise: float | None


# By the bits of a weight. Full precision rounds to 6e-8: its perplexity moves in the sixth digit.
TOLERANCES = {
    32: Tolerance(0.995, 0.001),
    16: Tolerance(0.995, None),
    8: Tolerance(0.97, 0.01),
    4: Tolerance(0.90, 0.06),
}


def agreement(
    own: Said, export: Said, asked: Asked, settings: InferenceSettings, seed: int, bits: int
) -> dict[str, Any]:
    """How an export differs from the run's own model; the value of agreement.json.

    The task metrics are accuracy and macro-F1 of the labels that are said with the release's temperature
    and threshold; a model that says no labels is judged by its next tokens and perplexity alone. A model
    that is read by a pooled head is judged by its labels, which must agree as the next tokens of another
    model must: the words that it would write are nobody's, and are only told (their
    limits are None; `told` has what would be beyond them).

    Args:
        own: what the run's own model said. export: the export's answers to the same prompts.
        bits: of the export's weights; decides the tolerance.
    """
    limit = TOLERANCES[bits]
    top1, rise = _top1(own, export, seed), _perplexity(own, export, seed)
    task: list[dict[str, Any]] = []
    labels = None
    if own.labels is not None and export.labels is not None:
        task = task_figures(own.labels, export.labels, asked.truth, asked.groups, settings, seed)
        labels = label_figures(own.labels, export.labels, settings)
    pooled = asked.head is not None and labels is not None
    told = _faults({**top1, "least": limit.top1}, {**rise, "most": limit.rise}, None) if pooled else []
    top1 |= {"least": None if pooled else limit.top1}
    rise |= {"most": None if pooled else limit.rise}
    if labels is not None:
        labels |= {"least": limit.top1 if pooled else None}
    faults = [*_faults(top1, rise, labels), *lower(task)]
    return {
        "schema": AGREEMENT_SCHEMA,
        "bits": bits,
        "prompts": len(asked.prompts),
        "enough_prompts": len(asked.prompts) >= ENOUGH,
        "top1": top1,
        "perplexity": rise,
        "task": task,
        "labels": labels,
        "told": told,
        "faults": faults,
        "passed": not faults,
    }


def _faults(top1: dict[str, Any], rise: dict[str, Any], labels: dict[str, Any] | None) -> list[str]:
    """The figures that are beyond their limits, in words."""
    faults = []
    if top1["least"] is not None and not top1["share"] >= top1["least"]:
        faults.append(
            _(
                "the same likeliest token at {share:.2%} of places; at least {least:.1%} is asked for"
            ).format(share=top1["share"], least=top1["least"])
        )
    if rise["most"] is not None and not rise["rise"] <= rise["most"]:
        faults.append(
            _("perplexity rises by {rise:.2%}; at most {most:.1%} is let through").format(
                rise=rise["rise"], most=rise["most"]
            )
        )
    if labels is not None and labels["least"] is not None and not labels["share"] >= labels["least"]:
        faults.append(
            _("the run's own label for {share:.2%} of rows; at least {least:.1%} is asked for").format(
                share=labels["share"], least=labels["least"]
            )
        )
    return faults


def lower(task: list[dict[str, Any]]) -> list[str]:
    """The task metrics that are shown to be lower than the run's own, in words."""
    return [
        _("{metric} is lower by {loss:.3f} (95 % interval {low:.3f} to {high:.3f})").format(
            metric=line["metric"], loss=-line["difference"], low=line["ci95"][0], high=line["ci95"][1]
        )
        for line in task
        if line["ci95"][1] is not None and line["ci95"][1] < 0
    ]


def require_agreement(found: dict[str, Any], fix: str) -> None:
    """Refuses an export above tolerance.

    Raises:
        AfinaError: names each figure and its limit.
    """
    if found["passed"]:
        return
    raise AfinaError(
        _("this export differs from the run's own model, so nothing was kept: {faults}").format(
            faults="; ".join(found["faults"])
        ),
        fix=fix,
    )


def top1_share(one: Said, other: Said) -> float:
    """Share of places at which two models find the same next token likeliest."""
    hits = sum(int((a == b).sum()) for a, b in zip(one.likeliest, other.likeliest, strict=True))
    return hits / max(1, sum(map(len, one.likeliest)))


def _top1(own: Said, export: Said, seed: int) -> dict[str, Any]:
    same = np.array([int((a == b).sum()) for a, b in zip(own.likeliest, export.likeliest, strict=True)])
    lengths = np.array([len(row) for row in own.likeliest])
    hits, places = int(same.sum()), int(lengths.sum())
    interval = share_interval(same, lengths, seed)
    return {
        "agreeing": hits,
        "places": places,
        "share": hits / max(1, places),
        "ci95": [interval.low, interval.high],
        "method": interval.method,
    }


def _perplexity(own: Said, export: Said, seed: int) -> dict[str, Any]:
    """Both perplexities and the rise from one to the other, paired by prompt."""
    count = int(own.counts.sum())

    def rise(rows: Any) -> float:
        return math.expm1(
            float((export.losses[rows] - own.losses[rows]).sum()) / max(1, own.counts[rows].sum())
        )

    everything = np.arange(len(own.losses))
    interval = bootstrap(rise, len(everything), None, seed)
    return {
        "own": math.exp(float(own.losses.sum()) / max(1, count)),
        "export": math.exp(float(export.losses.sum()) / max(1, count)),
        "tokens": count,
        "rise": rise(everything),
        "ci95": [_number(interval.low), _number(interval.high)],
        "method": interval.method,
    }


def task_figures(
    own: Array, export: Array, truth: Array, groups: Array | None, settings: InferenceSettings, seed: int
) -> list[dict[str, Any]]:
    """Accuracy and macro-F1 of both, and the paired difference, export minus own.

    Args:
        own, export: label logits before the temperature; [rows, labels]. truth: label codes; [rows].
    """
    before, after = (_decided(labels, settings) for labels in (own, export))
    width = len(settings.labels)
    lines = []
    for name in ("accuracy", "macro_f1"):

        def metric(said: Any, rows: Any, name: str = name) -> float:
            if name == "accuracy":
                return accuracy(truth[rows], said[rows])
            return macro_f1(truth[rows], said[rows], width)

        right = (after == truth, before == truth) if name == "accuracy" else None
        found = compare_answers(metric, after, before, groups, seed, right)
        everything = np.arange(len(truth))
        lines.append(
            {
                "metric": name,
                "own": metric(before, everything),
                "export": metric(after, everything),
                "n": len(truth),
                "groups": group_count(groups),
                "difference": found.difference,
                "ci95": [_number(found.interval.low), _number(found.interval.high)],
                "method": found.interval.method,
                "p_value": _number(found.p_value),
                "test": found.test,
            }
        )
    return lines


def label_figures(own: Array, export: Array, settings: InferenceSettings) -> dict[str, Any]:
    """How often both say the same label, and the largest difference of a probability.

    Args:
        own, export: label logits before the temperature; [rows, labels].
    """
    before, after = (softmax(labels, settings.temperature) for labels in (own, export))
    same = int((decide(settings, before) == decide(settings, after)).sum())
    interval = wilson(same, len(before))
    return {
        "agreeing": same,
        "n": len(before),
        "share": same / max(1, len(before)),
        "ci95": [interval.low, interval.high],
        "largest_probability_difference": float(np.abs(before - after).max()),
    }


def _decided(labels: Any, settings: InferenceSettings) -> Any:
    return decide(settings, softmax(labels, settings.temperature))


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
