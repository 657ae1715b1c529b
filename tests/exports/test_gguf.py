"""GGUF files: what transformers reads back, the tokenizer, rope, Ollama's Modelfile, what is refused."""

from __future__ import annotations

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

import afina
from afina.cli.export import export_lines
from afina.errors import AfinaError, BaseModelError
from afina.exports.gguf import read_back
from afina.exports.gguf_tokenizer import pre_tokenizer_name, vocabulary_of
from afina.exports.gguf_writer import permuted, rope_factors, write_gguf
from afina.exports.modelfile import go_template, parts_of_template
from afina.inference.engine import Engine
from afina.inference.settings import read_settings
from afina.models.tokenizer import PLAIN_TEMPLATE, load_tokens, tokens_of
from afina.trust.manifest import read_manifest
from tests.conftest import tiny_config
from tests.exports.small_llama import SPECIAL, small_tokenizer


@pytest.fixture(scope="module")
def exported(small_run, tmp_path_factory):
    run = small_run("pooled")
    folder = tmp_path_factory.mktemp("gguf") / "out"
    return run, folder, afina.export(str(run.root), to="gguf", out=folder, bits=16)


def test_the_file_is_the_runs_own_model(exported):
    run, folder, result = exported
    figures = result.figures
    assert figures == json.loads((folder / "gguf.json").read_text())
    assert figures["prompts"] == 120
    assert figures["enough_prompts"] is True
    assert figures["top1"]["share"] > 0.999
    assert abs(figures["perplexity"]["rise"]) < 1e-4
    assert figures["labels"]["agreeing"] == figures["labels"]["n"] == 120
    shown = export_lines(result)
    assert any("the same label for 120 of 120 rows" in line for line in shown)
    assert any("judged by its labels" in line for line in shown)
    assert figures["tokenizer"] == {"model": "gpt2", "pre": "llama-bpe"}
    assert figures["tensors"] == {
        "F16": 15,
        "F32": 6,
    }  # 7 matrices a layer and the embedding; 5 norms, rope
    own = Engine(run.path("release"))
    ids = torch.tensor([own.encode(["Lot 1: the iron and the zinc"])[0].ids])
    with torch.no_grad():
        left, right = own.model(ids).logits, read_back(folder / "model.gguf")(ids).logits
    torch.testing.assert_close(left, right, atol=2e-3, rtol=1e-2)


def test_what_llama_cpp_must_know_is_in_the_file(exported):
    import gguf

    run, folder, _result = exported
    reader = gguf.GGUFReader(str(folder / "model.gguf"))

    def value(name: str):
        return reader.fields[name].contents()

    tokens = load_tokens(Path(run.recipe().base.model))
    assert value("general.architecture") == "llama"
    assert value("llama.attention.head_count") == 4
    assert value("llama.attention.head_count_kv") == 2
    assert value("llama.rope.freq_base") == 500000.0
    assert value("llama.vocab_size") == 640
    assert value("tokenizer.ggml.pre") == "llama-bpe"
    assert value("tokenizer.ggml.add_bos_token") is True
    assert value("tokenizer.ggml.bos_token_id") == tokens.bos
    named = dict(zip(SPECIAL, tokens.tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    assert (
        value("tokenizer.ggml.eos_token_id")
        == value("tokenizer.ggml.eot_token_id")
        == named["<|eot_id|>"]
    )
    assert value("tokenizer.ggml.eom_token_id") == named["<|eom_id|>"]
    assert value("tokenizer.ggml.padding_token_id") == tokens.pad
    kinds = value("tokenizer.ggml.token_type")
    assert kinds[named["<|eot_id|>"]] == gguf.TokenType.CONTROL
    assert kinds[639] == gguf.TokenType.UNUSED
    assert value("tokenizer.chat_template") == tokens.template
    factors = next(t for t in reader.tensors if t.name == "rope_freqs.weight").data
    assert factors[0] == 1.0
    assert factors[-1] == 8.0


def test_transformers_reads_the_same_tokenizer_back(exported):
    from transformers import AutoTokenizer

    run, folder, _result = exported
    again = AutoTokenizer.from_pretrained(str(folder), gguf_file="model.gguf")
    own = Engine(run.path("release")).tokens.tokenizer
    for one in json.loads((folder / "prompts.json").read_text())["texts"]:
        plain = one["text"]
        # transformers gives its class of tokenizer a control token that this model does not have.
        for control in (*SPECIAL, "<|endoftext|>"):
            plain = plain.replace(control, " ")
        wanted = own(plain, add_special_tokens=False)["input_ids"]
        assert again(plain, add_special_tokens=False)["input_ids"] == wanted
        assert again.decode(wanted) == own.decode(wanted)


def test_the_files_beside_it(exported):
    _run, folder, _result = exported
    manifest = read_manifest(folder)
    assert manifest["export"] == {"to": "gguf", "bits": 16}
    files = manifest["files"]
    names = {"model.gguf", "gguf.json", "inference.json", "prompts.json", "chat_template.jinja",
             "head.safetensors", "classify.py"}  # fmt: skip
    assert set(files) == names
    assert not (
        folder / "Modelfile"
    ).exists()  # Ollama normalises embeddings: no pooled head works there


def test_the_example_applies_the_head_to_a_servers_mean_state(exported):
    """The example speaks llama-server's protocol; here the run's own model makes the means."""
    run, folder, _result = exported
    engine = Engine(run.path("release"))
    place = importlib.util.spec_from_file_location("classify_example", folder / "classify.py")
    example = importlib.util.module_from_spec(place)
    place.loader.exec_module(example)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/tokenize":
                assert body["parse_special"] is False
                value = {"tokens": engine.encode([body["content"]])[0].ids}
            else:
                assert body["embd_normalize"] == -1
                with torch.no_grad():
                    states = engine.model.model(torch.tensor([body["content"]])).last_hidden_state
                value = [{"index": 0, "embedding": [states[0].float().mean(dim=0).tolist()]}]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_given) -> None:
            pass

    engine.model = engine.model.get_base_model()
    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        example.verify(folder)
        asked = example.by_server(f"http://127.0.0.1:{server.server_port}")
        classifier = example.Classifier(folder, *asked)
        texts = ["Lot 1: the iron and the zinc", "Lot 2: the mango"]
        found = [list(classifier.classify(text).values()) for text in texts]
    finally:
        server.shutdown()
    np.testing.assert_allclose(found, Engine(run.path("release")).classify(texts), atol=1e-4)
    (folder / "inference.json").write_text((folder / "inference.json").read_text() + " ")
    with pytest.raises(SystemExit, match=r"inference\.json was changed"):
        example.verify(folder)
    (folder / "inference.json").write_text((folder / "inference.json").read_text()[:-1])


def test_fewer_bits_of_a_model_that_writes(small_run, tmp_path):
    run = small_run("writes")
    result = afina.export(str(run.root), to="gguf", out=tmp_path / "out", bits=8)
    assert result.figures["kind"] == "Q8_0"
    assert result.figures["top1"]["share"] >= 0.97
    assert result.figures["perplexity"]["rise"] <= 0.01
    text = (tmp_path / "out/Modelfile").read_text()
    assert text.startswith("FROM ./model.gguf\n")
    assert 'SYSTEM """Name what came."""' in text
    assert 'PARAMETER stop "<|eot_id|>"' in text
    assert "PARAMETER temperature 0\n" in text
    template = text.partition('TEMPLATE """')[2].partition('"""')[0]
    assert "<|begin_of_text|>" not in template  # llama.cpp writes it itself
    assert template.endswith('{{ "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{{- end }}')


def test_an_export_without_its_adapter_is_refused_and_leaves_nothing(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr("afina.exports.merge.with_adapter", lambda _layer, weight: weight)
    with pytest.raises(AfinaError, match="nothing was kept"):
        afina.export(str(small_run("writes").root), to="gguf", out=tmp_path / "out", bits=16)
    assert list(tmp_path.iterdir()) == []


def test_rows_in_the_wrong_order_would_be_another_model(small_run, tmp_path, monkeypatch):
    """Queries and keys large enough that a wrong rotation shows."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(1)
    model = LlamaForCausalLM(tiny_config(640)).eval().requires_grad_(False)
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.mul_(40)
        layer.self_attn.k_proj.weight.mul_(40)
        layer.self_attn.v_proj.weight.mul_(20)
    settings = read_settings(small_run("pooled").path("release/inference.json"))
    tokens = tokens_of(small_tokenizer())
    ids = torch.arange(40)[None]
    wanted = model(ids).logits
    write_gguf(tmp_path / "right.gguf", model, tokens, settings, "F32", "right")
    torch.testing.assert_close(
        read_back(tmp_path / "right.gguf")(ids).logits, wanted, atol=1e-4, rtol=1e-3
    )
    monkeypatch.setattr("afina.exports.gguf_writer.permuted", lambda weight, _heads: weight)
    write_gguf(tmp_path / "wrong.gguf", model, tokens, settings, "F32", "wrong")
    other = read_back(tmp_path / "wrong.gguf")(ids).logits
    assert float((other - wanted).abs().max()) > 0.05 * float(wanted.abs().max())


def test_rows_of_each_head_are_put_side_by_side():
    assert permuted(np.arange(8)[:, None], 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_rope_factors_are_those_of_the_model_itself():
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = tiny_config(97)
    size = config.hidden_size // config.num_attention_heads
    plain = 500000.0 ** -(np.arange(0, size, 2) / size)
    own = LlamaRotaryEmbedding(config).inv_freq.numpy()
    np.testing.assert_allclose(plain / rope_factors(config), own, rtol=1e-6)


def test_the_splitting_is_read_from_the_tokenizer_itself():
    """A base that came out of a GGUF file splits as GPT-2 does, whatever its name."""
    byte = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    assert pre_tokenizer_name({"pre_tokenizer": byte}) == "gpt-2"
    assert (
        pre_tokenizer_name({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte]}})
        == "smollm"
    )
    assert vocabulary_of(tokens_of(small_tokenizer()), 640).pre == "llama-bpe"
    with pytest.raises(BaseModelError, match="no tokenizer that splits texts"):
        pre_tokenizer_name({"pre_tokenizer": {"type": "Whitespace"}})
    with pytest.raises(BaseModelError, match="Lowercase"):
        pre_tokenizer_name({"normalizer": {"type": "Lowercase"}, "pre_tokenizer": byte})


CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize("template", [None, CHATML, PLAIN_TEMPLATE])
def test_a_chat_template_is_taken_apart_and_put_together(template):
    tokens = tokens_of(small_tokenizer(), template=template)
    parts = parts_of_template(tokens)
    talk = [{"role": "system", "content": "S"}, {"role": "user", "content": "a\nb"}]
    assert parts.render(talk) == tokens.render(talk, answer_follows=True)
    assert parts.render(talk[1:]) == tokens.render(talk[1:], answer_follows=True)
    assert "{{ .Content }}" in go_template(parts, "<|begin_of_text|>")


def test_a_template_that_does_more_has_no_modelfile():
    template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    assert parts_of_template(tokens_of(small_tokenizer(), template=template)) is None


def test_a_rope_that_llama_cpp_lacks_is_refused(tmp_path):
    config = tiny_config(97)
    config.rope_parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    with pytest.raises(BaseModelError, match="rope of the kind `yarn`"):
        rope_factors(config)
