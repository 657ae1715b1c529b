"""Values left out on the page and in the terminal: what is a drop, what is chance, what was not done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from afina.cli.left_out import left_out_lines
from afina.reports.figures import collect
from afina.reports.left_out import left_out_view
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

from . import fake_run
from .test_page import elements, page


def line(model: str, values: list[str] | None, metric: str, drop: float, ends: Any) -> dict[str, Any]:
    return {
        "column": "source",
        "values": values,
        "model": model,
        "metric": metric,
        "value": 0.9 - drop,
        "n": 120,
        "groups": 4,
        "ci95": [0.8 - drop, 0.95 - drop],
        "method": "group bootstrap",
        "ordinary": 0.9,
        "drop": drop,
        "drop_ci95": ends,
        "drop_method": "group bootstrap",
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = fake_run.classify_run(tmp_path)
    report = read_json(run.path("evaluation.json"))
    report["left_out"] = [
        line("probe", None, "macro_f1", 0.2, [0.1, 0.3]),
        line("tfidf", None, "macro_f1", 0.01, [-0.02, 0.03]),
        line("tfidf", None, "auc", 0.0, [None, None]),
        line("probe", ["ling<b>", "pot"], "macro_f1", 0.25, [0.1, 0.4]),
    ]
    report["left_out_folds"] = {
        "column": "source",
        "folds": [{"values": ["ling<b>", "pot"]}],
        "not_left_out": {"nazario": "no_rows_of_a_label_left", "tiny": "few_rows"},
        "test_rows_without_value": 0,
        "train_rows_without_value": 1234,
    }
    write_json(run.path("evaluation.json"), report)
    return run


def test_what_is_said_follows_the_interval(run: Run) -> None:
    view = left_out_view(collect(run).evaluation, "en")
    assert view is not None
    probe, tfidf = view.sentences
    assert "macro F1 of 0.700" in probe
    assert "0.900 on the same 120 rows" in probe
    assert probe.endswith("The drop is larger than chance explains.")
    assert tfidf.endswith("No drop is shown.")
    assert [(row.values, row.model, row.tone) for row in view.main] == [
        ("all of them", "probe", "bad"),
        ("all of them", "tfidf", "plain"),
        ("ling<b>, pot", "probe", "bad"),
    ]
    assert [row.metric for row in view.others] == ["auc"]


def test_what_was_not_left_out_is_named(run: Run) -> None:
    view = left_out_view(collect(run).evaluation, "en")
    assert view is not None
    assert view.notes == [
        "Values with one label only are left out together with one of each other label.",
        "Not left out: nazario (without it too few rows of a label are left).",
        "Not left out: tiny (fewer than 5 test rows of any label).",
        "1,234 training rows have no such value and stay in every fold.",
    ]


@pytest.mark.parametrize(("language", "title"), [("en", "never seen"), ("es", "nunca vistos")])
def test_the_page_has_the_table(run: Run, language: str, title: str) -> None:
    html = page(run, language)
    found = elements(html)
    assert ("section", {"id": "left-out"}) in found
    assert title in html
    assert "ling&lt;b&gt;, pot" in html
    assert "ling<b>" not in html


def test_a_run_without_it_has_none(tmp_path: Path) -> None:
    plain = fake_run.classify_run(tmp_path)
    assert left_out_view(collect(plain).evaluation, "en") is None
    assert 'id="left-out"' not in page(plain)
    assert left_out_lines(read_json(plain.path("evaluation.json"))) == []


def test_the_terminal(run: Run) -> None:
    lines = left_out_lines(read_json(run.path("evaluation.json")))
    assert lines[1] == "  probe  all of them: macro_f1 0.700 (+0.200 [+0.100, +0.300])"
    assert lines[2] == (
        "  tfidf  all of them: macro_f1 0.890 (+0.010 [-0.020, +0.030])  auc 0.900 (+0.000)"
    )
    assert lines[3] == "  probe  ling<b>, pot: macro_f1 0.650 (+0.250 [+0.100, +0.400])"
