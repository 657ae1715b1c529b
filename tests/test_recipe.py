"""The recipe: what is refused, with which words and which line, and what a round trip keeps."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from afina.errors import Problem, RecipeError
from afina.recipe import Recipe
from afina.recipe_file import all_fields, parse_recipe, read_recipe

SMALL = "name: mails\ndata: {train: mails.csv}\n"


def faults(text: str, overrides: list[str] | None = None) -> dict[str, Problem]:
    """The problems of a recipe by field."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.yaml", overrides)
    return {problem.field: problem for problem in caught.value.problems}


def at(path: str, value: object) -> dict:
    """A small valid recipe's settings with one more setting at a dotted place."""
    whole: dict = {"name": "mails", "data": {"train": [{"source": "mails.csv"}]}}
    parts = path.split(".")
    target = whole
    for position, part in enumerate(parts[:-1]):
        if part in ("gate", "test") and not (part == "test" and "split" in parts[:position]):
            start = (
                {"metric": "accuracy", "min": 0.5} if part == "gate" else {"name": "a", "source": "b"}
            )
            target = target.setdefault(part, [start])[0]
        elif part == "train" and position == 1:
            target = target["train"][0]
        elif part == "variants":
            target = target.setdefault(part, [{"name": "a"}])[0]
        else:
            target = target.setdefault(part, {})
    target[parts[-1]] = value
    return whole


def test_defaults_are_those_of_the_issue() -> None:
    recipe = parse_recipe(SMALL)
    assert (recipe.adapter.rank, recipe.adapter.alpha, recipe.adapter.dropout) == (16, 32, 0.1)
    assert (recipe.train.learning_rate, recipe.train.epochs, recipe.data.max_length) == (1e-4, 3, 2048)
    assert (recipe.data.split.train, recipe.data.split.validation) == (0.8, 0.1)
    assert recipe.base.model == "embedded"
    assert recipe.data.train[0].source == "mails.csv"


def test_short_forms_mean_the_long_ones() -> None:
    short = parse_recipe("name: a\nbase: ./folder\ndata: {train: [x.csv, {source: y.csv, weight: 2}]}")
    long = parse_recipe(
        "name: a\nbase: {model: ./folder}\n"
        "data: {train: [{source: x.csv}, {source: y.csv, weight: 2.0}]}"
    )
    assert short == long


@pytest.mark.parametrize("path", [name for name, _field in all_fields()])
def test_a_misspelt_key_gets_its_nearest_name_at_every_level(path: str) -> None:
    import yaml

    last = path.split(".")[-1]
    misspelt = last[: len(last) // 2] + last[len(last) // 2] + last[len(last) // 2 :]
    if any(name.split(".")[-1] == misspelt for name, _field in all_fields()):
        pytest.skip("this misspelling is another setting's name")
    found = faults(yaml.safe_dump(at(f"{path[: -len(last)]}{misspelt}", 1), sort_keys=False))
    problem = next(p for field, p in found.items() if field.split(".")[-1] == misspelt)
    assert problem.what == "there is no such setting"
    assert problem.fix is not None
    assert problem.fix.endswith(f"{last}`?")
    assert problem.line is not None


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one() -> None:
    assert (
        faults(SMALL + "learning_rate: 1e-4")["learning_rate"].fix
        == "did you mean `train.learning_rate`?"
    )
    assert (
        faults(SMALL + "lerning_rate: 1e-4")["lerning_rate"].fix == "did you mean `train.learning_rate`?"
    )
    assert faults(SMALL + "train: {Learning-Rate: 1}")["train.Learning-Rate"].fix == (
        "did you mean `train.learning_rate`?"
    )


def test_a_key_like_none_gets_the_list() -> None:
    assert "known here: version, name, seed" in (faults(SMALL + "qqqq: 1")["qqqq"].fix or "")


def test_all_faults_come_at_once_each_with_file_and_line() -> None:
    text = """version: 1
name: mails
data:
  train: mails.csv
  splitt: {train: 0.8}
train:
  batch_rows: three
  learning_rte: 1e-3
adapter: {rank: 0.5}
gate:
  - {metric: accuracy, min: no}
"""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "folder/r.yaml")
    lines = {problem.field: problem.line for problem in caught.value.problems}
    assert lines == {
        "data.splitt": 5,
        "train.batch_rows": 7,
        "train.learning_rte": 8,
        "adapter.rank": 9,
        "gate.0.min": 11,
    }
    shown = str(caught.value)
    assert (
        "folder/r.yaml:7: train.batch_rows: a whole number belongs here; found 'three' (text)" in shown
    )
    value = caught.value.as_json()
    assert value["exit_code"] == 2
    assert len(value["problems"]) == 5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-4", 1e-4),
        (".5", 0.5),
        ("1", 1.0),
        ("+1.e-2", 0.01),
        ("2E-3", 0.002),
        ("0.25", 0.25),
        ("0x1", 1.0),
    ],
)
def test_numbers_are_those_of_yaml_1_2(written: str, meant: float) -> None:
    assert parse_recipe(SMALL + f"train: {{learning_rate: {written}}}").train.learning_rate == meant


def test_hexadecimal_and_octal_whole_numbers() -> None:
    assert parse_recipe(SMALL + "train: {batch_rows: 0x10}").train.batch_rows == 16
    assert parse_recipe(SMALL + "train: {batch_rows: 0o17}").train.batch_rows == 15
    assert parse_recipe(SMALL + "train: {batch_rows: 010}").train.batch_rows == 10


@pytest.mark.parametrize("written", ["1_000", "'3'", "3.0", "yes", "three", "[3]", "1:30", "0b11"])
def test_what_is_no_whole_number_is_refused(written: str) -> None:
    problem = faults(SMALL + f"train:\n  batch_rows: {written}")["train.batch_rows"]
    assert "a whole number belongs here; found" in problem.what
    assert problem.line == 4


def test_yes_no_on_off_are_words() -> None:
    recipe = parse_recipe(SMALL + "task: {labels: [no, on, yes, off], positive: on}")
    assert recipe.task.labels == ["no", "on", "yes", "off"]
    assert "train.checkpoint_activations" in faults(SMALL + "train: {checkpoint_activations: yes}")


def test_a_number_as_text_is_told_to_take_quotes() -> None:
    found = faults("name: 2024\ndata: {train: a.csv}\ntask: {labels: [0, 1]}")
    assert found["name"].fix == found["task.labels.1"].fix == "put it in quotes if it is meant as text"
    assert parse_recipe("name: '2024'\ndata: {train: a.csv}\ntask: {labels: ['0', '1']}").name == "2024"


@pytest.mark.parametrize("written", [".nan", ".inf", "-.inf", "1e999"])
def test_numbers_that_are_not_finite_are_refused(written: str) -> None:
    found = faults(
        SMALL + f"gate: [{{metric: accuracy, min: {written}}}]\ntrain: {{max_grad_norm: {written}}}"
    )
    assert set(found) == {"gate.0.min", "train.max_grad_norm"}


def test_a_key_given_twice_names_both_lines() -> None:
    problem = faults(SMALL + "train:\n  batch_rows: 1\n  batch_rows: 2\n")["train.batch_rows"]
    assert problem.what == "given twice (first on line 4)"
    assert problem.line == 5
    assert problem.fix == "keep one of the two"


@pytest.mark.parametrize("kind", ["multilabel", "tag", "retrieve"])
def test_kinds_that_are_not_built_are_refused_by_name(kind: str) -> None:
    assert (
        f"the kind '{kind}' is not built yet"
        in faults(SMALL + f"task: {{kind: {kind}}}")["task.kind"].what
    )


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("task: {labels: [a, b], positive: c}", "task", "which is not one of a, b"),
        ("task: {labels: [a]}", "task", "at least two different"),
        ("task: {labels: [a, ' ']}", "task", "a label is empty"),
        ("task: {kind: text, labels: [a, b]}", "task", "labels belong to kind classify"),
        ("task: {kind: text, positive: b}", "task.positive", "belongs to kind classify"),
        (
            "task: {head: tokens}\ntrain: {head_strength: 0.1}",
            "train.head_strength",
            "with head: pooled",
        ),
        ("adapter: {targets: [q_proj, w]}", "adapter.targets", "targets w not among"),
        ("adapter: {targets: q_proj}", "adapter.targets", "must be 'all-linear'"),
        ("gate: [{metric: accuracy}]", "gate.0", "give exactly one of"),
        ("gate: [{metric: accuracy, min_gain: 0.1}]", "gate.0", "min_gain needs against"),
        ("gate: [{metric: accuracy, min: 0, set: other}]", "gate.0", "set 'other' is not one of test"),
        ("gate: [{metric: perplexity, max: 3}]", "gate.0", "a pooled head has no perplexity"),
        ("gate: [{metric: accuracy, min: 90}]", "gate.0", "a share between 0 and 1: 0.9 means 90 %"),
        ("gate: [{metric: recall, max: -0.1}]", "gate.0", "max -0.1: recall is a share"),
        (
            "gate: [{metric: auc, against: base, min_gain: 10}]",
            "gate.0",
            "between -1 and 1: 0.1 means 10 percentage points",
        ),
        (
            "gate: [{metric: accuracy, model: probe, against: base, min_gain: 0}]",
            "gate.0",
            "the tuned model",
        ),
        (
            "evaluate: {metrics: [auc]}\ngate: [{metric: accuracy, min: 0}]",
            "gate.0",
            "not in evaluate.metrics",
        ),
        (
            "evaluate: {baselines: []}\ngate: [{metric: auc, model: tfidf, min: 0}]",
            "gate.0",
            "tfidf is compared",
        ),
        (
            "task: {head: tokens}\ngate: [{metric: auc, model: probe, min: 0}]",
            "gate.0",
            "there is a probe only",
        ),
        ("task: {kind: text}\ngate: [{metric: auc, min: 0}]", "gate.0", "auc belongs to kind classify"),
        (
            "task: {labels: [a, b, c]}\nevaluate: {metrics: [recall]}",
            "evaluate.metrics",
            "task.positive",
        ),
        ("evaluate: {metrics: []}", "evaluate.metrics", "at least one metric"),
    ],
)
def test_sections_that_do_not_agree(text: str, field: str, words: str) -> None:
    problem = faults(SMALL + text)[field]
    assert words in problem.what
    assert problem.line is not None
    assert problem.line >= 3


def test_the_split_must_sum_to_one_and_test_sets_have_names_of_their_own() -> None:
    found = faults(
        "name: a\ndata:\n  train: a\n  split: {train: 0.8, validation: 0.3}\n"
        "  test: [{name: test, source: b}, {name: B, source: c}]"
    )
    assert "must be 1, not 1.2" in found["data.split"].what
    assert "'test' is the name of a split" in found["data.test.0.name"].what
    assert "data.test.1.name" in found


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a b", "a" * 81, "ñ", "a\n"])
def test_a_name_is_a_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"name": name, "data": {"train": "a"}})


def test_set_changes_one_setting() -> None:
    recipe = parse_recipe(
        SMALL + "gate: [{metric: accuracy, min: 0.5}]",
        overrides=[
            "train.batch_rows=5",
            "base.bits=4",
            "data.train.0.weight=2",
            "gate.0.min=0.7",
            "task.labels=[a, b]",
            "data.near_duplicate=null",
        ],
    )
    assert (recipe.train.batch_rows, recipe.base.bits, recipe.base.model) == (5, 4, "embedded")
    assert (recipe.data.train[0].weight, recipe.data.train[0].source) == (2.0, "mails.csv")
    assert recipe.gate[0].min == 0.7
    assert recipe.task.labels == ["a", "b"]
    assert recipe.data.near_duplicate is None


def test_set_reaches_into_the_short_form_of_the_base() -> None:
    recipe = parse_recipe(SMALL + "base: ./folder", overrides=["base.bits=8"])
    assert (recipe.base.model, recipe.base.bits) == ("./folder", 8)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.batch_rows", "is not of the form field=value"),
        ("=3", "is not of the form field=value"),
        ("train.epoch=3", "there is no such setting (given by --set)"),
        ("train.batch_rows=x", "a whole number belongs here; found 'x' (text) (given by --set)"),
        ("train.batch_rows=", "found null (nothing) (given by --set)"),
        ("gate.0.max=0.1", "`gate` has no entries"),
        ("data.train.1.weight=2", "`data.train` has entries 0 to 0, not `1`"),
        ("name.first=a", "`name` has no settings inside"),
        ("task.labels=[a", "is not a YAML value"),
    ],
)
def test_a_faulty_set_is_told_as_such_and_without_a_line_of_the_file(override: str, words: str) -> None:
    text = SMALL + "train: {epochs: 1}\ngate: []\n"
    problem = next(iter(faults(text, [override]).values()))
    assert words in problem.what
    assert problem.line is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "this file holds nothing"),
        (b"# only a comment\n", "this file holds nothing"),
        (b"- a\n- b\n", "this file holds a list"),
        (b"just words", "this file holds text"),
        (b"\x89PNG\r\n\x1a\n\x00\x01", "is not UTF-8"),
        (b"name: caf\xe9\n", "byte 9 is not UTF-8"),
        (b"name: a\x00b\n", "special characters are not allowed"),
        (b"name: a\n\tdata: b\n", "cannot start any token"),
        (b"name: a\n---\nname: b\n", "expected a single document"),
        (b"name: [a\n", "expected ',' or ']'"),
        (b"[" * 2000, "nested too deeply"),
        (b"name: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        (b"? [a, b]\n: 1\n", "unhashable"),
        (b"name: " + b"9" * 5000, "Exceeds the limit"),
        (b"name: " + b"a" * 2_000_000, "too large for a recipe"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content: bytes, words: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_file_a_folder_and_data_in_its_place(tmp_path) -> None:
    with pytest.raises(RecipeError, match="there is no such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="this is a folder"):
        read_recipe(tmp_path)
    data = tmp_path / "mails.csv"
    data.write_text("text,label\na,b\n")
    with pytest.raises(RecipeError, match="afina recipe new"):
        read_recipe(data)


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_recipe("\ufeff" + SMALL).name == "mails"


def test_aliases_that_grow_without_end_cost_nothing() -> None:
    layers = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    found = faults(layers + "name: *a29\ndata: {train: *a29}\nloop: &l [*l]\ngate: &g [*g]\n")
    assert len(found["name"].what) < 2000
    assert {"a0", "loop", "gate.0"} <= set(found)


def test_an_alias_may_be_used() -> None:
    recipe = parse_recipe("name: a\ndata: {train: &s x.csv, test: [{name: again, source: *s}]}")
    assert recipe.data.test[0].source == "x.csv"


def test_a_recipe_is_frozen_at_every_level() -> None:
    recipe = parse_recipe(SMALL)
    with pytest.raises(ValidationError):
        recipe.name = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        recipe.train.batch_rows = 9  # type: ignore[misc]


def test_every_setting_has_a_description_or_is_a_section() -> None:
    missing = [name for name, field in all_fields() if not field.description and "." in name]
    assert [
        name for name in missing if name not in ("data.columns", "data.split", "train.distributed")
    ] == []
