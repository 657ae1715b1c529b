"""The recipe's section on prompts, and the names of further models: what is short, what is refused."""

from __future__ import annotations

import pytest

from afina.errors import RecipeError
from afina.recipe_file import dump_recipe, parse_recipe
from afina.recipe_prompts import measured_models, name_of_compared

SMALL = "name: a\ndata: {train: a.csv}\ntask: {labels: [ham, spam]}\n"


def refused(more: str, text: str = SMALL) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text + more)
    return str(caught.value)


def test_nothing_is_asked_unless_it_is_wanted() -> None:
    evaluate = parse_recipe(SMALL).evaluate
    assert (evaluate.prompts, evaluate.compare, evaluate.bits) == (None, [], [])


def test_words_mean_what_they_stand_for() -> None:
    short = parse_recipe(SMALL + "evaluate: {prompts: [plain, few_shot, chain_of_thought]}")
    long = parse_recipe(
        SMALL + "evaluate: {prompts: {rows: 100, calibration: auto, variants: [{name: plain}, "
        "{name: few_shot, shots: 4}, {name: chain_of_thought, reasoning_tokens: 64}]}}"
    )
    assert short == long
    assert parse_recipe(dump_recipe(short)) == short
    mixed = parse_recipe(
        SMALL + "evaluate: {prompts: [plain, {name: mine, instruction: 'Spam?'}]}"
    ).evaluate.prompts
    assert mixed is not None
    assert mixed.variants[1].instruction == "Spam?"


def test_a_setting_inside_of_the_short_form_can_be_given() -> None:
    text = SMALL + "evaluate: {prompts: [plain, few_shot]}"
    found = parse_recipe(
        text, "a", ["evaluate.prompts.rows=20", "evaluate.prompts.variants.1.shots=2"]
    ).evaluate.prompts
    assert found is not None
    assert (found.rows, [one.shots for one in found.variants]) == (20, [0, 2])


@pytest.mark.parametrize(
    ("prompts", "why"),
    [
        ("[definitions]", "definitions needs what each label means"),
        ("[think]", "'think' is not one of plain, chain_of_thought, few_shot"),
        ("[plain, plain]", "two variants have the name 'plain'"),
        ("[plain, {name: other}]", "the variants plain and other ask the same"),
        ("[{name: few_shot}]", "the variant few_shot needs shots"),
        ("[{name: Long Name}]", "must be of the form"),
        ("[]", "at least one entry is needed"),
        ("{variants: [plain], rows: 3}", "must be at least 10"),
        ("[{name: d, definitions: {ham: good}}]", "no definition of spam"),
        ("[{name: d, definitions: {ham: a, spam: b, eggs: c}}]", "eggs is not one of task.labels"),
    ],
)
def test_what_cannot_be_asked_is_refused(prompts: str, why: str) -> None:
    said = refused(f"evaluate: {{prompts: {prompts}}}")
    assert why in said
    assert "evaluate.prompts" in said


def test_each_kind_of_task_has_its_own_prompts() -> None:
    text = "name: a\ndata: {train: a.csv}\ntask: {kind: KIND}\n"
    assert "documents are not asked anything" in refused(
        "evaluate: {prompts: [plain]}", text.replace("KIND", "text")
    )
    generate = text.replace("KIND", "generate")
    assert "variants.0.reasoning_tokens: belongs to kind classify" in refused(
        "evaluate: {prompts: [chain_of_thought]}", generate
    )
    assert "calibration: belongs to kind classify" in refused(
        "evaluate: {prompts: {calibration: bias, variants: [plain]}}", generate
    )
    unnamed = "name: a\ndata: {train: a.csv}\n"
    assert "name the labels in task.labels" in refused(
        "evaluate: {prompts: [{name: d, definitions: {ham: a}}]}", unnamed
    )


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("phishing@1", "phishing@1"),
        ("phishing", "phishing"),
        ("runs/phishing/12", "phishing@12"),
        ("/srv/runs/phishing/12/", "phishing@12"),
        ("s3://bucket/runs/phishing/3", "phishing@3"),
        ("..\\runs\\phishing\\3", "phishing@3"),
    ],
)
def test_a_run_has_one_name_however_it_is_given(entry: str, name: str) -> None:
    assert name_of_compared(entry) == name


@pytest.mark.parametrize(
    ("evaluate", "why"),
    [
        ("compare: [base]", "'base' is not a run"),
        ("compare: ['..']", "'..' is not a run"),
        ("compare: [b@1, runs/b/1]", "b@1 is given twice"),
        ("compare: [a]", "this recipe's own name"),
        ("bits: [8, 8]", "a number is given twice"),
        ("bits: [16]", "must be 4 or 8"),
    ],
)
def test_models_that_cannot_stand_in_the_tables_are_refused(evaluate: str, why: str) -> None:
    assert why in refused(f"evaluate: {{{evaluate}}}")


def test_bits_that_the_model_has_already_are_refused() -> None:
    assert "held in 8 bits already" in refused("base: {bits: 8}\nevaluate: {bits: [8]}")


def test_the_models_of_a_recipe() -> None:
    recipe = parse_recipe(
        SMALL + "evaluate: {prompts: [plain], bits: [8, 4], compare: [old@1], baselines: []}"
    )
    assert measured_models(recipe) == [
        *("base", "prompted", "probe", "tuned", "tuned_8bit", "tuned_4bit", "old@1"),
    ]


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("{metric: accuracy, min: 0.5, model: prompted}", "only with evaluate.prompts"),
        ("{metric: accuracy, min_gain: 0, against: tuned_8bit}", "only when evaluate.bits has"),
        ("{metric: accuracy, min: 0.5, model: tunned}", "'tunned' is not one of base, probe, tuned"),
        ("{metric: accuracy, min_gain: 0, against: old@1}", "'old@1' is not one of"),
    ],
)
def test_a_limit_names_a_model_that_is_measured(limit: str, why: str) -> None:
    said = refused(f"gate: [{limit}]")
    assert why in said
    assert "gate.0" in said


def test_limits_may_name_further_models() -> None:
    more = "evaluate: {prompts: [plain], bits: [4], compare: [old@1]}\ngate:\n"
    for limit in (
        "{metric: accuracy, min_gain: 0, against: prompted}",
        "{metric: accuracy, min_gain: 0, against: old@1}",
        "{metric: accuracy, model: tuned_4bit, against: tuned, min_gain: -0.02}",
        "{metric: accuracy, model: prompted, min: 0.5}",
    ):
        assert parse_recipe(f"{SMALL}{more}- {limit}").gate
    tokens = SMALL.replace("[ham, spam]", "[ham, spam], head: tokens") + more
    assert "prompted has no perplexity" in refused(
        "- {metric: perplexity, max: 9, model: prompted}", tokens
    )
    assert parse_recipe(tokens + "- {metric: perplexity, max: 9, model: tuned_4bit}").gate
