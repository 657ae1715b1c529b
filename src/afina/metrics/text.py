"""Metrics of written answers beside the right ones, by the reference libraries: rouge-score, sacrebleu.

BLEU and chrF are of a whole set: they are computed from sums of counts by row, so that a bootstrap need
not read a text twice.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from afina.errors import MissingExtra
from afina.language import _

Array = np.ndarray[Any, np.dtype[Any]]
ROUGE = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_l": "rougeL"}


def exact_match(answer: str, wanted: str) -> bool:
    """Whether both are the same but for case, spaces and the form of accents (NFC)."""
    return _plain(answer) == _plain(wanted)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


class _Words:
    """Runs of letters and digits of any script. On plain English as rouge-score's own, which knows a to
    z only and so takes "niño" for "ni" and "o"."""

    def tokenize(self, text: str) -> list[str]:
        kept = (c if c.isalnum() else " " for c in unicodedata.normalize("NFC", text).casefold())
        return "".join(kept).split()


def rouge(answers: Sequence[str], wanted: Sequence[str]) -> dict[str, Array]:
    """F-measures of ROUGE-1, -2 and -L (Lin 2004) by row, without stemming; each [rows].

    Raises:
        MissingExtra: without rouge-score.
    """
    try:
        from rouge_score import rouge_scorer
    except ImportError:
        raise _missing("ROUGE", "rouge-score") from None
    scorer = rouge_scorer.RougeScorer(list(ROUGE.values()), tokenizer=_Words())
    found = [scorer.score(right, said) for said, right in zip(answers, wanted, strict=True)]
    return {name: np.array([row[kind].fmeasure for row in found]) for name, kind in ROUGE.items()}


def bleu_counts(answers: Sequence[str], wanted: Sequence[str]) -> Array:
    """What corpus BLEU needs of each row; [rows, 10]: lengths of answer and reference, matches and
    totals of 1- to 4-grams, by sacrebleu with its 13a tokenizer.

    Raises:
        MissingExtra: without sacrebleu.
    """
    return _counts(_sacrebleu().BLEU(), answers, wanted, 10)


def chrf_counts(answers: Sequence[str], wanted: Sequence[str]) -> Array:
    """What corpus chrF needs of each row; [rows, 18]: 6 orders of answer, reference and matches."""
    return _counts(_sacrebleu().CHRF(), answers, wanted, 18)


def bleu(counts: Array) -> float:
    """Corpus BLEU of rows (Papineni et al. 2002; Post 2018), 0 to 100."""
    return _of_sums(_sacrebleu().BLEU(), counts)


def chrf(counts: Array) -> float:
    """Corpus chrF of rows (Popović 2015), 0 to 100."""
    return _of_sums(_sacrebleu().CHRF(), counts)


def require(wanted: Sequence[str]) -> None:
    """Raises MissingExtra when a library that these metrics need is not installed."""
    if any(name in ROUGE for name in wanted):
        rouge([], [])
    if {"bleu", "chrf"} & set(wanted):
        _sacrebleu()


def _missing(metric: str, package: str) -> MissingExtra:
    return MissingExtra(
        _("{metric} needs {package}").format(metric=metric, package=package),
        where="evaluate.metrics",
        fix=_("pip install 'afina[evaluate]', or leave it out"),
    )


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise _missing("BLEU", "sacrebleu") from None
    return metrics


def _counts(metric: Any, answers: Sequence[str], wanted: Sequence[str], width: int) -> Array:
    # sacrebleu has no public way to counts by row; its own significance tests use these two.
    rows = metric._extract_corpus_statistics(list(answers), [list(wanted)])
    return np.array(rows, dtype=float).reshape(len(answers), width)


def _of_sums(metric: Any, counts: Array) -> float:
    return float(metric._compute_score_from_stats(counts.sum(axis=0).tolist()).score)
