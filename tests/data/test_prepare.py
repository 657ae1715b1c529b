"""The data stage: what is removed, kept, cut and dropped adds up, and nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.duplicates import content_hash
from afina.data.prepare import _Column, prepare
from afina.data.roles import Row
from afina.data.rows import read_rows_of
from afina.data.table import read_rows
from afina.data.test_sets import among
from afina.errors import DataError
from tests.conftest import colour_rows, write_jsonl
from tests.data.conftest import SPLITS, Prepared, fault_of, recipe_of

# Rows removed


def test_equal_and_conflicting_rows(made):
    rows = colour_rows(60)
    twins = [{**rows[0], "text": rows[0]["text"].upper()}, rows[1], rows[1]]
    conflict = [{"text": "Both things", "label": "fruit"}, {"text": "both  things", "label": "metal"}]
    done = made([*rows, *twins, *conflict, conflict[0]])
    assert done.audit["rows_read"] == 66
    assert done.audit["equal_rows_removed"] == 3
    assert done.audit["conflicting_rows_removed"] == 3
    kept = [row.text for name in SPLITS for row in done.rows[name]]
    assert sorted(kept) == sorted(row["text"] for row in rows)
    (source,) = done.audit["sources"].values()
    assert source == {"rows": 66, "kept": 60}


def test_all_rows_in_conflict(made):
    rows = [{"text": f"t{n}", "label": label} for n in range(9) for label in "ab"]
    assert "different labels" in fault_of(made, rows).what


def test_near_duplicates_stay_on_one_side(made):
    sentences = [
        f"w{n}a w{n}b w{n}c w{n}d w{n}e w{n}f w{n}g w{n}h w{n}i w{n}j w{n}k w{n}l" for n in range(40)
    ]
    rows = [
        {"text": f"{text} {' '.join(text.split()[:5])} end {extra}", "label": "ab"[n % 2]}
        for n, text in enumerate(sentences)
        for extra in ("", "so")
    ]
    done = made(rows, near_duplicate=0.8)
    assert done.audit["near_duplicate"] == {
        "threshold": 0.8,
        "clusters_of_several": 40,
        "rows_in_them": 80,
    }
    side = {row.text.split()[0]: name for name in SPLITS for row in done.rows[name]}
    for name in SPLITS:
        assert all(side[row.text.split()[0]] == name for row in done.rows[name])


def test_group_by_keeps_groups_whole(made):
    done = made(colour_rows(120), split={"group_by": "day"})
    sides: dict[str, set[str]] = {}
    for name in SPLITS:
        for row in done.rows[name]:
            sides.setdefault(row.extra["day"], set()).add(name)
    assert len(sides) == 12
    assert all(len(names) == 1 for names in sides.values())
    assert done.audit["groups"] == 12


def test_a_row_without_its_group_is_named(made):
    rows = colour_rows(30)
    del rows[4]["day"]
    fault = fault_of(made, rows, split={"group_by": "day"})
    assert fault.where.endswith("rows.jsonl:5")
    assert "`day`" in fault.what


def test_grouping_by_source(tmp_path, llama3):
    files = [
        str(
            write_jsonl(
                tmp_path / f"{n}.jsonl", [{"text": f"{n} {m}", "label": "ab"[m % 2]} for m in range(9)]
            )
        )
        for n in range(6)
    ]
    done = Prepared(tmp_path / "d", llama3, recipe_of(files, split={"group_by": "source"}))
    done.adds_up()
    assert done.audit["groups"] == 6
    for name in SPLITS:
        assert {row.source for row in done.rows[name]} <= set(files)
    assert sum(len({row.source for row in done.rows[name]}) for name in SPLITS) == 6


def test_weights_follow_their_source(tmp_path, llama3):
    rows = colour_rows(60)
    one, two = write_jsonl(tmp_path / "1.jsonl", rows[:30]), write_jsonl(tmp_path / "2.jsonl", rows[30:])
    sources = [{"source": str(one), "weight": 2.0}, {"source": str(two), "weight": 0.5}]
    done = Prepared(tmp_path / "d", llama3, recipe_of(sources))
    done.adds_up()
    weights = {(row.source, row.weight) for name in SPLITS for row in done.rows[name]}
    assert weights == {(str(one), 2.0), (str(two), 0.5)}


def test_limit_leaves_test_rows_alone(made):
    whole = made(colour_rows(300))
    tests = [row.id for row in whole.rows["test"]]
    part = made(colour_rows(300), limit=45)
    assert [row.id for row in part.rows["test"]] == tests
    assert len(part.rows["train"]) + len(part.rows["validation"]) == 45
    assert {row.id for row in part.rows["train"]} <= {row.id for row in whole.rows["train"]}
    assert part.audit["splits"]["train"]["labels"] == {"fruit": 20, "metal": 20}
    assert part.audit["limit"] == {
        "rows": 45,
        "train_before": 240,
        "validation_before": 30,
        "train_after": 40,
        "validation_after": 5,
    }


def test_same_seed_same_files(made, tmp_path):
    first = made(colour_rows(60))
    before = {name: (first.folder / f"{name}.parquet").read_bytes() for name in SPLITS}
    again = made(colour_rows(60))
    assert {name: (again.folder / f"{name}.parquet").read_bytes() for name in SPLITS} == before
    other = made(colour_rows(60), split={"seed": 99})
    assert [row.id for row in other.rows["test"]] != [row.id for row in first.rows["test"]]


# Faulty rows


def test_a_later_row_without_the_column_is_a_row_error(made):
    rows = colour_rows(30)
    rows[11] = {"message": "the text, in another column", "label": "fruit"}
    fault = fault_of(made, rows)
    assert fault.where.endswith("rows.jsonl:12")
    assert "`text` must be text; found nothing" in fault.what
    assert fault.fix


def test_every_faulty_row_is_named_up_to_twenty(made):
    rows = colour_rows(90)
    for number in (3, 8):
        rows[number]["label"] = None
    fault = fault_of(made, rows)
    assert "rows.jsonl:4: " in fault.what
    assert "rows.jsonl:9: " in fault.what
    for row in rows:
        row["text"] = float("nan")
    fault = fault_of(made, rows)
    assert fault.what.count("rows.jsonl:") == 20
    assert "first 20" in fault.what


def test_labels_outside_the_recipe(made):
    fault = fault_of(made, colour_rows(30), task={"labels": ["fruit", "wood"]})
    lines = fault.what.splitlines()
    assert lines[0] == "labels that are not in task.labels (fruit, wood), and their rows: 'metal' × 15"
    assert len(lines) == 16
    assert all(line.endswith(": unknown label 'metal'") for line in lines[1:])
    assert "task.labels" in fault.fix


def test_every_unknown_label_is_counted_beyond_the_rows_shown(made):
    rows = [{"text": f"t{n}", "label": "ok"} for n in range(100)]
    rows[4]["label"] = "odd"
    for row in rows[10:90]:
        row["label"] = "new"
    rows[95]["label"] = "odd"
    rows[97]["text"] = None
    fault = fault_of(made, rows, task={"labels": ["ok", "good"]})
    assert fault.what.splitlines()[0].endswith("and their rows: 'new' × 80, 'odd' × 2")
    assert fault.what.count("rows.jsonl:") == 20
    assert "first 20" in fault.what


def test_one_unknown_label_is_named_with_its_row(made):
    rows = [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(30)]
    rows[6]["label"] = "c" * 200
    fault = fault_of(made, rows, task={"labels": ["a", "b"]})
    assert fault.where.endswith("rows.jsonl:7")
    assert fault.what == f"label '{'c' * 59}…' is not one of task.labels (a, b)"


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("dya", "no column `dya`"),
        ("text", "`text` is the text of a row"),
        ("label", "`label` is the label of a row"),
    ],
)
def test_a_wrong_group_column_is_told_once(made, column, what):
    fault = fault_of(made, colour_rows(30), split={"group_by": column})
    assert what in fault.what
    assert len(fault.what.splitlines()) == 1
    assert fault.where.endswith("rows.jsonl:1")
    assert "day, source" in fault.fix


@pytest.mark.parametrize(("threshold", "times"), [(None, 0), (0.8, 1)])
def test_near_duplicates_are_spoken_of_only_when_they_are_looked_for(tmp_path, llama3, threshold, times):
    source = str(write_jsonl(tmp_path / "r.jsonl", colour_rows(30)))
    said: list[str] = []
    prepare(recipe_of(source, near_duplicate=threshold), llama3, tmp_path / "d", said.append)
    assert len([line for line in said if "near-duplicates" in line]) == times


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([*colour_rows(30), {"text": "x", "label": "wood"}], "'wood'"),
        ([{**row, "label": "fruit"} for row in colour_rows(30)], "all rows have the label 'fruit'"),
        ([{"text": f"t{n}"} for n in range(9)], "no column for label"),
        ([], "empty"),
        (colour_rows(2), "at least 3"),
    ],
)
def test_data_that_cannot_be_split(made, rows, what):
    fault = fault_of(made, rows)
    assert what in fault.what
    assert fault.fix


def test_a_header_alone_is_no_data(tmp_path, llama3):
    (tmp_path / "r.csv").write_text("text,label\n")
    with pytest.raises(DataError, match="hold no rows") as refused:
        prepare(recipe_of(str(tmp_path / "r.csv")), llama3, tmp_path / "d", lambda _text: None)
    assert refused.value.fix == "a table needs rows below its header; check data.train"


def test_a_missing_column_is_a_matter_of_the_file_and_not_of_its_second_line(tmp_path, llama3):
    (tmp_path / "r.csv").write_text("text,day\na,1\nb,2\n")
    with pytest.raises(DataError, match="no column for label") as refused:
        prepare(recipe_of(str(tmp_path / "r.csv")), llama3, tmp_path / "d", lambda _text: None)
    assert refused.value.where == str(tmp_path / "r.csv")


def test_labels_as_numbers_and_truth(made):
    rows = [{"text": f"t{n}", "label": bool(n % 2)} for n in range(30)]
    assert made(rows).audit["labels"] == ["false", "true"]
    rows = [{"text": f"t{n}", "label": n % 3} for n in range(30)]
    assert made(rows).audit["labels"] == ["0", "1", "2"]


def test_a_failure_leaves_no_scratch_file(made, tmp_path):
    fault_of(made, [*colour_rows(30), {"text": 1}])
    assert list((tmp_path / "data").iterdir()) == []


def test_an_alpaca_input_is_read_where_it_comes_later(tmp_path):
    rows = [{"instruction": "a", "output": "b"}, {"instruction": "c", "input": "d", "output": "e"}]
    source = str(write_jsonl(tmp_path / "r.jsonl", rows))
    roles: dict = {}
    made = list(read_rows_of(recipe_of(source, {"kind": "generate"}), source, roles))
    assert [row.messages[0]["content"] for row in made] == ["a", "c\n\nd"]
    assert roles[source] == {"prompt": "instruction", "response": "output", "input": "input"}


# Further test sets


def test_further_test_sets(made, tmp_path):
    rows = colour_rows(60)
    more = [
        {"text": "New mango", "label": "fruit"},
        {"text": "new  MANGO", "label": "fruit"},
        {"text": "an oak", "label": "wood"},
    ]
    trained = made(rows).rows
    overlap = [{"text": trained["train"][n].text.upper(), "label": "fruit"} for n in range(4)]
    unseen = [{"text": trained["test"][0].text, "label": "fruit"}]
    source = write_jsonl(tmp_path / "more.jsonl", more + overlap + unseen)
    done = made(rows, test=[{"name": "more", "source": str(source)}])
    part = done.audit["test_sets"]["more"]
    assert part["rows"] == 6
    assert part["equal_rows_removed"] == 1
    assert part["rows_with_unknown_label"] == {"wood": 1}
    assert part["rows_also_in_training"] == 4
    written = read_rows(done.folder / "test_more.parquet")
    assert written[0].text == "New mango"
    assert len(written) == 6


def test_a_test_set_without_known_labels(made, tmp_path):
    source = write_jsonl(tmp_path / "more.jsonl", [{"text": "an oak", "label": "wood"}])
    fault = fault_of(made, colour_rows(60), test=[{"name": "more", "source": str(source)}])
    assert "wood" in fault.fix


# Anything


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@given(st.lists(st.tuples(texts, st.sampled_from("abc")), max_size=40), st.sampled_from(["cut", "drop"]))
@settings(max_examples=25, deadline=None)
def test_any_rows_add_up_or_give_one_error(tmp_path_factory, llama3, pairs, over_long):
    folder = tmp_path_factory.mktemp("any")
    base = [(f"row {n} of {label}", label) for n in range(6) for label in "abc"]
    rows = [{"text": text, "label": label} for text, label in base + pairs if text.strip()]
    source = write_jsonl(folder / "rows.jsonl", rows)
    recipe = recipe_of(str(source), max_length=24, over_long=over_long, near_duplicate=0.8)
    done = Prepared(folder / "data", llama3, recipe)
    done.adds_up()
    seen: dict[int, str] = {}
    for name in SPLITS:
        for row in done.rows[name]:
            assert seen.setdefault(content_hash(row.content()), name) == name
            assert row.id == Row(text=row.text, label=row.label).make_id()


@given(st.lists(texts, max_size=50))
def test_a_column_holds_codes_of_sorted_values(values):
    column = _Column()
    for value in values:
        column.append(value)
    names, codes = column.coded()
    assert names == sorted(set(values))
    assert [names[code] for code in codes] == values


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(0, 2**64 - 1))
def test_a_hash_is_found_among_sorted_ones(hashes, other):
    held = np.unique(np.array(hashes, dtype=np.uint64))
    assert all(among(value, held) for value in hashes)
    assert among(other, held) == (other in hashes)
