"""The untouched base with a good prompt: chosen on validation rows, measured as a model of its own."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from afina.data.chat import encode_conversation
from afina.data.table import read_rows
from afina.errors import DataError, Interrupted
from afina.evaluation.answers import read_column
from afina.evaluation.prompt_asking import Asking
from afina.metrics.calibration import softmax
from tests.conftest import colour_rows
from tests.tiny import Tiny, value

MEANING = "{fruit: It grows on a tree., metal: It comes out of the ground.}"
VARIANTS = (
    "[plain, {name: meant, definitions: MEANING}, {name: think, reasoning_tokens: 3}, "
    "{name: two, shots: 2}]"
).replace("MEANING", MEANING)
SETTINGS = (
    "data.max_length=400",
    "task.labels=[fruit, metal]",
    "train.epochs=0.2",
    "evaluate.baselines=[]",
    "evaluate.metrics=[macro_f1, accuracy]",
    "data.split={train: 0.3, validation: 0.35, test: 0.35}",
)


def prompts(**given) -> str:
    return f"evaluate.prompts={json.dumps(given)}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("prompted"), llama3_folder, llama3, colour_rows(90))


@pytest.fixture(scope="module")
def run(tiny):
    return tiny.run(*SETTINGS, f"evaluate.prompts={{rows: 24, variants: {VARIANTS}}}", stage="report")


def test_every_variant_has_its_figures_and_exact_instruction(run) -> None:
    found = value(run, "evaluation.json")["prompts"]
    assert [one["name"] for one in found] == ["plain", "meant", "think", "two"]
    plain, meant, think, two = found
    question = "Classify the text below. Answer with one of these labels and nothing else: fruit, metal."
    assert plain["instruction"] == two["instruction"] == question
    assert meant["instruction"] == (
        f"{question}\n- fruit: It grows on a tree.\n- metal: It comes out of the ground."
    )
    assert "think step by step" in think["instruction"]
    assert think["answer_instruction"].startswith("Now answer")
    assert (two["shots"]["used"], two["shots"]["labels"]) in [
        (2, ["fruit", "metal"]),
        (2, ["metal", "fruit"]),
    ]
    for one in found:
        lines = {line["metric"]: line for line in one["results"]}
        assert set(lines) == {"macro_f1", "accuracy"}
        assert one["rows"] == lines["accuracy"]["n"] == 24
        low, high = lines["accuracy"]["ci95"]
        assert low <= lines["accuracy"]["value"] <= high
        assert set(one["by_calibration"]) == {"none", "contextual", "bias"}
        assert lines["macro_f1"]["value"] == pytest.approx(max(one["by_calibration"].values()))


def test_the_best_one_is_chosen_and_is_a_model_of_its_own(run) -> None:
    report = value(run, "evaluation.json")
    best = [max(one["by_calibration"].values()) for one in report["prompts"]]
    chosen = [one["chosen"] for one in report["prompts"]]
    assert chosen.count(True) == 1
    assert chosen.index(True) == best.index(max(best))
    assert "prompted" in report["ranking"]["test"]
    compared = [line for line in report["comparisons"] if line["b"] == "prompted"]
    assert {(line["a"], line["metric"]) for line in compared} == {
        ("tuned", "macro_f1"),
        ("tuned", "accuracy"),
    }
    accuracy = next(line for line in compared if line["metric"] == "accuracy")
    assert accuracy["test"].startswith("mid-p McNemar")
    assert {line["model"] for line in report["confusion"]} == {"base", "prompted", "probe", "tuned"}


def test_examples_are_training_rows_and_no_text_is_in_the_evaluation(run) -> None:
    text = run.path("evaluation.json").read_text(encoding="utf-8")
    shots = value(run, "evaluation.json")["prompts"][3]["shots"]
    train = {row.id: row for row in read_rows(run.path("data/train.parquet"))}
    for id_, label in zip(shots["rows"], shots["labels"], strict=True):
        assert train[id_].label == label
    for name in ("train", "validation", "test"):
        assert not any(row.text in text for row in read_rows(run.path(f"data/{name}.parquet")))


def test_validation_figures_are_those_of_the_kept_logits(run) -> None:
    path = run.path("predictions/validation/prompt_plain.parquet")
    logits = np.array(read_column(path, "logits"))
    truth = np.array([["fruit", "metal"].index(label) for label in read_column(path, "label")])
    assert np.bincount(truth).tolist() == [12, 12]
    plain = value(run, "evaluation.json")["prompts"][0]
    said = logits.argmax(axis=1)
    f1 = [
        2 * np.sum((said == code) & (truth == code)) / (np.sum(said == code) + np.sum(truth == code))
        for code in (0, 1)
    ]
    assert plain["by_calibration"]["none"] == pytest.approx(np.mean(f1))


def test_the_plain_prompt_uncalibrated_is_the_base(tiny) -> None:
    run = tiny.run(*SETTINGS, prompts(calibration="none", variants=["plain"]), stage="evaluate")
    base, prompted = (
        read_column(run.path(f"predictions/test/{model}.parquet"), "probabilities")
        for model in ("base", "prompted")
    )
    assert np.allclose(base, prompted, atol=1e-6)
    line = next(
        one
        for one in value(run, "evaluation.json")["prompts"][0]["results"]
        if one["metric"] == "accuracy"
    )
    assert line["n"] == len(read_rows(run.path("data/validation.parquet")))


def test_contextual_calibration_is_that_of_texts_without_content(tiny, llama3) -> None:
    run = tiny.run(*SETTINGS, prompts(calibration="contextual", variants=["plain"]), stage="evaluate")
    [plain] = value(run, "evaluation.json")["prompts"]
    empty = np.array(
        read_column(run.path("predictions/validation/prompt_plain.content_free.parquet"), "logits")
    )
    assert empty.shape == (3, 2)
    shares = -np.log(softmax(empty).mean(axis=0))
    assert list(plain["bias"].values()) == pytest.approx(list(shares - shares.mean()))
    # The model of the test set is the same logits with this bias and temperature.
    [base] = (read_column(run.path("predictions/test/base.parquet"), "probabilities"),)
    wanted = softmax((np.log(base) + shares) / plain["temperature"])
    found = read_column(run.path("predictions/test/prompted.parquet"), "probabilities")
    assert np.allclose(found, wanted, atol=1e-5)


def test_what_the_base_reasons_is_kept_and_read_before_the_answer(run, tiny, llama3) -> None:
    from transformers import LlamaForCausalLM

    path = run.path("predictions/validation/prompt_think.reasoning.parquet")
    said = dict(zip(read_column(path, "id"), read_column(path, "said"), strict=True))
    rows = {row.id: row for row in read_rows(run.path("data/validation.parquet"))}
    kept = run.path("predictions/validation/prompt_think.parquet")
    think = value(run, "evaluation.json")["prompts"][2]
    model = LlamaForCausalLM.from_pretrained(tiny.model)
    first = read_column(kept, "id")[0]
    wanted = []
    for label in ("fruit", "metal"):
        turns = [
            {"role": "user", "content": f"{think['instruction']}\n\n{rows[first].text}", "train": False},
            {"role": "assistant", "content": said[first] or "…", "train": False},
            {"role": "user", "content": think["answer_instruction"], "train": False},
            {"role": "assistant", "content": label, "train": True},
        ]
        encoded = encode_conversation(llama3, turns)
        with torch.no_grad():
            scores = torch.log_softmax(model(torch.tensor([encoded.ids])).logits[0], dim=-1)
        wanted.append(
            sum(
                float(scores[place - 1, token])
                for place, (token, trained) in enumerate(zip(encoded.ids, encoded.trained, strict=True))
                if trained
            )
        )
    assert read_column(kept, "logits")[0] == pytest.approx(wanted, abs=1e-3)


class StoppedAtTheThird(Asking):
    """The real thing, interrupted before the third variant."""

    def logits(self, variant, prompt, name, rows):
        if variant.name == "think":
            raise Interrupted("here")
        return super().logits(variant, prompt, name, rows)


def test_an_interrupted_comparison_goes_on(run, tiny, monkeypatch) -> None:
    from afina.evaluation import prompted

    given = (*SETTINGS, f"evaluate.prompts={{rows: 24, variants: {VARIANTS}}}")
    with monkeypatch.context() as patch:
        patch.setattr(prompted, "Asking", StoppedAtTheThird)
        with pytest.raises(Interrupted):
            tiny.run(*given, stage="evaluate", runs="again")
    flow = tiny.workflow(*given, runs="again")
    path = flow.run.path("predictions/validation/prompt_plain.parquet")
    before = path.stat().st_mtime_ns
    assert not flow.run.path("predictions/validation/prompt_think.parquet").exists()
    flow.do("evaluate")
    assert path.stat().st_mtime_ns == before
    assert value(flow.run, "evaluation.json")["prompts"] == value(run, "evaluation.json")["prompts"]


def test_the_report_shows_the_prompts_and_says_whether_training_was_needed(run) -> None:
    page = run.path("report.html").read_text(encoding="utf-8")
    assert 'id="prompts"' in page
    assert "It grows on a tree." in page
    assert "untrained base with its best prompt" in page


def test_the_gate_may_ask_for_more_than_a_prompt_gives(tiny) -> None:
    limit = {"metric": "accuracy", "against": "prompted", "min_gain": -1.0}
    run = tiny.run(
        *SETTINGS,
        prompts(calibration="none", variants=["plain"]),
        f"gate=[{json.dumps(limit)}]",
        stage="gate",
    )
    [check] = value(run, "gate.json")["checks"]
    assert check["verdict"] == "pass"
    assert "prompted" in check["limit"]


def test_a_prompt_without_room_is_refused_before_training(tiny) -> None:
    with pytest.raises(DataError, match="leaves no room for a text beside the prompt think") as caught:
        tiny.run(
            *SETTINGS,
            "data.max_length=64",
            prompts(variants=[{"name": "think", "reasoning_tokens": 40}]),
            runs="small",
        )
    assert "raise data.max_length" in (caught.value.fix or "")
    assert not list((tiny.folder / "small").rglob("metrics.jsonl"))


# Generating models


@pytest.fixture(scope="module")
def talks(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    rows = [{"prompt": f"Box {n}?", "response": f"It is box {n}."} for n in range(40)]
    return Tiny(tmp_path_factory.mktemp("talks"), llama3_folder, llama3, rows)


TALK = ("task.kind=generate", "train.epochs=0.2", "data.max_length=96")
WAYS = [
    {"name": "plain"},
    {"name": "boxes", "instruction": "You know boxes."},
    {"name": "three", "shots": 3},
]


def test_a_generating_base_is_prompted_by_perplexity(talks) -> None:
    run = talks.run(*TALK, prompts(variants=WAYS), stage="report")
    report = value(run, "evaluation.json")
    values = [one["results"][0]["value"] for one in report["prompts"]]
    assert [one["metric"] for one in report["prompts"]] == ["perplexity"] * 3
    assert [one["chosen"] for one in report["prompts"]].index(True) == values.index(min(values))
    assert report["prompts"][1]["instruction"] == "You know boxes."
    assert set(report["ranking"]["test"]) == {"base", "prompted", "tuned"}
    base, prompted = (run.path(f"predictions/test/{m}.losses.parquet") for m in ("base", "prompted"))
    assert read_column(base, "tokens") == read_column(prompted, "tokens")
    compared = {(line["b"], line["metric"]) for line in report["comparisons"]}
    assert ("prompted", "perplexity") in compared
    # The plain prompt is what the base is asked: its figure is that of the validation rows.
    path = run.path("predictions/validation/prompt_plain.losses.parquet")
    mean = sum(read_column(path, "loss")) / sum(read_column(path, "tokens"))
    assert values[0] == pytest.approx(math.exp(mean))


def test_examples_that_do_not_fit_are_left_out_row_by_row(talks) -> None:
    run = talks.run(
        *TALK, "data.max_length=56", prompts(variants=[{"name": "three", "shots": 3}]), stage="evaluate"
    )
    [three] = value(run, "evaluation.json")["prompts"]
    assert three["shots"]["rows_with_fewer"] == three["rows"]


def test_written_answers_choose_where_they_are_the_main_metric(talks) -> None:
    run = talks.run(
        *TALK,
        "evaluate.metrics=[exact_match]",
        "evaluate.max_new_tokens=3",
        "evaluate.written_rows=2",
        prompts(variants=WAYS[:2]),
        stage="evaluate",
    )
    report = value(run, "evaluation.json")
    assert [one["metric"] for one in report["prompts"]] == ["exact_match"] * 2
    assert [one["rows"] for one in report["prompts"]] == [2, 2]
    models = {line["model"] for line in report["results"] if line["metric"] == "exact_match"}
    assert models == {"base", "prompted", "tuned"}
