"""The rows of a source: every fault told at once, with its file, line and field."""

from __future__ import annotations

import pytest

from afina.data.rows import read_rows_of
from afina.errors import DataError
from tests.data.conftest import recipe_of

ROW = '{"text": "Lot 1", "label": "fruit"}\n'


def test_a_line_that_cannot_be_read_is_told_after_the_faults_before_it(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROW + '{"text": null, "label": "fruit"}\n' + ROW + "not JSON\n" + ROW)
    with pytest.raises(DataError) as caught:
        list(read_rows_of(recipe_of(str(path)), str(path), {}))
    lines = caught.value.what.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:2", f"{path}:4"]
    assert "field `text`" in lines[0]
    assert "not JSON" in lines[1]


def test_a_line_that_cannot_be_read_alone_keeps_its_own_advice(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROW + "not JSON\n")
    with pytest.raises(DataError) as caught:
        list(read_rows_of(recipe_of(str(path)), str(path), {}))
    assert caught.value.where == f"{path}:2"
    assert "a valid line" in str(caught.value.fix)
