"""Which licence a base is under, and what a Llama licence asks for."""

from __future__ import annotations

import json

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afina.errors import AfinaError
from afina.releases.licences import LLAMA, declared, licence_of_base, llama_version, read_head
from tests.releases.conftest import AGREEMENT, say_licence


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("meta-llama/Llama-3.1-8B", "llama3.1"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama3.2"),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", "llama3.3"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "llama3.1"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama2"),
        ("llama3", "llama3"),
        ("llama3.2", "llama3.2"),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", None),
        ("openlm-research/open_llama_3b", None),
        ("princeton-nlp/Sheared-LLaMA-2.7B", None),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", None),
        ("huggyllama/llama-30b", None),
        ("Llama-3.1B", None),
        ("ollama-3", None),
        ("", None),
    ],
)
def test_the_version_in_a_name_and_never_a_size(name, version):
    assert llama_version(name) == version


def test_the_embedded_base_is_apache():
    found = licence_of_base("embedded", "HuggingFaceTB/SmolLM2-135M-Instruct", None)
    assert (found.id, found.known_from, found.duties, found.missing) == (
        "apache-2.0",
        "embedded",
        None,
        (),
    )


@pytest.mark.parametrize("licence", ["llama3", "llama3.1", "llama3.2", "llama3.3", "llama2"])
def test_a_llama_with_its_files_lacks_nothing(tmp_path, licence):
    say_licence(tmp_path, licence)
    found = licence_of_base(str(tmp_path), str(tmp_path), tmp_path)
    assert (found.id, found.known_from, found.missing) == (licence, "card", ())
    assert found.texts["LICENSE"] == AGREEMENT[licence]


def test_what_each_llama_licence_asks():
    assert (LLAMA["llama3"].prefix, LLAMA["llama3"].built_with) == ("Llama 3", "Built with Meta Llama 3")
    for version in ("3.1", "3.2", "3.3"):
        duties = LLAMA[f"llama{version}"]
        assert (duties.prefix, duties.built_with) == ("Llama", "Built with Llama")
        assert duties.notice == (
            f"Llama {version} is licensed under the Llama {version} Community License, Copyright © Meta "
            "Platforms, Inc. All Rights Reserved."
        )
    assert LLAMA["llama3"].notice == (
        "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta Platforms, "
        "Inc. All Rights Reserved."
    )


def test_a_derived_model_stays_under_llamas_licence_whatever_its_card_says(tmp_path):
    say_licence(tmp_path, "apache-2.0", base_model="meta-llama/Llama-3.1-8B")
    found = licence_of_base(str(tmp_path), str(tmp_path), tmp_path)
    assert (found.id, found.known_from, found.card_says) == ("llama3.1", "parent", "apache-2.0")
    assert found.missing == ("LICENSE", "USE_POLICY.md")
    assert found.parents == ("meta-llama/Llama-3.1-8B",)


def test_the_text_the_config_and_the_name_tell_too(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "LICENSE").write_text(AGREEMENT["llama3.2"])
    assert licence_of_base(str(folder), str(folder), folder).known_from == "text"
    (folder / "LICENSE").unlink()
    (folder / "config.json").write_text(json.dumps({"_name_or_path": "meta-llama/Meta-Llama-3-8B"}))
    found = licence_of_base(str(folder), str(folder), folder)
    assert (found.id, found.known_from) == ("llama3", "config")
    (folder / "config.json").write_text("{}")
    folder = folder.rename(tmp_path / "Llama-3.3-mine")
    assert licence_of_base(str(folder), str(folder), folder).id == "llama3.3"
    # The files are gone, or a Hub model is not in the cache any more: the name is left.
    assert licence_of_base("meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B", None).id == "llama3.2"


def test_another_agreement_is_not_the_right_one(tmp_path):
    say_licence(tmp_path, "llama3")
    (tmp_path / "LICENSE.txt").write_text(AGREEMENT["llama3.1"])
    found = licence_of_base(str(tmp_path), str(tmp_path), tmp_path)
    assert (found.id, found.missing) == ("llama3", ("LICENSE",))


def test_other_licences_are_what_the_card_declares(tmp_path):
    say_licence(tmp_path, "other", license_name="My-Licence", license_link="https://x.example/L")
    found = licence_of_base(str(tmp_path), str(tmp_path), tmp_path)
    assert (found.id, found.name, found.link) == ("other", "My-Licence", "https://x.example/L")
    say_licence(tmp_path, "mit")
    assert licence_of_base(str(tmp_path), str(tmp_path), tmp_path).id == "mit"


def test_a_licence_that_nothing_says_is_unknown(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 128256}))
    found = licence_of_base(str(tmp_path), str(tmp_path), tmp_path)
    assert (found.id, found.known_from, found.perhaps_llama3) == ("unknown", "nothing", True)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 32000}))
    assert not licence_of_base(str(tmp_path), str(tmp_path), tmp_path).perhaps_llama3


@pytest.mark.parametrize(
    ("fields", "name", "licence", "source"),
    [
        ({"license": "llama3.1"}, "m.gguf", "llama3.1", "gguf"),
        ({"license": "apache-2.0"}, "m.gguf", "apache-2.0", "gguf"),
        ({"license": "mit", "base_model.0.name": "Llama 3.2 1B"}, "m.gguf", "llama3.2", "parent"),
        ({}, "Meta-Llama-3-8B.Q4_0.gguf", "llama3", "name"),
        ({}, "m.gguf", "unknown", "nothing"),
    ],
)
def test_a_gguf_file_says_it_in_its_metadata(tmp_path, fields, name, licence, source):
    path = tmp_path / name
    writer = gguf.GGUFWriter(str(path), "llama")
    for key, value in fields.items():
        writer.add_string(f"general.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tmp_path / "LICENSE").write_text("A licence of somebody's program.")
    found = licence_of_base(str(path), str(path), tmp_path)
    assert (found.id, found.known_from) == (licence, source)
    assert "LICENSE" not in found.texts  # a licence beside the file may be anything's


def test_llamas_licence_cannot_be_declared_away(tmp_path):
    say_licence(tmp_path, "llama3.1")
    base = licence_of_base(str(tmp_path), str(tmp_path), tmp_path)
    assert declared(base, None) == declared(base, "llama3.1") == base
    with pytest.raises(AfinaError, match="stays under it"):
        declared(base, "mit")
    apache = licence_of_base("embedded", "x/y", None)
    assert (declared(apache, "mit").id, declared(apache, "mit").known_from) == ("mit", "declared")


@given(st.binary(max_size=200))
def test_any_bytes_as_a_card_are_read_or_passed_over(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("card") / "README.md"
    path.write_bytes(b"---\n" + data + b"\n---\n")
    assert isinstance(read_head(path), dict)
