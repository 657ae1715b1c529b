"""The data stage: what is removed, kept, cut and dropped adds up, and nothing leaks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.chat import encode_answer, encode_conversation, question_of
from afina.data.duplicates import content_hash
from afina.data.prepare import prepare, read_rows_of
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.errors import AfinaError, DataError
from afina.recipe import Recipe
from tests.conftest import colour_rows, write_jsonl

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
            assert part["labels"] == dict(sorted(Counter(r.label for r in self.rows[name] if r.label).items()))
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
    sentences = [f"w{n}a w{n}b w{n}c w{n}d w{n}e w{n}f w{n}g w{n}h w{n}i w{n}j w{n}k w{n}l" for n in range(40)]
    rows = [
        {"text": f"{text} {' '.join(text.split()[:5])} end {extra}", "label": "ab"[n % 2]}
        for n, text in enumerate(sentences)
        for extra in ("", "so")
    ]
    done = made(rows, near_duplicate=0.8)
    assert done.audit["near_duplicate"] == {"threshold": 0.8, "clusters_of_several": 40, "rows_in_them": 80}
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
        str(write_jsonl(tmp_path / f"{n}.jsonl", [{"text": f"{n} {m}", "label": "ab"[m % 2]} for m in range(9)]))
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
    assert "'metal' is not one of task.labels (fruit, wood)" in fault.what


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
    with pytest.raises(DataError, match="hold no rows"):
        prepare(recipe_of(str(tmp_path / "r.csv")), llama3, tmp_path / "d", lambda _text: None)


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


# Lengths


def long_rows(count: int = 60) -> list[dict]:
    return [{"text": f"row {n}" + " word" * (n % 20) * 4, "label": "ab"[n % 2]} for n in range(count)]


def test_texts_over_the_limit_are_cut_and_counted(made, llama3):
    done = made(long_rows(), max_length=40)
    full = {row["text"]: len(llama3.encode(row["text"])) for row in long_rows()}
    for name in SPLITS:
        part = done.audit["splits"][name]
        mine = [full[row.text] for row in done.rows[name]]
        assert part["cut_rows"] == sum(size > 40 for size in mine)
        assert part["lost_tokens"] == sum(max(0, size - 40) for size in mine)
        assert part["tokens"] == sum(min(40, size) for size in mine)
        assert part["length_tokens"]["max"] == max(min(40, size) for size in mine)
        assert part["dropped_rows"] == {}
    assert sum(done.audit["splits"][name]["cut_rows"] for name in SPLITS) > 20


def test_texts_over_the_limit_are_dropped(made, llama3):
    done = made(long_rows(), max_length=40, over_long="drop")
    short = sum(len(llama3.encode(row["text"])) <= 40 for row in long_rows())
    assert sum(len(done.rows[name]) for name in SPLITS) == short
    dropped = sum((Counter(done.audit["splits"][name]["dropped_rows"]) for name in SPLITS), Counter())
    assert dropped == {"over_long": 60 - short}
    assert all(part["lost_tokens"] == 0 for part in done.audit["splits"].values())


def test_asked_texts_are_counted_as_they_are_read(made, llama3):
    rows = [{**row, "text": f"\n {row['text']}", "label": f"{row['label']} long label"} for row in long_rows()]
    done = made(rows, task={"head": "tokens"}, max_length=64)
    question = question_of(recipe_of("x", {"head": "tokens"}), done.audit["labels"])
    for name in SPLITS:
        part = done.audit["splits"][name]
        messages = [question.messages(row.text, row.label) for row in done.rows[name]]
        whole = [encode_conversation(llama3, one) for one in messages]
        read = [encode_answer(llama3, question, row.text, row.label, 64) for row in done.rows[name]]
        assert part["tokens"] == sum(len(one.ids) for one in read)
        assert part["lost_tokens"] == sum(len(one.ids) for one in whole) - part["tokens"]
        assert part["trained_tokens"] == sum(sum(one.trained) for one in read)
        assert part["cut_rows"] == sum(len(one.ids) > 64 for one in whole)
    fault = fault_of(made, rows, task={"head": "tokens", "instruction": "so many words " * 30}, max_length=64)
    assert "leaves no room" in fault.what


def test_a_begin_token_in_an_asked_text_drops_the_row(made):
    rows = [*colour_rows(40), {"text": "now <|begin_of_text|> again", "label": "fruit"}]
    done = made(rows, task={"head": "tokens"}, max_length=256)
    dropped = [done.audit["splits"][name]["dropped_rows"] for name in SPLITS]
    assert sorted(map(len, dropped)) == [0, 0, 1]
    assert {"begin_token_in_text": 1} in dropped


def talks(count: int = 30) -> list[dict]:
    return [
        {
            "messages": [
                {"role": "system", "content": "Stay"},
                {"role": "user", "content": f"first {n}" + " word" * 60},
                {"role": "assistant", "content": "one"},
                {"role": "user", "content": f"second {n}"},
                {"role": "assistant", "content": "two"},
            ]
        }
        for n in range(count)
    ]


def test_conversations_lose_whole_turns(made, llama3):
    done = made(talks(), task={"kind": "generate"}, max_length=60)
    whole = [{**m, "train": m["role"] == "assistant"} for m in talks()[0]["messages"]]
    lost = len(encode_conversation(llama3, whole).ids)
    lost -= len(encode_conversation(llama3, [whole[0], *whole[3:]]).ids)
    for name in SPLITS:
        part = done.audit["splits"][name]
        assert part["cut_rows"] == part["rows"] == len(done.rows[name])
        assert part["lost_tokens"] == lost * part["rows"]
        assert part["trained_tokens"] == 2 * part["rows"]
        for row in done.rows[name]:
            assert [m["content"].split()[0] for m in row.messages] == ["Stay", "second", "two"]


def test_conversations_that_cannot_be_used_are_dropped_with_the_reason(made):
    short = [{"messages": t["messages"][:1] + t["messages"][3:]} for t in talks(60)]
    odd = [
        [{"role": "user", "content": "u1"}, {"role": "assistant", "content": "a", "train": False}],
        [{"role": "assistant", "content": "a2"}, {"role": "user", "content": "u"}],
        [{"role": "user", "content": "u3 <|begin_of_text|>"}, {"role": "assistant", "content": "a"}],
        [{"role": "user", "content": "u4"}, {"role": "assistant", "content": "long " * 90}],
    ]
    done = made([*short, *({"messages": m} for m in odd)], task={"kind": "generate"}, max_length=60)
    dropped = sum((Counter(part["dropped_rows"]) for part in done.audit["splits"].values()), Counter())
    assert dropped == {
        "no_trained_token": 1,
        "begins_with_assistant": 1,
        "begin_token_in_text": 1,
        "over_long": 1,
    }


def test_all_rows_dropped_says_why(made):
    rows = [{"text": f"{n} " + "word " * 99, "label": "ab"[n % 2]} for n in range(30)]
    fault = fault_of(made, rows, max_length=16, over_long="drop")
    assert "no row is left in the train split" in fault.what
    assert "over_long" in fault.what


def test_documents_train_every_token(made, llama3):
    rows = [{"text": f"document {n} " + "word " * n} for n in range(30)]
    done = made(rows, task={"kind": "text"}, max_length=16)
    for name in SPLITS:
        wanted = sum(len(llama3.encode(row.text)) for row in done.rows[name])  # all but BOS, and the end
        assert done.audit["splits"][name]["trained_tokens"] == wanted


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
    assert [row.text for row in written][0] == "New mango"
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
