"""Two releases side by side: known differences on the same rows, and none that is claimed on others."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import afina
from afina.cli.registry_lines import comparison_lines
from afina.evaluation.answers import read_column
from afina.registry_api import compare_registered


def with_answers(path, said: list[str]) -> None:
    """Puts other labels into a file of answers, with probabilities to match."""
    table = pq.read_table(path)
    shares = [[0.9, 0.1] if label == "fruit" else [0.1, 0.9] for label in said]
    columns = {"said": pa.array(said), "probabilities": pa.array(shares)}
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    path.unlink()  # it may be a second name of another run's file
    pq.write_table(table, path)


@pytest.fixture
def two(place):
    """tiny@1 says what is right; tiny@2 is wrong in the first two rows."""
    right = read_column(place.path("tiny/1/predictions/test/tuned.parquet"), "label")
    other = {"fruit": "metal", "metal": "fruit"}
    with_answers(place.path("tiny/1/predictions/test/tuned.parquet"), right)
    wrong = [other[label] for label in right[:2]] + right[2:]
    with_answers(place.path("tiny/2/predictions/test/tuned.parquet"), wrong)
    afina.promote("tiny@1", runs=place.runs)
    afina.register("tiny@2", runs=place.runs)
    return place, right


def test_the_difference_on_the_same_rows_is_paired(two) -> None:
    place, right = two
    found = compare_registered("tiny@champion", "tiny@candidate", runs=place.runs)
    assert (found.a, found.b) == ("tiny@v1", "tiny@v2")
    rows = len(right)
    assert [(one.name, one.rows, one.paired) for one in found.sets] == [("test", rows, True)]
    line = next(pair for pair in found.figures if pair.metric == "accuracy")
    assert line.paired is not None
    assert line.paired["difference"] == pytest.approx(2 / rows)
    assert line.paired["ci95"][0] <= 2 / rows <= line.paired["ci95"][1]
    # Two rows that only A has right, none that only B has: 2 · ½² − ½ · 2 · ½² of mid-p is 0.25.
    assert line.paired["p_value"] == pytest.approx(0.25)
    assert line.a == line.b, "the kept figures are those of the evaluation"
    assert [name for name, _a, _b in found.parents] == ["recipe_sha256", "previous_version"]
    shown = "\n".join(comparison_lines(found))
    assert f"test: the same {rows} rows: A minus B is paired" in shown
    assert json.loads(json.dumps(found.as_json()))["schema"] == "afina/registry-comparison/1"


def test_labels_in_another_order_are_the_same_labels(two) -> None:
    place, right = two
    path = place.path("tiny/2/release/evaluation.json")
    value = json.loads(path.read_text())
    value["labels"].reverse()
    path.write_text(json.dumps(value))
    answers = place.path("tiny/2/predictions/test/tuned.parquet")
    table = pq.read_table(answers)
    shares = pa.array([list(reversed(row)) for row in table.column("probabilities").to_pylist()])
    answers.unlink()
    pq.write_table(
        table.set_column(table.schema.get_field_index("probabilities"), "probabilities", shares), answers
    )
    found = compare_registered("tiny@1", "tiny@2", runs=place.runs)
    line = next(pair for pair in found.figures if pair.metric == "accuracy")
    assert line.paired is not None
    assert line.paired["difference"] == pytest.approx(2 / len(right))


def test_other_rows_are_not_paired_and_it_says_so(two) -> None:
    place, _right = two
    path = place.path("tiny/2/release/manifest.json")
    value = json.loads(path.read_text())
    value["parents"]["data"]["data/test.parquet"] = "0" * 64
    path.write_text(json.dumps(value))
    found = compare_registered("tiny@1", "tiny@2", runs=place.runs)
    assert not found.sets[0].same_rows
    assert all(pair.paired is None for pair in found.figures)
    assert all(pair.a is not None and pair.b is not None for pair in found.figures)
    shown = "\n".join(comparison_lines(found))
    assert "test: not paired: they were measured on other rows: the hashes of the sets differ" in shown


def test_answers_that_are_gone_are_not_made_again(two) -> None:
    place, _right = two
    place.path("tiny/2/predictions/test/tuned.parquet").unlink()
    found = compare_registered("tiny@1", "tiny@2", runs=place.runs)
    assert (found.sets[0].same_rows, found.sets[0].paired) == (True, False)
    assert "not here any more" in found.sets[0].why
    assert not place.path("tiny/2/predictions/test/tuned.parquet").exists()
