"""The verdict says what the numbers say, the uncomfortable part first."""

from __future__ import annotations

from pathlib import Path

import pytest

from afina.reports.figures import collect
from afina.reports.gate_words import rows_would_decide
from afina.reports.verdict import BAD, GOOD, WARN, Verdict, build_verdict
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

from . import fake_run


def with_macro_f1(folder: Path, **values: float) -> Run:
    changed = {model: {**found} for model, found in fake_run.VALUES.items()}
    for model, value in values.items():
        changed[model]["macro_f1"] = value
    return fake_run.classify_run(folder, changed)


def verdict_of(run: Run) -> Verdict:
    return build_verdict(collect(run), "en")


def test_a_baseline_that_wins_is_said_first(tmp_path: Path) -> None:
    headline = verdict_of(with_macro_f1(tmp_path, tfidf=0.96)).headline
    assert headline.tone == BAD
    assert headline.text.startswith(
        "A simpler model beats the tuned one on the test set: TF-IDF with logistic regression"
    )
    assert "0.960" in headline.text
    assert "0.871" in headline.text
    assert "larger than chance" in headline.text


def test_a_probe_that_wins_by_chance_is_said_to(tmp_path: Path) -> None:
    headline = verdict_of(with_macro_f1(tmp_path, probe=0.88)).headline
    assert headline.tone == WARN
    assert "the linear probe has a macro F1 of 0.880" in headline.text
    assert "may be chance" in headline.text


def test_a_base_that_wins_is_no_success(tmp_path: Path) -> None:
    found = verdict_of(with_macro_f1(tmp_path, base=0.99))
    assert found.headline.tone == BAD
    assert found.headline.text.startswith("Tuning did not help")
    assert found.statements[-1].tone == BAD


def test_a_tie_is_no_win(tmp_path: Path) -> None:
    found = verdict_of(with_macro_f1(tmp_path, tfidf=0.871))
    said = " ".join([found.headline.text, *(statement.text for statement in found.statements)])
    assert "only equals TF-IDF" in said
    assert "is the best" not in said


def test_gain_has_its_interval_rows_and_groups(tmp_path: Path) -> None:
    gain = verdict_of(fake_run.classify_run(tmp_path)).statements[-1]
    assert gain.tone == GOOD
    assert "+0.315, 95% interval 0.265 to 0.365, measured on 170 rows in 7 groups" in gain.text


def test_lower_perplexity_is_better(tmp_path: Path) -> None:
    found = verdict_of(fake_run.generate_run(tmp_path))
    assert found.headline.tone == GOOD
    assert found.headline.text.startswith("The tuned model is the best on the test set: perplexity 6.20")


def test_unknowns_name_size_groups_origin_part_and_overlap(tmp_path: Path) -> None:
    unknown = "\n".join(verdict_of(fake_run.classify_run(tmp_path)).unknown)
    for part in (
        "written by a machine",
        "only 170 rows: a difference in macro F1 smaller than about 0.061",
        "only 7 groups",
        "534 of 1,350 training rows",
        "2 rows of the set “sms” are in the training data too",
        "Undecided: False-positive rate of the tuned model, set “test”, at most 0.05. About 1,480 rows",
        "one seed (13)",
    ):
        assert part in unknown


@pytest.mark.parametrize(
    ("passed", "verdicts", "tone", "text"),
    [
        (True, ["pass", "pass"], GOOD, "The gate passes: all 2 limits are kept."),
        (True, ["pass"], GOOD, "The gate passes: its one limit is kept."),
        (True, ["pass", "undecided"], WARN, "The gate passes, but not everything is proved"),
        (False, ["fail", "undecided"], BAD, "of 2 limits, 1 broken and 1 undecided"),
        (False, ["undecided"], BAD, "of 1 limits, 0 broken and 1 undecided"),
    ],
)
def test_gate(tmp_path: Path, passed: bool, verdicts: list[str], tone: str, text: str) -> None:
    run = fake_run.classify_run(tmp_path)
    gate = read_json(run.path("gate.json"))
    checks = [{**gate["checks"][0], "verdict": verdict} for verdict in verdicts]
    write_json(run.path("gate.json"), {**gate, "passed": passed, "checks": checks})
    headline = verdict_of(run).headline
    assert headline.tone == tone
    assert text in headline.text


def test_null_values_are_no_crash_and_no_claim(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    found = read_json(run.path("evaluation.json"))
    for line in found["results"]:
        line["ci95"] = [None, None]
        if line["model"] == "base":
            line["value"] = None
    for line in found["comparisons"]:
        line.update(difference=None, ci95=[None, None], p_value=None)
    write_json(run.path("evaluation.json"), found)
    said = verdict_of(run)
    text = " ".join([said.headline.text, *(statement.text for statement in said.statements)])
    assert "was not tested" in text
    assert "From the base model" not in text


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("false_positive_rate", "About 255 rows that are no alarm would decide it."),
        ("recall", "About 255 rows that are an alarm would decide it."),
        ("precision", "About 255 rows that the model gives an alarm for would decide it."),
        ("accuracy", "About 255 rows would decide it."),
    ],
)
def test_the_rows_that_a_limit_needs_are_those_that_its_metric_counts(metric: str, words: str) -> None:
    assert rows_would_decide(metric, 255, "en") == words


def test_many_rows_that_were_cut_are_said(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    assert not any("were cut" in text for text in verdict_of(run).unknown)  # 13 of 534 rows
    value = fake_run.audit()
    value["splits"]["train"]["cut_rows"] = 270
    write_json(run.path("data/audit.json"), value)
    assert any("270 of 534 training rows were longer" in text for text in verdict_of(run).unknown)
