"""`adapter.kind: full` from recipe to report: no adapter is left, and nothing speaks of one."""

from __future__ import annotations

import pytest
import yaml
from benchmarks.kills import prepare

import afina
from afina.errors import RecipeError

FULL = ["adapter={kind: full}", "train.epochs=2", "train.learning_rate=0.001", "train.patience=null"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, llama3_folder):
    folder = tmp_path_factory.mktemp("full")
    prepare(folder, llama3_folder, rows=90)
    return folder


@pytest.fixture(scope="module")
def result(place):
    return afina.run(place / "r.yaml", runs=str(place / "runs"), overrides=FULL, language="en")


def test_the_release_is_a_model_and_no_adapter(result) -> None:
    from transformers import AutoModelForCausalLM

    release = result.folder / "release"
    assert not (release / "adapter").exists()
    model = AutoModelForCausalLM.from_pretrained(release / "model")
    kept = result.training
    assert kept["trained_parameters"] == kept["all_parameters"] + 2 * model.config.hidden_size + 2
    assert kept["adapter_weight"] == 1.0
    assert kept["validation_accuracy_by_weight"] is None
    assert kept["held_memory"]["saved"] == pytest.approx(0, abs=0.05)


def test_card_and_report_say_that_all_weights_were_trained(result) -> None:
    text = (result.folder / "release" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "transformers"
    assert head["tags"] == ["afina", "full"]
    assert "All weights of" in text
    assert "A full adapter" not in text
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "full" in page
    assert "adapter of rank" not in page


def test_the_engine_answers_by_the_models_own_weights(result) -> None:
    found = afina.open_model(str(result.folder)).classify(["the box is red", "the box is blue"])
    assert [sum(row.values()) for row in found] == pytest.approx([1, 1])


def test_check_and_estimate_count_more_memory_than_an_adapter_takes(place) -> None:
    lora = afina.check_recipe(place / "r.yaml")
    full = afina.check_recipe(place / "r.yaml", overrides=FULL)
    assert full.memory.adapter > 10 * lora.memory.adapter
    estimate = afina.estimate_recipe(place / "r.yaml", overrides=FULL, seconds=0.3)
    assert estimate.steps == full.steps


def test_fewer_bits_are_refused_by_name(place) -> None:
    with pytest.raises(RecipeError, match="bits"):
        afina.check_recipe(place / "r.yaml", overrides=[*FULL, "base.bits=4"])
