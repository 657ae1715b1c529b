"""The model card: the Hub's own classes read its head, and its words are those of the run's files."""

from __future__ import annotations

import dataclasses
import json

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from afina.language import choose
from afina.recipe_release import Release
from afina.releases.card import card
from afina.releases.card_head import head_of
from afina.releases.facts import Facts, begins_with, facts_of, hub_datasets, shown_source
from afina.releases.licences import Licence
from afina.releases.markdown import cell, code
from afina.releases.texts import write_texts
from afina.reports.unknowns import unknowns
from tests.releases.conftest import AGREEMENT, say_licence
from tests.tiny import value


@pytest.fixture(scope="module")
def facts(made) -> Facts:
    return facts_of(made, made.recipe())


def changed(facts: Facts, **release: str) -> Facts:
    """The same with settings of the recipe's section `release`."""
    recipe = facts.recipe.model_copy(update={"release": Release(**release)})
    return dataclasses.replace(facts, recipe=recipe)


def test_the_hubs_classes_read_the_head_and_write_the_same(made, facts):
    text = made.path("release/README.md").read_text("utf-8")
    read = ModelCard(text)
    assert read.data.to_dict() == head_of(facts)
    again = ModelCardData(**head_of(facts))
    assert again.to_dict() == head_of(facts)
    assert read.text.strip().startswith("# tiny")
    assert read.data.pipeline_tag == "text-classification"
    assert read.data.library_name == "peft"
    assert read.data.license == "unknown"


def test_the_model_index_has_every_whole_result_of_the_tuned_model(made, facts):
    head = head_of(facts)
    name, results = model_index_to_eval_results(head["model-index"])
    assert name == "tiny"
    lines = [
        line
        for line in value(made, "evaluation.json")["results"]
        if line["model"] == "tuned" and line["slice"] is None
    ]
    assert [type(one) for one in results] == [EvalResult] * len(lines)
    by_type = {one.metric_type: one for one in results}
    for line in lines:
        one = by_type[{"macro_f1": "f1", "accuracy": "accuracy"}[line["metric"]]]
        assert one.metric_value == pytest.approx(line["value"], abs=1e-6)
        assert one.metric_args["n"] == line["n"]
        assert one.metric_args["ci95"] == pytest.approx(line["ci95"], abs=1e-6)
        assert f"n = {line['n']}" in one.metric_name
    assert by_type["f1"].metric_args["average"] == "macro"


def test_the_body_says_every_figure_with_interval_and_rows(made, facts):
    text = card(facts, "en")
    for line in value(made, "evaluation.json")["results"]:
        if line["slice"] is None and line["ci95"][0] is not None:
            low, high = line["ci95"]
            assert f"| {line['value']:.3f} | {low:.3f} to {high:.3f} | {line['n']} |" in text, line
    assert "48 rows" in text
    assert "energy: not measured" in text
    assert "| Accuracy of the tuned model, set “test” | at least 0 |" in text


def test_slices_are_groups_in_the_card(made, facts):
    sliced = [line for line in value(made, "evaluation.json")["results"] if line["slice"]]
    text = card(facts, "en")
    if not sliced:  # too few rows of each day: it says so instead
        assert "Groups of rows were not measured apart" in text
    for line in sliced:
        if line["model"] == "tuned" and line["metric"] == "macro_f1":
            assert f"| day = {line['slice']['day']} | macro F1 | {line['value']:.3f} |" in text


@pytest.mark.parametrize("language", ["en", "es"])
def test_limits_are_what_the_report_says_is_not_known(facts, language):
    text = card(facts, language)
    said = unknowns(facts.figures, language)
    assert len(said) >= 3
    for one in said:
        assert f"- {' '.join(one.split())}" in text


def test_hashes_of_data_recipe_and_base_are_there(made, facts):
    text = card(facts, "en")
    outputs = value(made, "stages/data.json")["outputs"]
    for part in ("train", "validation", "test"):
        assert outputs[f"data/{part}.parquet"] in text
    assert value(made, "run.json")["recipe_sha256"] in text
    assert value(made, "release/inference.json")["base"]["sha256"] in text


def test_both_languages_are_in_every_release(made, copied):
    release = made.path("release")
    assert "## Intended use" in (release / "README.md").read_text("utf-8")
    spanish = (release / "README.es.md").read_text("utf-8")
    assert "## Uso previsto" in spanish
    assert "[In English](README.md)" in spanish
    assert not (release / "README.en.md").exists()
    choose("es")
    write_texts(copied, copied.recipe())
    release = copied.path("release")
    assert "## Uso previsto" in (release / "README.md").read_text("utf-8")
    assert "[En español](README.md)" in (release / "README.en.md").read_text("utf-8")
    assert not (release / "README.es.md").exists()
    heads = [ModelCard.load(release / name).data for name in ("README.md", "README.en.md")]
    assert heads[0].to_dict() == heads[1].to_dict()


def test_the_folders_of_this_machine_are_not_in_the_card(made, facts):
    for language in ("en", "es"):
        text = card(facts, language)
        assert str(made.root.parent.parent) not in text
        assert "`base`" in text  # the base's folder, by its last name
        assert "`rows.jsonl`" in text
    assert "base_model" not in head_of(facts)
    assert shown_source("/home/ana/mail/*.csv") == "*.csv"
    assert shown_source("hf:org/mail:en@train") == "hf:org/mail:en@train"
    assert shown_source("builtin:phishing") == "builtin:phishing"


def test_a_hub_base_and_hub_data_are_named_by_their_ids(facts):
    recipe = facts.recipe.model_copy(
        update={
            "data": facts.recipe.data.model_copy(
                update={
                    "train": [
                        source.model_copy(update={"source": "hf:org/mail:en@train"})
                        for source in facts.recipe.data.train
                    ]
                }
            )
        }
    )
    head = head_of(dataclasses.replace(facts, recipe=recipe, hub_base="org/base"))
    assert (head["base_model"], head["base_model_relation"]) == ("org/base", "adapter")
    assert head["datasets"] == hub_datasets(recipe) == ["org/mail"]


def test_a_llama3_card_does_what_the_licence_asks(copied, base_folder):
    say_licence(base_folder, "llama3")
    write_texts(copied, copied.recipe())
    release = copied.path("release")
    for language, name in (("en", "README.md"), ("es", "README.es.md")):
        text = (release / name).read_text("utf-8")
        head = ModelCard(text).data
        assert head.license == "llama3"
        assert head.model_name == "Llama 3 tiny"
        assert "# Llama 3 tiny\n\n**Built with Meta Llama 3**\n" in text, language
        assert "https://llama.meta.com/llama3/use-policy" in text
    assert (release / "LICENSE").read_text("utf-8") == AGREEMENT["llama3"]
    assert "Acceptable use" in (release / "USE_POLICY.md").read_text("utf-8")
    assert (release / "NOTICE").read_text("utf-8").startswith("Meta Llama 3 is licensed under the Meta")


def test_a_card_says_which_files_of_a_llama_are_missing(copied, base_folder):
    say_licence(base_folder, "llama3.2", files=False)
    write_texts(copied, copied.recipe())
    text = copied.path("release/README.md").read_text("utf-8")
    assert "does not have them: `LICENSE`, `USE_POLICY.md`." in text
    assert not copied.path("release/LICENSE").exists()
    assert copied.path("release/NOTICE").exists()


def test_an_apache_base_brings_its_licence_and_an_unknown_one_is_said(facts, copied, base_folder):
    assert "The licence is not known." in card(facts, "en")
    assert "it may have been made from it" in card(facts, "en")
    say_licence(base_folder, "apache-2.0")
    write_texts(copied, copied.recipe())
    assert "Version 2.0, January 2004" in copied.path("release/LICENSE").read_text("utf-8")
    other = Licence("other", "card", "My-Licence", "https://x.example/l")
    head = head_of(dataclasses.replace(facts, licence=other))
    assert (head["license"], head["license_name"], head["license_link"]) == (
        "other",
        "My-Licence",
        "https://x.example/l",
    )


def test_what_the_recipe_says_of_use_is_in_the_card(facts):
    text = card(changed(facts, intended_use="Sorting fruit | metal", out_of_scope="Selling"), "en")
    assert "\nSorting fruit | metal\n" in text
    assert "\n- Selling\n" in text


def test_the_card_says_that_nothing_was_trained(facts):
    said = "these weights are those from before training"
    for step in (0, 5):
        train = {**facts.figures.train, "best_step": step}
        figures = dataclasses.replace(facts.figures, train=train)
        assert (said in card(dataclasses.replace(facts, figures=figures), "en")) is (step == 0)


def test_a_model_with_all_weights_trained_is_no_adapter(facts):
    adapter = facts.recipe.adapter.model_copy(update={"kind": "full"})
    recipe = facts.recipe.model_copy(update={"adapter": adapter})
    full = dataclasses.replace(facts, recipe=recipe, hub_base="org/base")
    head = head_of(full)
    assert (head["library_name"], head["base_model_relation"]) == ("transformers", "finetune")
    assert head["tags"] == ["afina", "full"]
    text = card(full, "en")
    assert "All weights of `org/base`" in text
    assert "adapter of rank" not in text


def test_the_machine_that_trained_is_named(made, facts):
    hardware = value(made, "train.json")["hardware"]
    assert hardware["cores"] >= 1
    assert hardware["memory_bytes"] > 2**28
    assert hardware["processor"] in card(facts, "en")
    assert "machine: not noted" in card(dataclasses.replace(facts, hardware=None), "en")


def test_personal_data_in_training_rows_is_counted(facts):
    assert facts.looked.personal_rows == 0
    looked = dataclasses.replace(facts.looked, personal={"email": 3}, personal_rows=3)
    text = card(dataclasses.replace(facts, looked=looked), "en")
    assert f"Of {looked.rows} training rows looked at, out of {looked.of}, 3 hold" in text
    assert "share it only with those who may see that" in text


def test_cells_stay_cells():
    assert cell("a|b\nc") == "a\\|b c"
    assert cell("<script>") == "&lt;script>"
    assert code("a`b\n") == "`a'b`"
    assert begins_with("Llama-3-mail", "Llama 3")
    assert begins_with("llama_3_mail", "Llama 3")
    assert not begins_with("my-llama-3", "Llama 3")
    assert begins_with("anything", "")
    assert json.dumps(cell("ñ")) == '"\\u00f1"'
