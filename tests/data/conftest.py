"""The data stage run on given rows, with a check that its counts add up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from afina.data.prepare import prepare
from afina.data.table import read_rows
from afina.errors import AfinaError
from afina.recipe import Recipe
from tests.conftest import write_jsonl

SPLITS = ("train", "validation", "test")


def recipe_of(source, task: dict | None = None, **data) -> Recipe:
    value = {"name": "r", "task": task or {}, "data": {"train": source, "near_duplicate": None, **data}}
    return Recipe.model_validate(value)


class Prepared:
    """The outcome of the data stage."""

    def __init__(self, folder: Path, tokens, recipe: Recipe) -> None:
        self.folder = folder
        self.audit = prepare(recipe, tokens, folder, lambda _text: None)
        self.rows = {name: read_rows(folder / f"{name}.parquet") for name in SPLITS}

    def adds_up(self) -> None:
        """Every row that was read is removed, left out by the limit, dropped or kept."""
        limit = self.audit["limit"] or {}
        left_out = sum(limit.get(f"{n}_before", 0) - limit.get(f"{n}_after", 0) for n in SPLITS[:2])
        accounted = self.audit["equal_rows_removed"] + self.audit["conflicting_rows_removed"] + left_out
        for name, part in self.audit["splits"].items():
            accounted += part["rows"] + sum(part["dropped_rows"].values())
            assert part["rows"] == len(self.rows[name])
            assert part["labels"] == dict(
                sorted(Counter(r.label for r in self.rows[name] if r.label).items())
            )
        assert accounted == self.audit["rows_read"]
        assert sum(s["rows"] for s in self.audit["sources"].values()) == self.audit["rows_read"]
        left = {p.name for p in self.folder.iterdir()}
        tests = {f"test_{name}.parquet" for name in self.audit["test_sets"]}
        assert left == {f"{name}.parquet" for name in SPLITS} | {"audit.json"} | tests
        assert json.loads((self.folder / "audit.json").read_text()) == self.audit


@pytest.fixture
def made(tmp_path, llama3):
    """Runs the data stage on rows written to a file."""

    def run(rows: list[dict], task: dict | None = None, **data) -> Prepared:
        source = write_jsonl(tmp_path / "rows.jsonl", rows)
        outcome = Prepared(tmp_path / "data", llama3, recipe_of(str(source), task, **data))
        outcome.adds_up()
        return outcome

    return run


def fault_of(made, rows: list[dict], task: dict | None = None, **data) -> AfinaError:
    with pytest.raises(AfinaError) as caught:
        made(rows, task, **data)
    return caught.value
