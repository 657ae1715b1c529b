"""Curves, labels and false alarms on the page: what is in evaluation.json, in places and words."""

from __future__ import annotations

import re

from afina.reports.comparing import alarm_sentences
from afina.reports.figures import _comparison, _evaluation
from afina.reports.rates import label_rows, rate_drawings

FOUND = {
    "labels": ["no", "sí"],
    "positive": "sí",
    "results": [
        {"model": model, "set": "test", "metric": "macro_f1", "value": value}
        for model, value in (("tuned", 0.9), ("base", 0.5))
    ],
    "curves": [
        {
            "model": model,
            "set": "test",
            "roc": [[0, 0], [0.08, 0.8], [1, 1]],
            "precision_recall": [[0.5, 1], [1, 0.5]],
        }
        for model in ("base", "tuned")
    ],
    "by_label": [
        {
            "model": "tuned",
            "set": "test",
            "labels": {
                "no": {"precision": 1.0, "recall": 0.5, "f1": 0.667, "rows": 4},
                "sí": {"precision": None, "recall": 0.0, "f1": 0.0, "rows": 2},
            },
        }
    ],
    "reliability": [
        {"model": "tuned", "set": "test", "bins": [{"confidence": 0.75, "right": 0.5, "rows": 6}]}
    ],
    "false_alarms": [
        {
            "a": "tuned", "b": "base", "set": "test", "recall": 0.9, "rate_a": 0.02, "rate_b": 0.05,
            "relative_change": -0.6, "ci95": [-0.8, 0.1], "method": "row bootstrap", "n": 400,
        }
    ],
}  # fmt: skip


def test_each_model_has_its_line_and_the_best_is_drawn_last() -> None:
    roc, precision, reliability = rate_drawings(_evaluation(FOUND, "classify"), "test", "en")
    lines = re.findall(r'class="rate m-(\w+)"[^>]*points="([^"]*)"', str(roc.svg))
    assert [model for model, _points in lines] == ["base", "tuned"]
    assert lines[1][1] == "0.0,1000.0 80.0,200.0 1000.0,0.0"
    assert "Tuned model: 80.0% at 8.0%" in str(roc.svg)
    assert "sí" in precision.note
    assert 'cx="75.00%" cy="50.00%"' in str(reliability.svg)


def test_labels_in_their_order_with_what_is_undefined_left_open() -> None:
    rows = label_rows(_evaluation(FOUND, "classify"), "test")
    assert [(row.label, row.model, row.precision, row.rows) for row in rows] == [
        ("no", "tuned", 1.0, 4),
        ("sí", "tuned", None, 2),
    ]


def test_false_alarms_in_a_sentence_that_says_when_it_may_be_chance() -> None:
    (sentence,) = alarm_sentences(_evaluation(FOUND, "classify"), "test", "en")
    assert sentence == (
        "When both find 90.0%, the tuned model raises a false alarm on 2.0% and the base model on "
        "5.0% of 400 rows without the label. A change of -60 % (95% interval -80 % to +10 %). That may "
        "be chance."
    )
    assert alarm_sentences(_evaluation(FOUND, "classify"), "other", "en") == []


def test_an_evaluation_of_an_earlier_version_has_none_of_it() -> None:
    old = {name: value for name, value in FOUND.items() if name in ("labels", "positive", "results")}
    evaluation = _evaluation(old, "classify")
    assert rate_drawings(evaluation, "test", "es") == []
    assert label_rows(evaluation, "test") == []
    assert alarm_sentences(evaluation, "test", "es") == []


def test_the_words_follow_the_corrected_p() -> None:
    line = {"a": "tuned", "b": "base", "set": "test", "metric": "macro_f1", "difference": 0.1}
    line |= {"ci95": [0.01, 0.2], "p_value": 0.03}
    assert _comparison(line).better() is True
    assert _comparison({**line, "p_holm": 0.12}).better() is None
    assert _comparison({**line, "p_holm": 0.04}).better() is True
