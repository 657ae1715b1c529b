"""What is said of the prompted base, of fewer bits and of other runs: never more than is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from afina.cli.figures import figure_lines
from afina.reports.beside import beside_statements, prompt_rows, unseen_sentences
from afina.reports.figures import Evaluation, collect
from afina.reports.page import write_report
from afina.reports.verdict import build_verdict
from afina.reports.words import model_kind, model_name
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

from . import fake_run
from .test_terminal_figures import result_of

PROMPT = {
    "name": "four",
    "chosen": True,
    "instruction": "Which label?\n- phishing: <asks>",
    "answer_instruction": None,
    "reasoning_tokens": None,
    "shots": {"wanted": 4, "used": 3, "shortened": 1, "rows": [], "labels": []},
    "rows": 60,
    "rows_cut": 0,
    "metric": "macro_f1",
    "calibration": "contextual",
    "by_calibration": {"none": 0.5, "contextual": 0.7},
    "bias": {},
    "temperature": 1.0,
    "results": [
        {"metric": "macro_f1", "value": 0.7, "n": 60, "groups": None, "ci95": [0.58, 0.81], "method": ""}
    ],
}
PLAIN = {**PROMPT, "name": "plain", "chosen": False, "shots": None, "calibration": "none"}


def with_models(folder: Path, **values: float) -> Run:
    """A run whose tables hold further models, each with this macro-F1."""
    found = {name.replace("__", "@"): {"macro_f1": value} for name, value in values.items()}
    run = fake_run.classify_run(folder, {**fake_run.VALUES, **found})
    report = read_json(run.path("evaluation.json"))
    report["prompts"] = [PLAIN, PROMPT]
    report["compared"] = []
    write_json(run.path("evaluation.json"), report)
    return run


def evaluation_of(run: Run) -> Evaluation:
    found = collect(run).evaluation
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "tone", "said"),
    [
        (0.6, "good", "Training pays"),
        (0.86, "warn", "Training may not be needed"),
        (0.95, "bad", "Training did not pay"),
    ],
)
def test_whether_training_was_needed(tmp_path: Path, value: float, tone: str, said: str) -> None:
    [one] = beside_statements(evaluation_of(with_models(tmp_path, prompted=value)), "en")
    assert one.tone == tone
    assert one.text.startswith(said)
    assert "“four”" in one.text
    assert "95% interval" in one.text
    assert "on 170 rows" in one.text
    assert f"{fake_run.VALUES['tuned']['macro_f1'] - value:+.3f}".replace("-", "−") in one.text


def test_a_prompted_base_that_wins_is_the_headline(tmp_path: Path) -> None:
    verdict = build_verdict(collect(with_models(tmp_path, prompted=0.97)), "en")
    assert "the prompted base, without any training" in verdict.headline.text
    assert verdict.headline.tone == "bad"


def test_fewer_bits_never_beat_the_model_they_are(tmp_path: Path) -> None:
    run = with_models(tmp_path, tuned_8bit=0.99, tuned_4bit=0.7)
    said = beside_statements(evaluation_of(run), "en")
    assert [one.tone for one in said] == ["plain", "warn"]
    assert said[0].text.startswith("The tuned model in 8 bits: no loss is shown")
    assert "−0.171" in said[1].text  # what fewer bits have, minus what the model has
    assert "simpler model" not in build_verdict(collect(run), "en").headline.text


def test_an_earlier_release_is_called_by_its_name(tmp_path: Path) -> None:
    run = with_models(tmp_path, phishing__1=0.5)
    [one] = beside_statements(evaluation_of(run), "en")
    assert one.text.startswith("The tuned model is better than phishing@1")
    assert model_name("phishing@1", "en") == "phishing@1"
    better = with_models(tmp_path / "other", phishing__1=0.98)
    headline = build_verdict(collect(better), "en").headline
    assert "The model of another run beats the tuned one on the test set: phishing@1" in headline.text


def test_the_prompts_of_the_page(tmp_path: Path) -> None:
    run = with_models(tmp_path, prompted=0.86, tuned_4bit=0.8, phishing__1=0.8)
    plain, four = prompt_rows(evaluation_of(run), "en")
    assert (plain.shots, four.shots) == ("0", "3 of 4, 1 shortened")
    assert (plain.calibration, four.calibration) == ("none", "contextual, by texts without content")
    assert (four.value, four.ci95, four.n) == (0.7, (0.58, 0.81), 60)
    for language in ("en", "es"):
        page = write_report(run, language).read_text(encoding="utf-8")
        assert "- phishing: &lt;asks&gt;" in page
        assert 'class="m-prompted"' in page
        assert 'class="m-quantised"' in page
        assert 'class="m-other"' in page
        assert "phishing@1" in page
    assert {model_kind(name) for name in ("a@1", "tuned", "tuned_4bit")} == {
        *("other", "tuned", "quantised"),
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows_left_out": 30, "rows": 140, "measured": True}, "on 30 of the 170 rows"),
        ({"rows_left_out": 165, "rows": 5, "measured": False}, "it was not measured there"),
        ({"rows_left_out": 0, "rows": 170, "training_rows_known": False}, "is not known"),
        ({"rows_left_out": 0, "rows": 170}, None),
    ],
)
def test_rows_that_another_model_saw_are_said(tmp_path: Path, given: Any, said: str | None) -> None:
    run = with_models(tmp_path, old__1=0.8)
    report = read_json(run.path("evaluation.json"))
    note = {"model": "old@1", "run": "old@1", "set": "test", "measured": True}
    report["compared"] = [{**note, "training_rows_known": True, **given}]
    write_json(run.path("evaluation.json"), report)
    found = unseen_sentences(evaluation_of(run), "en")
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    assert found == [one for one in build_verdict(collect(run), "en").unknown if "old@1" in one]


def test_the_terminal_shows_prompts_and_every_model(tmp_path: Path) -> None:
    run = with_models(tmp_path, prompted=0.86, old__1=0.8)
    report = read_json(run.path("evaluation.json"))
    report["ranking"]["test"].remove("old@1")  # judged on a part of the rows
    write_json(run.path("evaluation.json"), report)
    lines = figure_lines(result_of(run))
    assert "prompts of the untrained base on 60 validation rows (macro_f1):" in lines
    assert "  four  0.700 [0.580, 0.810]  calibrated: contextual  ← chosen" in lines
    assert any(line.startswith("  old@1") for line in lines)
