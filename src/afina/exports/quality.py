"""How near an exported model is to the run's own: next tokens, perplexity, labels; what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.data.chat import Encoded
from afina.data.table import read_rows
from afina.errors import AfinaError
from afina.exports.agreement import ENOUGH, PROMPTS, Agreement, States, compare
from afina.inference.engine import Engine, decide
from afina.inference.head_loss import head_losses
from afina.language import _
from afina.metrics.calibration import softmax
from afina.metrics.labels import macro_f1
from afina.metrics.statistics import bootstrap, wilson
from afina.metrics.statistics import compare as paired
from afina.runs.folder import Run

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Tolerance:
    """What an export may differ by.

    Attributes:
        top1: least share of places with the same likeliest next token, given what the row says.
        perplexity: most that the perplexity may rise, as a share; None: whatever it does.
    """

    top1: float
    perplexity: float | None = None


TOLERANCES = {16: Tolerance(0.995), 8: Tolerance(0.97, 0.01), 4: Tolerance(0.90, 0.06)}


def token_losses(states: States, prompts: Sequence[Encoded]) -> Array:
    """Summed loss in nats of every token after the first, given what stands before it; [prompts]."""
    import torch

    sums = []
    with torch.no_grad():
        for row, prompt in zip(states.rows, prompts, strict=True):
            if len(prompt.ids) < 2:
                sums.append(0.0)
                continue
            goals = torch.tensor(prompt.ids[1:], device=states.head.weight.device)
            before = row[:-1].to(states.head.weight.device)
            sums.append(float(head_losses(states.head, before, goals).double().sum()))
    return np.array(sums)


def model_figures(own: States, other: States, prompts: Sequence[Encoded], seed: int) -> dict[str, Any]:
    """Agreement of the next tokens, and the rise of the perplexity with its paired interval.

    Args:
        own: of the run's own model. other: of the exported one.
    """
    found = compare(own, other, seed)
    counts = np.array([len(prompt.ids) - 1 for prompt in prompts])
    losses = token_losses(own, prompts), token_losses(other, prompts)
    total = max(1, int(counts.sum()))

    def rise(rows: Array) -> float:
        tokens = int(counts[rows].sum())
        if not tokens:
            return float("nan")
        return float(np.exp((losses[1][rows].sum() - losses[0][rows].sum()) / tokens) - 1)

    interval = bootstrap(rise, len(counts), None, seed)
    return {
        "prompts": found.prompts,
        "enough_prompts": found.prompts >= ENOUGH,
        "places": found.places,
        "largest_logit": found.largest_logit,
        "largest_difference": found.largest_difference,
        "relative_difference": found.relative,
        "top1": top1_figures(found),
        "perplexity": {
            "own": float(np.exp(losses[0].sum() / total)),
            "exported": float(np.exp(losses[1].sum() / total)),
            "rise": rise(np.arange(len(counts))),
            "ci95": [_or_none(interval.low), _or_none(interval.high)],
            "method": interval.method,
            "tokens": total,
        },
    }


def _or_none(value: float) -> float | None:
    """NaN has no place in JSON."""
    return value if np.isfinite(value) else None


def top1_figures(found: Agreement) -> dict[str, Any]:
    """The share of places with the same likeliest token, for JSON."""
    return {
        "agreeing": found.agreeing,
        "share": found.agreeing / found.places,
        "ci95": list(found.ci95),
        "method": found.method,
    }


def labelled_rows(run: Run) -> tuple[list[str], list[str]]:
    """Texts and labels that were not trained on, the test split's first; as many as are compared."""
    texts: list[str] = []
    labels: list[str] = []
    for split in ("test", "validation"):
        path = run.path(f"data/{split}.parquet")
        for row in read_rows(path) if path.exists() else []:
            if row.label is not None and len(texts) < PROMPTS:
                texts.append(row.text)
                labels.append(row.label)
    return texts, labels


def label_figures(
    engine: Engine, labels: Sequence[str], own: Array, other: Array, seed: int
) -> dict[str, Any]:
    """The task: how often both say the same label, and macro-F1 of both with a paired interval.

    Args:
        labels: the right ones. own, other: label logits of the run's model and of the exported one;
            [rows, labels].
    """
    settings = engine.settings
    truth = np.array([settings.labels.index(label) for label in labels])
    shares = [softmax(logits, settings.temperature) for logits in (own, other)]
    said = [decide(settings, share) for share in shares]
    same = int((said[0] == said[1]).sum())
    interval = wilson(same, len(truth))

    def metric(answers: Array, rows: Array) -> float:
        return macro_f1(truth[rows], answers[rows], len(settings.labels))

    found = paired(metric, said[1], said[0], None, seed)
    everything = np.arange(len(truth))
    return {
        "rows": len(truth),
        "agreeing": same,
        "ci95": [interval.low, interval.high],
        "largest_difference": float(np.abs(own - other).max()),
        "largest_probability_difference": float(np.abs(shares[0] - shares[1]).max()),
        "macro_f1": {
            "own": metric(said[0], everything),
            "exported": metric(said[1], everything),
            "difference": found.difference,
            "ci95": [_or_none(found.interval.low), _or_none(found.interval.high)],
            "method": found.interval.method,
        },
    }


def require_near(figures: dict[str, Any], bits: int, fix: str, pooled: bool = False) -> None:
    """Refuses an export that is further from the run's own model than its number of bits explains.

    Args:
        pooled: the model is read by a pooled head. Its answers are its labels, which must agree as the
            next tokens of another model must; the words that it would write are nobody's, and only told.
    Raises:
        AfinaError: names the figure that is out of bounds and its limit.
    """
    limit, rise = TOLERANCES[bits], figures["perplexity"]["rise"]
    labels = figures.get("labels")
    if pooled and labels:
        share = labels["agreeing"] / labels["rows"]
        what = _("the exported model says the run's own label for {share:.2%} of the rows only")
    else:
        share = figures["top1"]["share"]
        what = _("the exported model finds the same likeliest token at {share:.2%} of the places only")
    if share < limit.top1:
        asked = _("at {bits} bits at least {least:.1%} is asked for: nothing was kept")
        raise AfinaError(
            f"{what.format(share=share)}; {asked.format(bits=bits, least=limit.top1)}", fix=fix
        )
    if not pooled and limit.perplexity is not None and not rise <= limit.perplexity:
        raise AfinaError(
            _(
                "the exported model's perplexity is {rise:.1%} higher than the run's own; at {bits} "
                "bits at most {most:.1%} is allowed: nothing was kept"
            ).format(rise=rise, bits=bits, most=limit.perplexity),
            fix=fix,
        )
    require_no_worse(labels, fix)


def require_no_worse(labels: dict[str, Any] | None, fix: str) -> None:
    """Refuses an export whose macro-F1 is lower than the run's own by more than chance explains."""
    if not labels:
        return
    score = labels["macro_f1"]
    high = score["ci95"][1]
    if score["difference"] < 0 and high is not None and high < 0:
        raise AfinaError(
            _(
                "the exported model's macro-F1 is {value:.3f}, the run's own {own:.3f}: the interval of "
                "the difference leaves out zero, so nothing was kept"
            ).format(value=score["exported"], own=score["own"]),
            fix=fix,
        )
