"""Runs side by side: made with the real writers, then left half done or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from afina.recipe_file import parse_recipe
from afina.runs.compare import Figure, compare_runs, summaries, summarize
from afina.runs.files import write_json, write_text
from afina.runs.folder import Run, find_run, open_run
from afina.runs.stages import Stage, do

RECIPE = """
version: 1
name: fruit
task: {kind: classify, positive: metal}
data: {train: rows.jsonl}
train: {epochs: EPOCHS, precision: auto}
gate:
  - {metric: macro_f1, min: 0.5}
"""


def make(place: Path, epochs: int = 1) -> Run:
    """A run that was only begun."""
    return open_run(parse_recipe(RECIPE.replace("EPOCHS", str(epochs))), str(place))


def finish(run: Run, *names: str, value: float = 0.75, passed: bool = True) -> Run:
    """Does stages of a run, each writing what the real one does, in small."""
    result = {"model": "tuned", "set": "test", "slice": None, "metric": "macro_f1"}
    result |= {"value": value, "n": 40, "ci95": [value - 0.1, value + 0.1]}
    sliced = {**result, "slice": {"country": "MX"}, "value": 0.1}
    files = {
        "data": ("data/audit.json", {"labels": ["fruit", "metal"]}),
        "train": ("train.json", {"steps": 3}),
        "evaluate": (
            "evaluation.json",
            {"results": [result, {**result, "model": "base", "value": 0.5}, sliced]},
        ),
        "gate": ("gate.json", {"passed": passed, "checks": []}),
        "release": ("release/manifest.json", {}),
        "report": ("report.html", {}),
    }
    for name in names:
        path, content = files[name]
        stage = Stage(
            name,
            (),
            ("errors",),
            lambda: run.number,
            (path,),
            lambda p=path, c=content: write_json(run.path(p), c),
        )
        do(run, stage)
    return run


EVERYTHING = ("data", "train", "evaluate", "gate", "release", "report")


def test_a_finished_run(tmp_path: Path) -> None:
    finish(make(tmp_path), *EVERYTHING)
    (summary,) = summaries(str(tmp_path))
    assert (summary.title, summary.state, summary.stage, summary.damage) == ("fruit@1", "done", None, ())
    assert (summary.base, summary.kind, summary.gate) == ("embedded", "classify", True)
    assert summary.figure == Figure("macro_f1", 0.75, 0.65, 0.85, 40)
    sizes = [p.stat().st_size for p in (tmp_path / "fruit" / "1").rglob("*") if p.is_file()]
    assert summary.size_bytes == sum(sizes)
    json.dumps(summary.as_json(), allow_nan=False)


def test_no_release_is_needed_when_the_gate_says_no(tmp_path: Path) -> None:
    run = finish(make(tmp_path), "data", "train", "evaluate", "gate", "report", passed=False)
    assert (summarize(run).state, summarize(run).gate) == ("done", False)


def test_a_run_waits_at_the_first_stage_that_is_not_done(tmp_path: Path) -> None:
    run = finish(make(tmp_path), "data", "train")
    assert (summarize(run).state, summarize(run).stage) == ("waiting", "evaluate")
    run.path("train.json").unlink()  # the stage says done, but its output is gone
    assert (summarize(run).state, summarize(run).stage) == ("waiting", "train")


@pytest.mark.parametrize(
    ("error", "state"),
    [("DataError", "stopped"), ("KeyboardInterrupt", "interrupted"), (None, "interrupted")],
)
def test_stopped_by_an_error_or_interrupted(tmp_path: Path, error: str | None, state: str) -> None:
    run = finish(make(tmp_path), "data")

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(run, Stage("train", (), ("errors",), lambda: 1, ("train.json",), fail))
    if error:  # a killed process writes no such event
        run.event("stopped", error=error, what="")
    assert (summarize(run).state, summarize(run).stage) == (state, "train")


def test_a_run_that_a_process_works_on(tmp_path: Path) -> None:
    run = finish(make(tmp_path), "data")
    with FileLock(run.path(".lock")):
        assert (summarize(run).state, summarize(run).stage) == ("working", "train")
    assert summarize(run).state == "waiting"
    assert FileLock(run.path(".lock"), timeout=0).acquire() is not None  # looking holds no lock


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("recipe.yaml", "a: [1"),
        ("recipe.yaml", "- 1\n"),
        ("gate.json", "\x00"),
        ("stages/train.json", '{"state": "done"}'),
        ("stages/train.json", "[]"),
        ("evaluation.json", '{"results": [3]}'),
        ("evaluation.json", '{"results": [{"metric": "macro_f1", "value": "x"}]}'),
        ("evaluation.json", "not json"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path: Path, file: str, content: str) -> None:
    whole, broken = finish(make(tmp_path, 1), *EVERYTHING), finish(make(tmp_path, 2), *EVERYTHING)
    write_text(broken.path(file), content)
    good, bad = summaries(str(tmp_path))
    assert (good.state, bad.state) == ("done", "damaged")
    assert any(file in what for what in bad.damage)
    compared = compare_runs([whole, broken])
    assert compared.titles == ("fruit@1", "fruit@2")
    json.dumps(compared.as_json())


@pytest.mark.parametrize("missing", ["run.json", "recipe.yaml"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    run = finish(make(tmp_path), *EVERYTHING)
    run.path(missing).unlink()
    (summary,) = summaries(str(tmp_path))
    assert summary.state == "damaged"
    assert summary.damage == (f"{missing} is missing",)


def test_empty_folders_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "fruit" / "7").mkdir(parents=True)
    (tmp_path / "not-a-run").mkdir()
    (summary,) = summaries(str(tmp_path))
    assert (summary.title, summary.state, summary.size_bytes) == ("fruit@7", "empty", 0)
    assert summaries(str(tmp_path / "absent")) == []


def test_reused_stages_cost_no_time(tmp_path: Path) -> None:
    run = finish(make(tmp_path), "data")
    state = json.loads(run.path("stages/data.json").read_text())
    write_json(run.path("stages/data.json"), {**state, "seconds": 4.5})
    assert summarize(run).seconds == 4.5
    write_json(run.path("stages/data.json"), {**state, "seconds": 4.5, "reused_from": "fruit@3"})
    assert summarize(run).seconds == 0


def test_comparison_holds_only_what_differs(tmp_path: Path) -> None:
    one = finish(make(tmp_path, 1), *EVERYTHING, value=0.7)
    two = finish(make(tmp_path, 2), "data", "train")
    one.resolve(train__precision="bf16")
    two.resolve(train__precision="fp32")
    found = compare_runs([one, two])
    assert {d.name: d.values for d in found.settings} == {
        "train.epochs": (1, 2),
        "train.precision": ("bf16", "fp32"),
    }
    assert [(r.set, r.model, r.metric) for r in found.figures] == [
        ("test", "tuned", "macro_f1"),
        ("test", "base", "macro_f1"),
    ]
    tuned = found.figures[0].values
    assert tuned[0] is not None
    assert tuned[0].value == 0.7  # the whole set, not the slice
    assert tuned[1] is None
    assert found.damage == ()


def test_lists_of_settings_are_compared_by_index(tmp_path: Path) -> None:
    one = make(tmp_path)
    two = open_run(
        parse_recipe(RECIPE.replace("EPOCHS", "1").replace("min: 0.5", "max: 0.9")), str(tmp_path)
    )
    values = {d.name: d.values for d in compare_runs([one, two]).settings}
    assert values == {"gate.0.max": (None, 0.9), "gate.0.min": (0.5, None)}


def test_runs_at_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    place = "memory://compare-test"
    run = finish(open_run(parse_recipe(RECIPE.replace("EPOCHS", "1")), place), *EVERYTHING)
    run.publish()
    assert [summary.state for summary in summaries(place)] == ["done"]
    assert summarize(find_run("fruit@1", place)).gate is True
