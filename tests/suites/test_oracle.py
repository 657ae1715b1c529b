"""Whoever answers every row right must score 1.0 on every task.

What is right is said here again, from the tasks' papers, and not taken from the harness: its own MultiRC
fails this.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.model import LM

from afina.recipe_file import parse_recipe
from afina.suites import ask as asking
from afina.suites import harness_model
from afina.suites.catalogue import TASKS, entries_of, full_name, official
from afina.suites.scores import KINDS
from afina.suites.tasks import load_tasks
from tests.suites.small_rows import write_small_rows

YES_NO = ("no", "yes")
RIGHT: dict[str, Any] = {
    **dict.fromkeys(("cola", "mrpc", "qqp", "boolq", "multirc", "wic", "wsc"), YES_NO),
    "sst2": ("negative", "positive"),
    **dict.fromkeys(("mnli_matched", "mnli_mismatched"), ("True", "Neither", "False")),
    "qnli": ("yes", "no"),  # 0 is entailment
    **dict.fromkeys(("rte", "axb", "axg"), ("True", "False")),  # 0 is entailment
    "wnli": ("False", "True"),
    "cb": ("True", "False", "Neither"),  # entailment, contradiction, neutral
}


def right_continuation(task: str, document: dict[str, Any]) -> str:
    """The continuation that a person would call right."""
    name = task.split("/")[-1]
    if name == "stsb":
        raise AssertionError("a likelihood for each step: see similarity()")
    if name == "copa":
        chosen = str(document["choice2" if document["label"] else "choice1"])
        return " " + chosen[0].lower() + chosen[1:]
    if name == "record":
        return "  - " + document["query"].replace("@placeholder", document["answers"][0])
    if name == "xnli_es":
        joint = (", correcto? Sí, ", ", correcto? Asi que, ", ", correcto? No, ")[document["label"]]
        return str(document["premise"] + joint + document["hypothesis"])
    return str(RIGHT[name][document["label"]])


def similarity(value: float, step: float) -> float:
    """Likelihoods of the two steps around a value, so that their mean is the value."""
    near = 1 - abs(value - step)
    return math.log(near) if near > 0 else -60.0


class Oracle(LM):  # type: ignore[misc]
    """Knows the row that is asked about, and finds its right continuation the likeliest."""

    task = ""

    def __init__(self, *_given: Any) -> None:
        super().__init__()
        self.cut = 0

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Any]:
        """0 for what is right, -20 for the rest."""
        return [self._score(request.doc, request.args[1]) for request in requests]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Not asked."""
        raise NotImplementedError

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Not asked."""
        raise NotImplementedError

    def _score(self, document: dict[str, Any], continuation: str) -> tuple[float, bool]:
        if self.task.endswith("stsb"):
            return similarity(float(document["label"]), float(continuation)), False
        right = right_continuation(self.task, document).strip()
        return (0.0, True) if continuation.strip() == right else (-20.0, False)


def score_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """Every metric of every task, answered by the oracle."""
    recipe = parse_recipe(
        "name: a\ndata: {train: x.csv}\n"
        f"evaluate: {{suites: {{tasks: [glue, superglue, xnli_es], data: '{folder}', rows: null}}}}",
        "recipe.yaml",
    )
    monkeypatch.setattr(harness_model, "HarnessModel", Oracle)
    scores = {}
    for task in load_tasks(None, recipe):  # type: ignore[arg-type]
        Oracle.task = task.name
        settings = recipe.evaluate.suites
        asked = asking.ask(task, list(range(task.rows)), None, None, settings, 13, lambda: None)
        scores[task.name] = {
            metric: KINDS[kind](np.array(asked.answers[metric])) for metric, kind in asked.kinds.items()
        }
        for metric, value in asked.reported.items():  # and the harness says the same
            if (task.name, metric) not in DIFFERENTLY and asked.kinds.get(metric):
                assert scores[task.name][metric] == pytest.approx(value, abs=1e-6), task.name
    return scores


# What the harness only carries; its figure is made in scores.py.
DIFFERENTLY = {
    ("glue/stsb", "pearson"),
    ("glue/stsb", "spearman"),
    ("superglue/multirc", "f1a"),
    ("superglue/multirc", "em"),
    ("superglue/axb", "mcc"),
    ("superglue/axg", "parity"),
}


def check(scores: dict[str, dict[str, float]]) -> None:
    """All of them 1, but the pairs whose two rows have different labels, which AX-g has none of."""
    for entry in TASKS:
        assert scores[full_name(entry)] == pytest.approx(dict.fromkeys(entry.metrics, 1.0), abs=1e-6)
    assert official("glue", scores) == pytest.approx(1)
    assert official("superglue", scores) == pytest.approx(1)


def test_right_answers_score_one_on_every_task(tmp_path, monkeypatch):
    check(score_all(write_small_rows(tmp_path), monkeypatch))


@pytest.mark.data
def test_right_answers_score_one_on_the_real_rows(shared_data, monkeypatch):
    check(score_all(shared_data, monkeypatch))


def test_no_task_of_a_suite_is_missing():
    assert len(entries_of("glue")) == 10  # nine, MNLI's two sets apart
    assert len(entries_of("superglue")) == 10  # eight and two diagnostics
