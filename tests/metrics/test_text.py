"""Metrics of written answers against the libraries that papers use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.metrics import text as mine

sacrebleu = pytest.importorskip("sacrebleu")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

ENGLISH = st.lists(st.text("abcxyz019 .,'-%$", max_size=8), max_size=12).map(" ".join)
WORDS = st.sampled_from(["the", "cat", "on", "a", "mat.", "niño", "¿qué", "pasó,", "12,5", "%"])
SENTENCES = st.lists(WORDS, max_size=12).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_bleu_and_chrf_are_those_of_sacrebleu(pairs) -> None:
    answers, wanted = (list(column) for column in zip(*pairs, strict=True))
    assert mine.bleu(mine.bleu_counts(answers, wanted)) == pytest.approx(
        sacrebleu.corpus_bleu(answers, [wanted]).score, abs=1e-6
    )
    assert mine.chrf(mine.chrf_counts(answers, wanted)) == pytest.approx(
        sacrebleu.corpus_chrf(answers, [wanted]).score, abs=1e-6
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ENGLISH, ENGLISH), min_size=1, max_size=8))
def test_rouge_of_english_is_that_of_rouge_score(pairs) -> None:
    answers, wanted = (list(column) for column in zip(*pairs, strict=True))
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = mine.rouge(answers, wanted)
    for row, (said, right) in enumerate(pairs):
        one = scorer.score(right, said)
        assert found["rouge1"][row] == pytest.approx(one["rouge1"].fmeasure, abs=1e-6)
        assert found["rouge2"][row] == pytest.approx(one["rouge2"].fmeasure, abs=1e-6)
        assert found["rouge_l"][row] == pytest.approx(one["rougeL"].fmeasure, abs=1e-6)


def test_known_values_of_rouge() -> None:
    # 3 of 4 and of 5 words: 2 · .75 · .6 / 1.35. One of 3 and of 4 pairs. In order only "a c".
    found = mine.rouge(["b a c x"], ["a c d b e"])
    np.testing.assert_allclose([found["rouge1"][0], found["rouge2"][0]], [2 / 3, 2 / 7])
    assert found["rouge_l"][0] == pytest.approx(2 * (2 / 4) * (2 / 5) / (2 / 4 + 2 / 5))


def test_accented_words_are_whole() -> None:
    plain = rouge_scorer.RougeScorer(["rouge1"])
    assert plain.score("ni o", "niño")["rouge1"].fmeasure == 1
    assert mine.rouge(["niño"], ["ni o"])["rouge1"][0] == 0
    assert mine.rouge(["el niño"], ["El NIÑO"])["rouge1"][0] == 1


@pytest.mark.parametrize(
    ("answer", "wanted", "same"),
    [
        ("Bogotá ", "bogotá", True),
        ("Bogota\u0301", "Bogotá", True),
        ("Bogota", "Bogotá", False),
        ("a  b\n", "A B", True),
        ("", "x", False),
    ],
)
def test_exact_match(answer, wanted, same) -> None:
    assert mine.exact_match(answer, wanted) == same
