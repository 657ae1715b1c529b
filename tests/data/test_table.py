"""Rows come back from Parquet as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.roles import Row
from afina.data.table import RowWriter, iterate_rows, read_rows

words = st.text(st.characters(exclude_categories=["Cs"]))
extras = st.dictionaries(
    words,
    st.one_of(words, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
)
messages = st.lists(
    st.fixed_dictionaries({"role": words, "content": words, "train": st.booleans()}),
    min_size=1,
    max_size=3,
)
rows = st.builds(
    Row,
    text=words,
    label=st.none() | words,
    messages=st.none() | messages,
    extra=extras,
    source=words,
    weight=st.floats(0.01, 100),
    id=words,
)


@given(st.lists(rows, max_size=9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_any_rows_survive(tmp_path_factory, given_rows, block):
    path = tmp_path_factory.mktemp("table") / "rows.parquet"
    with RowWriter(path, block=block) as writer:
        for row in given_rows:
            writer.write(row)
    assert writer.count == len(given_rows)
    assert read_rows(path) == given_rows
    assert list(iterate_rows(path)) == given_rows


def test_the_file_is_closed_when_a_row_cannot_be_made(tmp_path):
    path = tmp_path / "rows.parquet"
    rows = (Row(text=1 / number) for number in (1, 0))  # the second cannot be made
    with pytest.raises(ZeroDivisionError), RowWriter(path) as writer:
        list(map(writer.write, rows))
    assert read_rows(path) == []
