"""`afina recipe …`, `afina runs …` and `afina doctor`, as a person or a program calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from afina.cli import doctor, recipe, runs
from afina.errors import AfinaError
from afina.recipe_file import all_fields, parse_recipe, read_recipe
from afina.runs.files import write_json
from afina.runs.folder import Run, open_run
from afina.runs.stages import Stage, do

Call = Callable[..., Any]


@pytest.fixture
def call() -> Call:
    """Calls a command in this process; errors come through as they are."""
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.add_typer(recipe.app, name="recipe")
    app.add_typer(runs.app, name="runs")
    doctor.add_to(app)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return run


def _run(place: Path, rate: str = "1.0e-4", trained: bool = True, name: str = "spam") -> Run:
    text = f"{{version: 1, name: {name}, data: {{train: x.csv}}, train: {{learning_rate: {rate}}}}}"
    run = open_run(parse_recipe(text), str(place))
    line = {
        "model": "tuned",
        "set": "test",
        "slice": None,
        "metric": "macro_f1",
        "value": 0.9,
        "n": 9,
        "ci95": [0.8, 1],
    }
    write_json(run.path("evaluation.json"), {"results": [line]})
    if trained:
        work = lambda: write_json(run.path("train.json"), {})  # noqa: E731
        do(run, Stage("train", (), ("errors",), lambda: rate, ("train.json", "checkpoints"), work))
    return run


def test_explain_one_setting(call: Call) -> None:
    text = call("recipe", "explain", "train.learning_rate")
    assert "train.learning_rate = 0.0001: a number, above 0, at most 1" in text
    found = json.loads(call("recipe", "explain", "train.learning_rate", "--json"))
    assert (found["default"], found["limits"], found["required"]) == (
        1e-4,
        ["above 0", "at most 1"],
        False,
    )


def test_explain_a_section_and_all(call: Call) -> None:
    section = json.loads(call("recipe", "explain", "train", "--json"))
    assert {entry["field"].split(".")[0] for entry in section} == {"train"}
    everything = json.loads(call("recipe", "explain", "--json"))
    assert [entry["field"] for entry in everything] == [name for name, _field in all_fields()]
    assert all(entry["description"] for entry in everything)
    text = call("recipe", "explain")
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("base.bits", "= auto: auto, 4, 8 or 16"),
        ("data.train", "(needed)"),
        ("gate.0.max", "= null: a number or null"),
        ("adapter.targets", "= all-linear: all-linear or a list (text)"),
        ("train.checkpoint_activations", "auto, true or false"),
        ("data.near_duplicate", "at least 0.5, at most 1"),
    ],
)
def test_types_defaults_and_limits(call: Call, field: str, words: str) -> None:
    assert words in call("recipe", "explain", field)


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("train.learning_rat", "train.learning_rate"),
        ("learning_rate", "train.learning_rate"),
        ("epoch", "train.epochs"),
    ],
)
def test_an_unknown_setting_names_the_nearest(call: Call, field: str, near: str) -> None:
    with pytest.raises(AfinaError) as caught:
        call("recipe", "explain", field)
    assert caught.value.fix == f"did you mean `{near}`?"
    assert caught.value.exit_code == 2


def test_new_writes_a_recipe_and_says_what_is_next(call: Call, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(
        "text,label\n" + "".join(f"mail {i},{'spam' if i % 2 else 'ham'}\n" for i in range(30))
    )
    output = tmp_path / "my recipe.yaml"
    text = call("recipe", "new", str(rows), "--output", str(output), "--name", "mine")
    assert text.splitlines()[-1] == f"next: afina recipe check '{output}'"
    assert "alarm label: spam" in text
    assert read_recipe(output).name == "mine"
    with pytest.raises(AfinaError, match="exists already"):
        call("recipe", "new", str(rows), "--output", str(output))


def test_list_fits_80_columns_and_names_damage(call: Call, tmp_path: Path) -> None:
    _run(tmp_path, name="a-rather-long-name-for-a-run-of-phishing-in-several-countries-of-america")
    (_run(tmp_path, name="b").path("run.json")).write_text("{")
    text = call("runs", "list", "--runs", str(tmp_path))
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines[:3])
    assert "F1 0.900 [0.800, 1.000]" in lines[1]
    assert "damaged: b@1: run.json" in text
    found = json.loads(call("runs", "list", "--runs", str(tmp_path), "--json"))
    assert [one["state"] for one in found] == ["waiting", "damaged"]


def test_list_of_no_runs(call: Call, tmp_path: Path) -> None:
    assert "afina run RECIPE" in call("runs", "list", "--runs", str(tmp_path))
    assert json.loads(call("runs", "list", "--runs", str(tmp_path), "--json")) == []


def test_show_and_compare(call: Call, tmp_path: Path) -> None:
    _run(tmp_path, "1.0e-4"), _run(tmp_path, "2.0e-4")
    place = ("--runs", str(tmp_path))
    assert "test tuned macro_f1" in call("runs", "show", "spam@2", *place)
    text = call("runs", "compare", "spam@1", "spam@2", *place)
    assert "train.learning_rate  0.0001  0.0002" in text
    five = call("runs", "compare", *["spam@1", "spam@2"] * 3, *place)
    assert all(len(line) <= 80 for line in (text + five).splitlines())
    found = json.loads(call("runs", "compare", "spam@1", "spam@2", *place, "--json"))
    assert [one["name"] for one in found["settings"]] == ["train.learning_rate"]
    with pytest.raises(AfinaError, match="one run"):
        call("runs", "compare", "spam@1", *place)
    with pytest.raises(AfinaError, match="no run `spam@9`"):
        call("runs", "show", "spam@9", *place)


def _fill(run: Run) -> None:
    for name, size in (
        ("checkpoints/step-1/a.bin", 1000),
        (".x.part/b", 20),
        ("data/.y.json.z.part", 3),
    ):
        path = run.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))


def test_clean_only_shows_until_told_to_remove(call: Call, tmp_path: Path) -> None:
    done, begun = _run(tmp_path, "1.0e-4"), _run(tmp_path, "2.0e-4", trained=False)
    _fill(done), _fill(begun)
    (tmp_path / "other" / "1").mkdir(parents=True)
    place = ("--runs", str(tmp_path))
    found = json.loads(call("runs", "clean", *place, "--json"))
    assert (found["removed"], found["size_bytes"]) == (False, 1023 + 23)
    assert "(1,046 bytes)" in call("runs", "clean", *place)
    assert done.path("checkpoints").exists()
    call("runs", "clean", "--yes", *place)
    assert not done.path("checkpoints").exists()
    assert begun.path("checkpoints/step-1/a.bin").exists()  # it goes on from there
    assert not (tmp_path / "other").exists()
    assert not list(tmp_path.rglob("*.part"))
    assert "nothing to remove" in call("runs", "clean", "--yes", *place)
    assert "done" in (done.path("stages/train.json")).read_text()


def test_clean_removes_runs_without_any_stage_done(call: Call, tmp_path: Path) -> None:
    done, bare, held = (_run(tmp_path, rate) for rate in ("1.0e-4", "2.0e-4", "3.0e-4"))
    for run in (bare, held):
        for path in run.path("stages").glob("*.json"):
            path.write_text('{"state": "stopped", "key": "k", "outputs": {}}')
    held.lock()
    call("runs", "clean", "--runs", str(tmp_path))
    assert bare.path("run.json").exists()
    call("runs", "clean", "--yes", "--runs", str(tmp_path))
    held.unlock()
    assert not bare.root.exists()
    assert done.path("run.json").exists()
    assert held.path("run.json").exists()


def test_clean_leaves_running_runs_and_other_folders_alone(call: Call, tmp_path: Path) -> None:
    run = _run(tmp_path / "runs")
    _fill(run)
    run.lock()  # removes its own leftovers
    _fill(run)
    assert (
        json.loads(call("runs", "clean", "--yes", "--runs", str(tmp_path / "runs"), "--json"))[
            "leftovers"
        ]
        == []
    )
    run.unlock()
    (tmp_path / "photos" / "2021").mkdir(parents=True)
    call("runs", "clean", "--yes", "--runs", str(tmp_path))
    assert (tmp_path / "photos" / "2021").exists()
    with pytest.raises(AfinaError, match="this machine's disk"):
        call("runs", "clean", "--runs", "memory://x")


def test_doctor(call: Call, tmp_path: Path) -> None:
    found = json.loads(call("doctor", "--json", "--runs", str(tmp_path)))
    assert found["schema"] == "afina/machine/1"
    text = call("doctor", "--runs", str(tmp_path))
    assert "GFLOP/s" in text
    assert "Llama-3.1-8B" in text


def test_module_runs_as_a_program_with_exit_codes_and_no_traceback(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "afina", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    fine = run("recipe", "explain", "train.epochs")
    assert (fine.returncode, fine.stderr) == (0, "")
    wrong = run("recipe", "explain", "train.epoch", "--json")
    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["fix"] == "did you mean `train.epochs`?"
