"""Merged models: the numbers, what other tools load, what is refused, what is left behind."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

import afina
from afina.cli import main
from afina.errors import AfinaError, StorageError
from afina.exports.agreement import States, compare
from afina.exports.merge import merged_model, with_adapter
from afina.inference.engine import Engine
from afina.inference.settings import read_settings
from afina.models.load import attach_adapter
from afina.recipe import Adapter
from tests.conftest import tiny_config
from tests.tiny import Tiny, value

TEXTS = ["Lot 1: the iron and the zinc", "Lot 2: the mango and the lime", "Lot 3: tin"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("export"), llama3_folder, llama3)


@pytest.fixture(scope="module")
def wide(tmp_path_factory, wide_llama3, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("wide_export"), wide_llama3, llama3)


@pytest.fixture(scope="module")
def trained(tiny, wide):
    """A run by what is set, trained when it is first asked for."""
    known = {}

    def run(*settings: str):
        if settings not in known:
            place = wide if "base.bits=4" in settings else tiny
            known[settings] = place.run("train.patience=null", *settings, runs=f"runs{len(known)}")
        return known[settings]

    return run


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_the_weights_are_those_that_peft_would_merge(kind):
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    base = LlamaForCausalLM(tiny_config(97)).requires_grad_(False).eval()
    tuned = attach_adapter(base, Adapter(kind=kind, rank=4, alpha=8, dropout=0.1), "a/base", 1).eval()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        wanted = tuned(ids).logits
        layers = [m for m in tuned.modules() if hasattr(m, "lora_A") and hasattr(m, "base_layer")]
        ours = [with_adapter(layer, layer.base_layer.weight.float()) for layer in layers]
        for layer, weight in zip(layers, ours, strict=True):
            layer.merge()
            torch.testing.assert_close(weight, layer.base_layer.weight, rtol=1e-5, atol=1e-6)
            layer.unmerge()
        merged = merged_model(tuned, "fp32", 32)
        torch.testing.assert_close(merged(ids).logits, wanted, rtol=1e-4, atol=1e-5)
    assert len(ours) == 14
    assert not [name for name, _p in merged.named_parameters() if "lora" in name]


TOKENS = ("task.head=tokens", "data.max_length=96", "train.learning_rate=0.01", "train.epochs=1")
CASES = {
    "lora": ("adapter={rank: 4, alpha: 8}", "train.learning_rate=0.0005"),
    "dora tokens bf16": ("adapter={rank: 4, alpha: 8, kind: dora}", *TOKENS, "train.precision=bf16"),
    "full tokens": ("adapter={kind: full}", *TOKENS, "train.learning_rate=0.0005"),
    "4 bits tokens": ("adapter={rank: 4, alpha: 8}", *TOKENS, "base.bits=4"),
    "8 bits text": (
        "adapter={rank: 4, alpha: 8}", "base.bits=8", "task.kind=text", "train.learning_rate=0.01",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_merged_model_is_the_runs_own(trained, case, tmp_path):
    if "bits" in case and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = trained(*CASES[case])
    result = afina.export(str(run.root), to="merged", out=tmp_path / "out")
    figures = json.loads((tmp_path / "out/merge.json").read_text())
    assert figures == result.figures
    assert figures["schema"] == "afina/merge/1"
    rows = sum(value(run, "data/audit.json")["splits"][name]["rows"] for name in ("test", "validation"))
    assert figures["prompts"] == rows < 100
    assert figures["enough_prompts"] is False
    assert figures["largest_logit"] > 0
    assert figures["relative_difference"] <= figures["tolerance"] == (0.05 if "bf16" in case else 1e-4)
    assert figures["adapter_effect"] > 10 * figures["relative_difference"]
    top = figures["top1"]
    assert top["ci95"][0] <= top["share"] <= top["ci95"][1]
    assert top["share"] == top["agreeing"] / figures["places"] > (0.8 if "bf16" in case else 0.99)

    # What any other tool loads: no adapter, no quantisation, every end token, the chat template.
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert plain.dtype == (torch.bfloat16 if "bf16" in case else torch.float32)
    assert plain.generation_config.eos_token_id == [128001, 128008, 128009]
    assert not hasattr(plain.config, "quantization_config")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    assert "<|start_header_id|>" in tokenizer.chat_template
    own, again = Engine(run.path("release")), Engine(tmp_path / "out")
    with torch.no_grad():
        tolerance = 0.05 if "bf16" in case else 1e-4
        left, right = own.model(ids).logits.float(), plain(ids).logits.float()
        assert float((left - right).abs().max()) <= tolerance * float(left.abs().max())
    if own.settings.labels:
        np.testing.assert_allclose(
            again.classify(TEXTS), own.classify(TEXTS), atol=0.05 if "bf16" in case else 1e-4
        )
    kept = read_settings(tmp_path / "out/inference.json")
    assert (kept.adapters, kept.weights, kept.bits) == ([], ".", 16)
    assert (tmp_path / "out/head.safetensors").exists() == (own.settings.kind == "classify" and
                                                            "tokens" not in case)  # fmt: skip
    assert str(run.root) not in (tmp_path / "out/config.json").read_text()


def test_fp32_numbers_of_a_bf16_run(trained, tmp_path):
    run = trained(*CASES["dora tokens bf16"])
    result = afina.export(str(run.root), out=tmp_path / "out", bits=32)
    assert result.figures["bits"] == 32
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "float32"


def test_a_merge_without_its_adapter_is_refused_and_leaves_nothing(trained, tmp_path, monkeypatch):
    run = trained(*CASES["lora"])
    monkeypatch.setattr("afina.exports.merge.with_adapter", lambda layer, weight: weight)
    with pytest.raises(AfinaError, match="nothing was kept") as caught:
        afina.export(str(run.root), out=tmp_path / "out")
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unless_it_is_said(trained, tmp_path, capsys):
    run = trained(*CASES["lora"])
    with pytest.raises(SystemExit) as left:
        main(["export", str(run.root), "--to", "merged"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "against the run's own model" in shown
    assert "this run has only 12 rows to compare on" in shown
    folder = run.path("exports/merged")
    made = (folder / "merge.json").stat().st_mtime_ns
    with pytest.raises(StorageError, match="export in this folder already"):
        afina.export(str(run.root))
    assert (folder / "merge.json").stat().st_mtime_ns == made
    afina.export(str(run.root), overwrite=True)
    assert (folder / "merge.json").stat().st_mtime_ns != made

    (tmp_path / "mine.txt").write_text("not an export")
    with pytest.raises(StorageError, match="something else in this folder"):
        afina.export(str(run.root), out=tmp_path, overwrite=True)
    with pytest.raises(StorageError, match="release is not changed"):
        afina.export(str(run.root), out=run.path("release/merged"))
    assert (tmp_path / "mine.txt").read_text() == "not an export"


def test_an_adapter_is_copied_whole(trained, tmp_path):
    run = trained(*CASES["lora"])
    result = afina.export(str(run.root), to="adapter", out=tmp_path / "out")
    assert result.figures == {}
    for path in run.path("release").rglob("*"):
        if path.is_file():
            copied = tmp_path / "out" / path.relative_to(run.path("release"))
            assert copied.read_bytes() == path.read_bytes()
    assert Engine(tmp_path / "out").classify(TEXTS).shape == (3, 2)
    full = trained(*CASES["full tokens"])
    with pytest.raises(AfinaError, match="it has no adapter"):
        afina.export(str(full.root), to="adapter", out=tmp_path / "none")


def test_a_run_without_a_model_is_refused(tiny):
    run = tiny.run("train.epochs=1", stage="data", runs="untrained")
    with pytest.raises(AfinaError, match="no trained model yet"):
        afina.export(str(run.root))


def test_other_words_are_refused(trained, tmp_path):
    run = str(trained(*CASES["lora"]).root)
    with pytest.raises(AfinaError, match="'zip' is no kind of export"):
        afina.export(run, to="zip")
    with pytest.raises(AfinaError, match="an export to merged has no 8 bits") as refused:
        afina.export(run, bits=8, out=tmp_path / "out")
    assert refused.value.fix == "use one of 16, 32"


def test_agreement_counts_what_differs():
    """Two prompts of two places each through an identity head: one place has another likeliest token."""
    head = torch.nn.Linear(3, 3, bias=False)
    head.weight.data = torch.eye(3)
    one = [torch.tensor([[1.0, 0, 0], [0, 4.0, 0]]), torch.tensor([[0, 0, 2.0], [1.0, 0, 0]])]
    other = [row.clone() for row in one]
    other[1][1] = torch.tensor([0.9, 0.95, 0])
    found = compare(States(one, head), States(other, head), 1)
    assert (found.prompts, found.places, found.agreeing) == (2, 4, 3)
    assert found.largest_logit == 4.0
    assert found.largest_difference == pytest.approx(0.95)
    assert found.relative == pytest.approx(0.95 / 4)
    assert found.ci95[0] < 0.75 < found.ci95[1]
    equal = compare(States(one, head), States(one, head), 1)
    assert (equal.largest_difference, equal.agreeing, equal.ci95[1]) == (0.0, 4, 1.0)
    assert 0.4 < equal.ci95[0] < 0.6  # four places prove little
