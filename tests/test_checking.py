"""`afina recipe check`: what it foretells is what then happens."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace

import pytest
import yaml

import afina.checking as checking
from afina.checking import check_recipe
from afina.data.chat import encode_row
from afina.data.table import read_rows
from afina.errors import DataError
from afina.models.memory import estimate_memory
from tests.tiny import Tiny, metrics, value
from tests.training.test_kinds import conversations, documents


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer(llama3):
    """The real tokenizer, read once: it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "load_tokens", lambda _folder: llama3)
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("checking"), llama3_folder, llama3)


def check(tiny: Tiny, *overrides: str) -> checking.RecipeCheck:
    return check_recipe(tiny.recipe(*overrides), lambda _text: None)


@pytest.mark.parametrize("head", ["pooled", "tokens"])
def test_counts_and_steps_are_those_of_the_run(tiny, head):
    settings = (f"task.head={head}", "train.patience=null", "data.max_length=96")
    found = check(tiny, *settings)
    run = tiny.run(*settings)
    assert found.audit == value(run, "data/audit.json")
    assert found.audit["rows_read"] == 60
    assert sum(part["rows"] for part in found.audit["splits"].values()) == 60
    assert found.rows_per_step == 8
    assert found.steps == len([line for line in metrics(run) if line["split"] == "train"]) == 12
    base = value(run, "release/inference.json")["base"]
    assert found.base == {name: base[name] for name in ("id", "revision", "sha256")}
    if head == "pooled":
        assert found.trained_share is None
    else:
        recipe = tiny.recipe(*settings)
        pieces = [
            piece
            for row in read_rows(run.path("data/train.parquet"))
            for piece in encode_row(tiny.tokens, recipe, ["fruit", "metal"], row)
        ]
        trained = sum(sum(piece.trained) for piece in pieces)
        assert found.trained_share == trained / sum(len(piece.ids) for piece in pieces)
        # A label of one token and the end of the turn, in rows of about fifty tokens.
        assert 0.02 < found.trained_share < 0.08


def test_the_example_marks_the_answer_and_nothing_else(tiny):
    example = check(tiny, "task.head=tokens", "data.max_length=96").example
    before, _mark, rest = example.partition("⟦")
    answer, _mark, after = rest.partition("⟧")
    assert answer in ("fruit<|eot_id|>", "metal<|eot_id|>")
    assert after == ""
    assert before.endswith("assistant<|end_header_id|>\n\n")
    assert "Lot " in before

    pooled = check(tiny).example
    text, _arrow, label = pooled.partition("\n→ ")
    assert label in ("⟦fruit⟧", "⟦metal⟧")
    assert text.startswith("<|begin_of_text|>Lot ")


def test_a_conversation_and_a_document(tmp_path, llama3_folder, llama3):
    talk = Tiny(tmp_path / "talk", llama3_folder, llama3, conversations())
    example = check(talk, "task.kind=generate").example
    marked = example.partition("⟦")[2]
    assert marked.startswith("It is ")
    assert marked.endswith(".<|eot_id|>⟧")

    text = Tiny(tmp_path / "text", llama3_folder, llama3, documents())
    found = check(text, "task.kind=text")
    assert found.example.startswith("<|begin_of_text|>⟦Box ")
    lengths = found.audit["splits"]["train"]
    assert found.trained_share == pytest.approx(
        (lengths["tokens"] - lengths["rows"]) / lengths["tokens"]
    )


def test_no_file_is_left_behind(tiny, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in tiny.folder.rglob("*"))
    check(tiny)
    with pytest.raises(DataError):
        check(tiny, "data.columns.text=nowhere")
    assert sorted(path for path in tiny.folder.rglob("*")) == before
    assert list(scratch.iterdir()) == []
    assert list(tmp_path.iterdir()) == [scratch]


def test_settings_are_resolved_and_can_be_used_as_a_recipe(tiny):
    found = check(tiny, "train.precision=auto")
    resolved = yaml.safe_load(found.settings)
    assert resolved["train"]["precision"] in ("bf16", "fp32")
    assert resolved["train"]["checkpoint_activations"] is False
    assert resolved["base"]["bits"] == 16
    assert resolved["task"]["labels"] == ["fruit", "metal"]
    assert resolved["task"]["positive"] == "metal"
    from afina.recipe_file import parse_recipe

    assert parse_recipe(found.settings).train.precision == resolved["train"]["precision"]


def test_memory_and_time_are_the_estimates(tiny):
    found = check(tiny)
    assert found.memory == estimate_memory(tiny.model, tiny.recipe(), "fp32", 16, False)
    assert found.free_bytes > 0
    twice = check(tiny, "train.epochs=4")
    assert twice.steps == 2 * found.steps
    if found.seconds is not None:
        assert twice.seconds == pytest.approx(2 * found.seconds)


def test_lines_for_people_and_json_for_machines(tiny):
    found = check(tiny)
    lines = "\n".join(found.lines())
    assert "train: 48 rows" in lines
    assert "8 rows a step, 12 steps" in lines
    assert "text ← text, label ← label" in lines
    assert "⟦" in lines
    as_json = json.loads(json.dumps(found.as_json()))
    assert as_json["schema"] == "afina/check/1"
    assert as_json["memory_bytes"] == found.memory.total


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (0.2, "training: less than a minute on this machine"),
        (60, "training: less than a minute on this machine"),
        (61, "training: roughly 2 minutes on this machine"),
        (3600, "training: roughly 60 minutes on this machine"),
    ],
)
def test_a_short_time_is_not_one_minutes(tiny, seconds, line):
    assert line in replace(check(tiny), seconds=seconds).lines()


def test_what_will_not_fit_is_said(tiny, monkeypatch):
    monkeypatch.setattr(checking, "free_bytes", lambda: 1024)
    found = check(tiny, "base.bits=16")
    assert "this will probably not fit" in "\n".join(found.lines())


def test_cuts_and_refusals_are_counted(tmp_path, llama3_folder, llama3):
    rows = [{"text": f"word{n} " * (40 if n % 3 == 0 else 3), "label": "ab"[n % 2]} for n in range(40)]
    place = Tiny(tmp_path, llama3_folder, llama3, rows)
    cut = check(place, "data.max_length=32")
    dropped = check(place, "data.max_length=32", "data.over_long=drop")
    parts = cut.audit["splits"].values()
    assert sum(part["cut_rows"] for part in parts) == 14
    assert sum(part["lost_tokens"] for part in parts) > 14 * 40
    assert (
        sum(part["dropped_rows"].get("over_long", 0) for part in dropped.audit["splits"].values()) == 14
    )
    assert any("rows cut" in line for line in cut.lines())
    assert any("rows dropped (over_long)" in line for line in dropped.lines())
