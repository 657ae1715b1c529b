"""Recipes written for a user's own rows: right kind, columns, group and alarm; always readable."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from afina.errors import AfinaError, DataError, RecipeError
from afina.language import choose
from afina.recipe import Recipe
from afina.recipe_file import Yaml12Loader, read_recipe
from afina.recipe_writer import look_at, name_for, new_recipe, quoted


def _jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return str(path)


def _written(source: str, folder: Path, name: str | None = None) -> Recipe:
    return read_recipe(new_recipe(source, folder / "recipe.yaml", name))


def _mails(count: int = 40) -> list[dict]:
    return [
        {"body": f"mail {i}", "class": ("ham", "phishing")[i % 2], "sender_id": f"s{i // 2 % 5}", "n": i}
        for i in range(count)
    ]


def test_classify_with_group_and_alarm(tmp_path: Path) -> None:
    recipe = _written(_jsonl(tmp_path / "My mails (1).jsonl", _mails()), tmp_path)
    assert recipe.task.kind == "classify"
    assert recipe.task.head == "pooled"
    assert recipe.task.positive == "phishing"
    assert recipe.data.split.group_by == "sender_id"
    assert recipe.train.learning_rate == 1e-3
    assert recipe.base.model == "embedded"
    assert recipe.name == "My-mails-1"
    assert [limit.metric for limit in recipe.gate] == ["macro_f1", "false_positive_rate"]
    assert recipe.data.columns.text is None  # found by its name


def test_the_built_in_corpus(tmp_path: Path) -> None:
    recipe = _written("builtin:phishing", tmp_path)
    assert (recipe.name, recipe.task.positive) == ("phishing", "phishing")
    assert recipe.data.split.group_by == "family"


def test_columns_without_known_names_are_guessed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "sms.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["v1", "v2"])
        writer.writerows([("ham", "spam")[i % 3 == 0], f"a message; with words {i}"] for i in range(30))
    recipe = _written(str(path), tmp_path)
    assert (recipe.data.columns.text, recipe.data.columns.label) == ("v2", "v1")
    assert recipe.task.positive == "spam"


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "why {i}?", "response": "because {i}"}, "generate"),
        ({"instruction": "add", "input": "{i}", "output": "sum {i}", "text": "add {i} sum"}, "generate"),
        ({"question": "why {i}?", "answer": "so {i}", "category": "x"}, "generate"),
        ({"text": "a document {i}"}, "text"),
        ({"text": "a document {i}", "label": "only one"}, "text"),
        ({"text": "a document {i}", "label": "each its own {i}"}, "text"),
        ({"text": "a document {i}", "lang": "es", "country": "MX"}, "text"),
    ],
)
def test_kinds(tmp_path: Path, row: dict[str, str], kind: str) -> None:
    rows = [{name: value.replace("{i}", str(i)) for name, value in row.items()} for i in range(25)]
    recipe = _written(_jsonl(tmp_path / "rows.jsonl", rows), tmp_path)
    assert recipe.task.kind == kind
    assert recipe.train.learning_rate == 5e-4
    assert [limit.metric for limit in recipe.gate] == ["perplexity"]
    assert recipe.data.columns.prompt is None  # set, it would leave out the alpaca form's input


def test_messages(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert (
        _written(_jsonl(tmp_path / "t.jsonl", [{"messages": talk}] * 5), tmp_path).task.kind
        == "generate"
    )


def test_a_file_sorted_by_label_shows_all_labels(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": "a" if i < 4000 else "attack"} for i in range(6000)]
    look = look_at(_jsonl(tmp_path / "sorted.jsonl", rows))
    assert look.labels == ["a", "attack"]
    assert 2000 < look.rows < 2200


def test_a_folder_with_a_subfolder_for_each_label(tmp_path: Path) -> None:
    for label, count in (("ham", 2500), ("spam", 3)):
        (tmp_path / "mails" / label).mkdir(parents=True)
        for i in range(count):
            (tmp_path / "mails" / label / f"{i}.txt").write_text(f"mail {i}")
    look = look_at(str(tmp_path / "mails"))
    assert (look.kind, look.labels, look.positive) == ("classify", ["ham", "spam"], "spam")


def test_a_group_that_one_label_has_too_few_of_is_only_a_comment(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": "x" if i % 4 else "y", "source": f"s{i % 4}"} for i in range(40)]
    recipe = _written(_jsonl(tmp_path / "rows.jsonl", rows), tmp_path)
    assert recipe.data.split.group_by is None
    assert "# group_by: source" in (tmp_path / "recipe.yaml").read_text()


@pytest.mark.parametrize("values", [2, 20])
def test_too_few_or_too_many_values_are_no_group(tmp_path: Path, values: int) -> None:
    rows = [{"text": f"t{i}", "label": "ab"[i % 2], "author": f"x{i % values}"} for i in range(40)]
    assert look_at(_jsonl(tmp_path / "rows.jsonl", rows)).group_by is None


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        ([0, 1], "1"),
        ([False, True], "true"),
        (["Safe", "Vulnerable"], "Vulnerable"),
        (["no", "sí"], "sí"),
        ([1, 2, 3], None),
        (["cats", "dogs"], None),
    ],
)
def test_the_alarm_is_found_by_its_name(tmp_path: Path, labels: list, positive: str | None) -> None:
    rows = [{"text": f"t{i}", "label": labels[i % len(labels)]} for i in range(30)]
    assert _written(_jsonl(tmp_path / "rows.jsonl", rows), tmp_path).task.positive == positive


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    source = _jsonl(tmp_path / "rows.jsonl", _mails())
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(AfinaError, match="exists already"):
        new_recipe(source, tmp_path / "recipe.yaml")
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


def test_nothing_is_written_for_a_bad_name_or_bad_rows(tmp_path: Path) -> None:
    source = _jsonl(tmp_path / "rows.jsonl", _mails())
    with pytest.raises(RecipeError, match="must begin with a letter"):
        new_recipe(source, tmp_path / "recipe.yaml", "../x")
    (tmp_path / "bad.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    with pytest.raises(DataError, match="no column with text"):
        new_recipe(str(tmp_path / "bad.jsonl"), tmp_path / "recipe.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "rows.jsonl"]


def test_comments_are_there_in_both_languages(tmp_path: Path) -> None:
    source = _jsonl(tmp_path / "rows.jsonl", _mails())
    for language in ("en", "es"):
        choose(language)
        text = new_recipe(source, tmp_path / f"{language}.yaml").read_text()
        assert "# base: meta-llama/Llama-3.1-8B-Instruct" in text
        # What was not measured is not promised.
        assert {"en": "expected to be better", "es": "se espera que sea mejor"}[language] in text
        assert text.count("#") > 20


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("builtin:phishing", "phishing"),
        ("data/mails.csv", "mails"),
        ("data/Año (2024)*.csv", "A-o-2024"),
        ("data/mails/*.jsonl", "mails"),
        ("data/mails/", "mails"),
        ("hf:owner/set:config@train", "set"),
        ("**/*.csv", "model"),
        ("---.txt", "model"),
        ("C:\\data\\x.csv", "x"),
    ],
)
def test_names_from_sources(source: str, name: str) -> None:
    assert name_for(source) == name


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
@example("1e-4")
@example("~")
@example("null")
@example("a: b # c")
@example("\x85\u2028\ufeff\x7f")
@example("a:b")
def test_a_quoted_text_is_read_as_itself(text: str) -> None:
    line = quoted(text)
    assert len(line.splitlines()) <= 1
    for value in (f"key: {line}  # comment", f"key: {{inner: {line}}}", f"# {line}\nkey: {line}"):
        found = yaml.load(value, Loader=Yaml12Loader)["key"]
        assert (found["inner"] if isinstance(found, dict) else found) == text


NAMES = (
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool)
)


@settings(max_examples=40, deadline=None)
@given(
    columns=st.lists(NAMES, min_size=2, max_size=4, unique=True),
    labels=st.lists(NAMES, min_size=2, max_size=3, unique=True),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_any_column_names_and_labels_give_a_recipe_that_parses(
    columns: list[str], labels: list[str], delimiter: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = [
            dict.fromkeys(columns[2:], "x")
            | {columns[0]: f"some long text number {i}", columns[1]: labels[i % len(labels)]}
            for i in range(12)
        ]
        _jsonl(path, rows)
        recipe = _written(str(path), Path(folder))
        assert recipe.data.train[0].source == str(path)
        clean = [name.replace(delimiter, "_").replace("\n", "_").replace("\r", "_") for name in columns]
        if len(set(clean)) == len(clean) and not any("\0" in name for name in clean):
            table = Path(folder) / "rows.csv"
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
                writer.writerow(clean)
                writer.writerows([[row[name] for name in columns] for row in rows])
            try:
                new_recipe(str(table), Path(folder) / "csv.yaml")
            except DataError:
                return  # a header that the reader cannot tell the delimiter of, said to the user
            read_recipe(Path(folder) / "csv.yaml")
