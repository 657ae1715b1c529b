"""The token cache: the same ids as encoding anew, kept by block, never trusted when damaged."""

from __future__ import annotations

import pytest

from afina.data import token_cache
from afina.data.chat import encode_row
from afina.data.roles import Row
from afina.data.token_cache import CachedRows, encode_rows
from afina.recipe_file import parse_recipe
from afina.runs.store import cache_folder

LABELS = ["legitimate", "phishing"]


def recipe_of(task: str, more: str = ""):
    return parse_recipe(f"name: a\ntask: {task}\ndata: {{train: a.jsonl{more}}}\n", "a.yaml", [])


@pytest.fixture
def small_blocks(monkeypatch, tmp_path):
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_cache, "FEWEST_ROWS", 5)
    monkeypatch.setattr(token_cache, "BLOCK_ROWS", 4)


def rows_of(kind: str, count: int = 11) -> list[Row]:
    if kind == "text":
        return [Row(text="una frase " * (3 + 9 * number), id=str(number)) for number in range(count)]
    return [
        Row(text=f"mensaje número {number}", label=LABELS[number % 2], id=str(number))
        for number in range(count)
    ]


def encoded(llama3, recipe, rows, sha256="a" * 64):
    said: list[str] = []
    pieces, owners = encode_rows(
        llama3, recipe, LABELS, rows, lambda: sha256, said.append, lambda _text: None
    )
    return pieces, owners, said


def wanted(llama3, recipe, rows):
    found = [encode_row(llama3, recipe, LABELS, row) for row in rows]
    owners = [number for number, pieces in enumerate(found) for _piece in pieces]
    return [piece for pieces in found for piece in pieces], owners


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("{kind: classify}", ""),
        ("{kind: classify, head: tokens}", ""),
        ("{kind: text}", ", max_length: 16"),
    ],
)
def test_cached_rows_are_those_encoded_anew(small_blocks, llama3, task, more):
    recipe = recipe_of(task, more)
    rows = rows_of("text" if "text" in task else "classify")
    for time in range(2):
        pieces, owners, said = encoded(llama3, recipe, rows)
        assert isinstance(pieces, CachedRows)
        assert (list(pieces), owners) == wanted(llama3, recipe, rows)
        assert pieces[-1] == list(pieces)[-1]
        assert pieces[1:3] == list(pieces)[1:3]
        assert bool(said) == (time == 1)
    assert said == ["token ids of 11 rows were encoded before"]


def test_a_stop_between_blocks_loses_one_block(small_blocks, llama3):
    recipe, rows = recipe_of("{kind: classify}"), rows_of("classify")
    encoded(llama3, recipe, rows)
    blocks = sorted((cache_folder() / "tokens").rglob("*.safetensors"))
    assert len(blocks) == 3
    blocks[2].unlink()
    blocks[1].write_bytes(b"damaged")
    pieces, owners, said = encoded(llama3, recipe, rows)
    assert (list(pieces), owners) == wanted(llama3, recipe, rows)
    assert said == ["token ids of 4 rows were encoded before"]


@pytest.mark.parametrize("change", ["rows", "task", "length"])
def test_what_ids_depend_on_is_in_the_address(small_blocks, llama3, change):
    rows = rows_of("classify")
    encoded(llama3, recipe_of("{kind: classify}"), rows)
    recipe = {
        "task": recipe_of("{kind: classify, head: tokens}"),
        "length": recipe_of("{kind: classify}", ", max_length: 17"),
    }.get(change, recipe_of("{kind: classify}"))
    _pieces, _owners, said = encoded(llama3, recipe, rows, "b" * 64 if change == "rows" else "a" * 64)
    assert said == []


def test_few_rows_leave_no_file(small_blocks, llama3):
    pieces, _owners, _said = encoded(llama3, recipe_of("{kind: classify}"), rows_of("classify", 4))
    assert isinstance(pieces, list)
    assert not (cache_folder() / "tokens").exists()


def test_a_cache_that_cannot_be_written_is_said_and_done_without(
    small_blocks, llama3, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "file"))
    recipe, rows = recipe_of("{kind: classify}"), rows_of("classify")
    pieces, owners, said = encoded(llama3, recipe, rows)
    assert (list(pieces), owners) == wanted(llama3, recipe, rows)
    assert len(said) == 1
    assert "not kept" in said[0]
