"""ONNX exports of a tiny Llama 3: grouped heads, rotation scaling, both heads, labels, edge example."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import afina
from afina.cli import main
from afina.errors import AfinaError, MissingExtra
from afina.exports import quantize as quantising
from afina.exports.check import TOLERANCES, Tolerance
from afina.exports.onnx_model import OnnxReader, build, require_onnx, weight_bytes_read
from afina.inference.engine import Engine
from afina.inference.pooled import load_head
from afina.metrics.calibration import softmax
from afina.models.tokenizer import load_tokens
from afina.trust.manifest import read_manifest, require_files
from tests.conftest import colour_rows, tiny_config
from tests.tiny import Tiny

pytest.importorskip("onnxruntime_genai")
pytest.importorskip("onnx_ir")
TEXTS = ["Lot 1: the iron and the zinc", "Lot 2: the mango and the lime", "Lot 3: <|eot_id|> tin"]
TOKENS = ("task.head=tokens", "data.max_length=300", "train.learning_rate=0.01", "train.epochs=1")


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Tiny:
    """The tiny Llama 3 with a small tokenizer of Llama 3's kind: the real one takes seconds to read."""
    import torch
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("small")
    tokenizer = small_tokenizer()
    config = tiny_config(len(tokenizer))
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|end_of_text|>")]
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Tiny(tmp_path_factory.mktemp("onnx"), folder, load_tokens(folder))


def small_tokenizer():
    """Bytes and a few hundred merges, split and marked as Llama 3's tokenizer does."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    names = ["begin_of_text", "end_of_text", "finetune_right_pad_id", "start_header_id", "end_header_id"]
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[f"<|{name}|>" for name in [*names, "eot_id"]],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([row["text"] for row in colour_rows(60)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )


@pytest.fixture(scope="module")
def pooled(wide):
    return wide.run("train.patience=null", "train.learning_rate=0.0005", "train.epochs=1")


@pytest.fixture(scope="module")
def quantised(pooled):
    """The run's quantize.json, with both exports made on the way."""
    return quantising.quantize(pooled, 8, lambda _text: None, new_tokens=2)


def test_an_export_says_what_the_run_says(pooled, quantised):
    for bits in (32, 8):
        folder = pooled.path(f"exports/onnx-{bits}")
        found = json.loads((folder / "agreement.json").read_text())
        assert (found["schema"], found["kind"], found["bits"]) == ("afina/agreement/1", "onnx", bits)
        assert found["passed"] is True
        listed = read_manifest(folder)["files"]
        require_files(folder, read_manifest(folder))
        assert found["prompts"] == 12
        assert found["enough_prompts"] is False
        assert found["top1"]["share"] >= (0.995 if bits == 32 else 0.97)
        assert abs(found["perplexity"]["rise"]) < (1e-5 if bits == 32 else 1e-2)
        assert {line["metric"] for line in found["task"]} == {"accuracy", "macro_f1"}
        for name in ("head.safetensors", "prompts.json", "chat_template.jinja", "edge.py", "model.onnx"):
            assert name in listed
    engine = Engine(pooled.path("release"))
    folder = pooled.path("exports/onnx-32")
    reader, head = OnnxReader(folder), load_head(folder / "head.safetensors")
    means = np.stack([reader.read(item.ids)[1] for item in engine.encode(TEXTS)])
    np.testing.assert_allclose(means, engine.features(TEXTS), atol=1e-4)
    ours = softmax(head.logits(means), engine.settings.temperature)
    np.testing.assert_allclose(ours, engine.classify(TEXTS), atol=1e-5)


def test_the_mean_leaves_padding_and_what_is_in_the_cache_out(pooled, quantised):
    session = OnnxReader(pooled.path("exports/onnx-32"))._session
    past = OnnxReader(pooled.path("exports/onnx-32"))._past
    rows = [[5, 6, 7], [8, 9, 10, 11, 12]]
    ids = np.array([[0, 0, *rows[0]], rows[1]], dtype=np.int64)
    seen = np.array([[0, 0, 1, 1, 1], [1] * 5], dtype=np.int64)
    both = {name: np.repeat(value, 2, axis=0) for name, value in past.items()}
    (means,) = session.run(["mean_state"], {"input_ids": ids, "attention_mask": seen, **both})
    alone = [OnnxReader(pooled.path("exports/onnx-32")).read(row)[1] for row in rows]
    np.testing.assert_allclose(means[1], alone[1], atol=1e-5)
    names = [output.name for output in session.get_outputs()]
    assert "hidden_states" not in names
    first = session.run(names, {"input_ids": ids[1:, :3], "attention_mask": seen[1:, :3], **past})
    kept = dict(zip(names, first, strict=True))
    later = {name: kept[name.replace("past_key_values", "present")] for name in past}
    (rest,) = session.run(
        ["mean_state"], {"input_ids": ids[1:, 3:], "attention_mask": seen[1:], **later}
    )
    np.testing.assert_allclose((3 * kept["mean_state"] + 2 * rest) / 5, means[1:], atol=1e-5)


def test_the_edge_example_needs_one_package_and_says_the_same(pooled, quantised):
    folder = pooled.path("exports/onnx-32")
    code = (
        "import runpy, sys\n"
        "names = ['afina', 'torch', 'transformers', 'safetensors', 'onnx', 'tokenizers']\n"
        "sys.modules.update(dict.fromkeys(names))\n"  # None: importing one of them fails
        f"runpy.run_path({str(folder / 'edge.py')!r}, run_name='__main__')\n"
    )
    engine = Engine(pooled.path("release"))
    answer = subprocess.run(
        [sys.executable, "-c", code, TEXTS[0]], capture_output=True, text=True, check=True, timeout=120
    )
    said = json.loads(answer.stdout)
    np.testing.assert_allclose(list(said.values()), engine.classify(TEXTS[:1])[0], atol=1e-4)
    assert list(said) == engine.settings.labels


def test_quantize_measures_all_runtimes_and_says_it_in_words(pooled, quantised):
    value = json.loads(pooled.path("quantize.json").read_text())
    assert value == quantised
    assert value["schema"] == "afina/quantize/1"
    assert set(value["runtimes"]) == {"onnx_8", "onnx_32", "torch_fp32"}
    assert value["energy"]["method"] in (None, "measured")
    way = json.loads(pooled.path("exports/onnx-8/agreement.json").read_text())["way"]
    # The most exact way leaves the output head as it is, which is most of this tiny model.
    whole_head = any("lm_head" in option for option in way)
    for kind in ("generated", "prompt"):
        found = value["ratios"]["onnx_8_by_onnx_32"][kind]["cpu_seconds"]
        assert found["rounds"] == 10
        assert found["least"] <= found["ratio"] <= found["most"]
        eight, full = (value["runtimes"][name][kind]["bytes_read"] for name in ("onnx_8", "onnx_32"))
        assert eight < (1 if whole_head else 0.5) * full
    assert len(value["verdicts"]) >= 4
    assert value["gpu"]["measured"] or value["gpu"]["why"]
    sizes = weight_bytes_read(pooled.path("exports/onnx-8/model.onnx"))
    # At 8 bits the table of a tied model is kept a second time, to be looked up in: one row is read.
    assert whole_head or sizes["total"] - sizes["per_pass"] > 0.9 * 400 * 64 * 4


def test_labels_by_likelihood_and_four_bits(wide, capsys):
    run = wide.run("train.patience=null", *TOKENS, runs="tokens")
    result = afina.export(str(run.root), to="onnx", bits=4)
    assert result.folder == run.path("exports/onnx-4")
    assert result.figures["labels"]["largest_probability_difference"] < 0.02
    value = json.loads((result.folder / "prompts.json").read_text())
    assert value["reads"] == "conversations"
    answer = subprocess.run(
        [sys.executable, str(result.folder / "edge.py"), TEXTS[1]],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    own = Engine(run.path("release")).classify(TEXTS[1:2])[0]
    np.testing.assert_allclose(list(json.loads(answer.stdout).values()), own, atol=0.02)


def test_what_is_above_tolerance_is_measured_and_not_kept(wide, pooled, quantised, monkeypatch, capsys):
    monkeypatch.setitem(TOLERANCES, 4, Tolerance(1.1, 0.06))  # more than all places
    with pytest.raises(SystemExit) as left:
        main(["quantize", str(pooled.root), "--bits", "4"])
    assert left.value.code == 1
    shown = capsys.readouterr().out
    assert "REFUSED at 4 bits, and not kept: " in shown
    assert "at least 110.0% is asked for" in shown
    assert "this run has only 12 rows to compare on" in shown
    value = json.loads(pooled.path("quantize.json").read_text())
    assert (value["passed"], value["answers"]["4"]["passed"], value["answers"]["32"]["passed"]) == (
        False, False, True,
    )  # fmt: skip
    assert value["ratios"]["onnx_4_by_onnx_32"]["generated"]["cpu_seconds"]["rounds"] == 10
    assert not pooled.path("exports/onnx-4").exists()


def test_what_cannot_be_built_is_refused_before_it_is_tried(pooled, tmp_path, monkeypatch):
    with pytest.raises(AfinaError, match="an export to onnx has no 16 bits"):
        afina.export(str(pooled.root), to="onnx", bits=16)
    with pytest.raises(AfinaError, match="8 or 4 bits, not to 2"):
        afina.quantize(str(pooled.root), bits=2)
    with pytest.raises(AfinaError, match="9 rounds show no spread"):
        afina.quantize(str(pooled.root), rounds=9)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    with pytest.raises(MissingExtra, match="onnx-ir") as caught:
        require_onnx()
    assert caught.value.fix == "pip install 'afina[onnx]'"


def test_shapes_that_the_runtime_has_no_products_for(tmp_path):
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 3, "head_dim": 16}
    for changed, bits, said in (
        ({"head_dim": 8}, 32, "heads of 8"),
        ({}, 8, "hidden_size is no multiple"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(shape | changed))
        with pytest.raises(AfinaError, match=said):
            build(tmp_path, tmp_path, bits)


def test_an_export_above_tolerance_leaves_nothing(pooled, tmp_path, monkeypatch):
    monkeypatch.setattr("afina.exports.onnx.merged_model", _without_adapter)
    with pytest.raises(AfinaError, match="nothing was kept"):
        afina.export(str(pooled.root), to="onnx", bits=32, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def _without_adapter(model, precision, bits):
    """What a faulty merge would make: the base with its layers in disorder."""
    import torch

    from afina.exports.merge import merged_model

    merged = merged_model(model, precision, bits)
    with torch.no_grad():
        merged.model.norm.weight.copy_(merged.model.norm.weight.flip(0) * torch.linspace(-1, 1, 64))
    return merged
