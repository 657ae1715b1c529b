"""The figures of a run on a terminal: what is claimed of a test set, and an empty gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from afina.api import RunResult
from afina.cli.figures import figure_lines, gate_lines, verdict_lines
from afina.language import choose
from afina.reports.comparing import p_text
from afina.reports.figures import collect
from afina.reports.gate_words import check_rows
from afina.reports.verdict import build_verdict
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

from . import fake_run


def result_of(run: Run) -> RunResult:
    def read(name: str) -> dict[str, Any]:
        return dict(read_json(run.path(name)))

    return RunResult(
        name="x", number=1, folder=run.root, did_work=True, passed=None,
        evaluation=read("evaluation.json"), audit=read("data/audit.json"), training={},
        report=None, release=run.path("release"),
    )  # fmt: skip


def with_groups(run: Run, **groups: int | None) -> Run:
    found = read_json(run.path("evaluation.json"))
    for name, count in groups.items():
        found["sets"][name]["groups"] = count
    write_json(run.path("evaluation.json"), found)
    return run


def test_only_the_own_test_is_said_to_be_of_groups_never_trained_on(tmp_path: Path) -> None:
    run = with_groups(fake_run.classify_run(tmp_path), test=7, sms=12)
    lines = figure_lines(result_of(run))
    assert "test (170 rows in 7 groups never trained on): best is tuned" in lines
    assert "sms (60 rows in 12 groups): best is tuned" in lines
    warned = [line for line in lines if "in the training data too" in line]
    assert warned == [
        "  2 rows of the set “sms” are in the training data too: its numbers are too good."
    ]


def test_no_overlap_is_not_mentioned(tmp_path: Path) -> None:
    run = with_groups(fake_run.classify_run(tmp_path), test=None, sms=1)
    found = read_json(run.path("data/audit.json"))
    found["test_sets"]["sms"]["rows_also_in_training"] = 0
    write_json(run.path("data/audit.json"), found)
    text = "\n".join(figure_lines(result_of(run)))
    assert "training data too" not in text
    assert "sms (60 rows in one group): best" in text
    assert "test (170 rows): best" in text


def test_an_empty_gate_says_that_nothing_was_required(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    write_json(run.path("gate.json"), {"schema": "afina/gate/1", "passed": True, "checks": []})
    assert gate_lines(result_of(run)) == ["gate: no limits in the recipe; nothing was required"]
    run.path("gate.json").unlink()
    assert gate_lines(result_of(run)) == []


def test_the_gate_is_said_in_the_language_in_use_whichever_it_was_decided_in(tmp_path: Path) -> None:
    result = result_of(fake_run.classify_run(tmp_path))
    english = gate_lines(result)
    assert english[0].startswith("gate: ")
    choose("es")
    spanish = gate_lines(result)
    assert len(spanish) == len(english)
    assert all(line.startswith("control: ") for line in spanish)
    for word in (" of ", "limit", "interval keeps", "at most", "at least"):
        assert word not in "\n".join(spanish)


def test_the_verdict_in_plain_words_is_the_reports(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    said = build_verdict(collect(run), "en")
    lines = verdict_lines(result_of(run))
    assert lines == [said.headline.text, *(one.text for one in said.statements), ""]
    choose("es")
    assert verdict_lines(result_of(run)) != lines


def test_one_group_is_said_in_what_is_not_known_and_in_the_gate(tmp_path: Path) -> None:
    run = with_groups(fake_run.classify_run(tmp_path), test=1)
    found = read_json(run.path("gate.json"))
    found["checks"][1]["groups"] = 1
    write_json(run.path("gate.json"), found)
    figures = collect(run)
    unknown = "\n".join(build_verdict(figures, "en").unknown)
    assert "All rows of “test” are of one group. They say nothing about other groups" in unknown
    assert "from only" not in unknown
    rows = check_rows(figures.gate, figures.recipe.gate, "en")
    assert rows[1].why == "All rows are of one group: they say nothing about other groups."


def test_what_could_be_seen_is_left_out_where_it_is_not_known(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    found = read_json(run.path("evaluation.json"))
    for line in found["comparisons"]:
        line["minimum_detectable"] = None
    write_json(run.path("evaluation.json"), found)
    unknown = "\n".join(build_verdict(collect(run), "en").unknown)
    assert "only 170 rows: small differences cannot be seen in it." in unknown
    assert "smaller than about" not in unknown


def test_a_share_has_no_difference_above_one(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    found = read_json(run.path("evaluation.json"))
    for line in found["comparisons"]:
        line["minimum_detectable"] = 1.009
    write_json(run.path("evaluation.json"), found)
    unknown = "\n".join(build_verdict(collect(run), "en").unknown)
    assert "too few to show any difference in macro F1 from the base model." in unknown
    assert "1.009" not in unknown


@pytest.mark.parametrize(
    ("p_value", "text"), [(None, "–"), (float("nan"), "–"), (0.0005, "< 0.001"), (0.25, "0.250")]
)
def test_a_p_value_that_is_none_is_a_dash(p_value: float | None, text: str) -> None:
    assert p_text(p_value) == text
