"""Seal, copy, open and use a release by the commands; and the model of a sealed file from memory."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import afina
import afina.inference.engine as engine
from afina.inference.settings import read_settings, write_settings
from afina.runs.files import sha256_of
from afina.seals.opening import open_to_memory
from afina.seals.recipients import keys_folder
from afina.seals.unlocking import unlock_by
from afina.seals.writer import seal_folder
from tests.cli.conftest import Answer, Place
from tests.seals.conftest import files_of

TEXTS = "the mango and the lime came\nthe iron and the zinc came\n"
WORDS = "correct horse battery"


@pytest.fixture(scope="module")
def keys(tmp_path_factory, cache) -> Path:
    """A config folder with two pairs of keys, made once: a passphrase takes a second."""
    place = Place(tmp_path_factory.mktemp("keys"), cache)
    (place.folder / "words").write_text(WORDS + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFINA_CONFIG", str(place.folder / "config"))
        answer = place.inside("recipient", "new", "ana", "--passphrase-file", "words")
        assert (answer.code, "ana.public.json" in answer.out) == (0, True), answer.err
        assert place.inside("recipient", "new", "machine", "--no-passphrase").code == 0
    return place.folder / "config"


@pytest.fixture
def desk(finished, keys, tmp_path, monkeypatch) -> Place:
    """A folder beside a finished run, with keys: ana's has a passphrase, the machine's none."""
    shutil.copytree(keys, tmp_path / "config")
    monkeypatch.setenv("AFINA_CONFIG", str(tmp_path / "config"))
    (tmp_path / "words").write_text(WORDS + "\n")
    return Place(tmp_path, finished[0].cache)


def told(desk: Place, *arguments: str, code: int = 0) -> Answer:
    answer = desk.inside(*arguments)
    assert (answer.code, answer.clean) == (code, True), answer.err
    return answer


def sealed(desk: Place, finished, *arguments: str) -> Answer:
    runs = str(finished[0].folder / "runs")
    return told(desk, "seal", "colours", "--runs", runs, *arguments)


def test_seal_copy_open_and_ask(desk, finished, llama3, monkeypatch) -> None:
    """What is opened elsewhere, and what is used from memory, answers as the run does."""
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)  # the base's: seconds to read
    place, _answer = finished

    def asked(*arguments: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(TEXTS))
        return told(desk, "chat", *arguments).out

    wanted = asked("colours", "--runs", str(place.folder / "runs"))
    assert wanted.count("\n") == 2
    answer = sealed(desk, finished, "--to", "ana", "--to", "machine")
    assert answer.out.startswith("colours-1.sealed, ")
    assert answer.out.count("opens with: ") == 2
    shutil.move(desk.folder / "colours-1.sealed", desk.folder / "copy.sealed")
    assert told(desk, "open", "copy.sealed").out.startswith("opened into copy: every file is as it was")
    assert files_of(desk.folder / "copy") == files_of(place.folder / "runs/colours/1/release")
    assert asked("copy") == wanted
    monkeypatch.setattr(tempfile, "tempdir", str(desk.folder / "config"))
    before = files_of(desk.folder)
    assert asked("copy.sealed", "--key", "ana", "--passphrase-file", "words") == wanted
    assert files_of(desk.folder) == before
    damaged = desk.folder / "copy/adapter/adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert "changed or damaged" in told(desk, "chat", "copy", code=2).err


def test_refusals_of_the_commands(desk, finished) -> None:
    runs = ("--runs", str(finished[0].folder / "runs"))
    assert "nobody could open" in told(desk, "seal", "colours", *runs, code=2).err
    assert "there is no key 'eve'" in told(desk, "seal", "colours", "--to", "eve", *runs, code=2).err
    sealed(desk, finished, "--to", "ana", "--out", "c.sealed")
    again = told(desk, "seal", "colours", "--to", "ana", "--out", "c.sealed", *runs, code=2)
    assert "nothing is written over" in again.err
    inside = finished[0].folder / "runs/colours/1/release/x.sealed"
    answer = told(desk, "seal", "colours", "--to", "ana", "--out", str(inside), *runs, code=2)
    assert "a release is not changed" in answer.err
    assert "is sealed already" in told(desk, "seal", "c.sealed", "--to", "ana", code=2).err
    answer = told(desk, "seal", "colours", "--add", "ana", *runs, code=2)
    assert "--add and --remove change a sealed file" in answer.err
    answer = told(desk, "open", "c.sealed", "--key", "machine", code=2)
    assert "not sealed for the key" in answer.err
    # No terminal to ask at, a file without words, another's words.
    assert "--passphrase-file" in told(desk, "open", "c.sealed", code=2).err
    (desk.folder / "none").write_text("\n")
    answer = told(desk, "open", "c.sealed", "--passphrase-file", "none", code=2)
    assert "no further passphrase" in answer.err
    (desk.folder / "other").write_text("another one\n")
    answer = told(desk, "open", "c.sealed", "--passphrase-file", "other", code=2)
    assert "not the passphrase of this key" in answer.err
    answer = told(desk, "--lang", "es", "open", "c.sealed", "--passphrase-file", "other", code=2)
    assert "no es la frase" in answer.err
    answer = told(desk, "open", "c.sealed", "--out", "config", code=2)
    assert "nothing is written over" in answer.err
    raw = bytearray((desk.folder / "c.sealed").read_bytes())
    raw[-100] ^= 1
    (desk.folder / "c.sealed").write_bytes(raw)
    answer = told(desk, "open", "c.sealed", "--passphrase-file", "words", code=2)
    assert "manifest.json is not the one that was sealed there" in answer.err
    assert not (desk.folder / "c").exists()


def test_recipients_change_by_the_commands(desk, finished) -> None:
    sealed(desk, finished, "--to", "ana", "--out", "c.sealed")
    with_key = ("--key", "ana", "--passphrase-file", "two")
    (desk.folder / "two").write_text(f"{WORDS}\nanother good one\n")
    answer = told(desk, "seal", "c.sealed", "--add", "machine", "--passphrase", *with_key)
    assert answer.out.count("opens with: ") == 3
    answer = told(desk, "seal", "c.sealed", "--remove", "ana", "--json")
    assert "may have kept a copy" in answer.err
    value = answer.json()
    assert [one["name"] for one in value["recipients"]] == ["machine"]
    assert value["passphrase"] is True
    assert told(desk, "seal", "c.sealed", "--json").json() == value
    assert told(desk, "seal", "c.sealed", "--remove-passphrase").out.count("opens with: ") == 1
    assert told(desk, "open", "c.sealed", "--json").json() == {"folder": "c"}
    answer = told(desk, "recipient", "list", "--json")
    assert [one["name"] for one in answer.json()] == ["ana", "machine"]
    public = answer.json()[0]["path"]
    assert told(desk, "recipient", "add", public, "--name", "ana2", "--json").json()["private"] is None
    assert "ana2" in told(desk, "recipient", "list").out


def test_without_the_package_one_line_says_what_to_install(desk, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.hpke", None)
    answer = told(desk, "recipient", "new", "bob", "--no-passphrase", code=2)
    assert "pip install 'afina[seal]'" in answer.err
    assert not list(desk.folder.rglob("bob*"))


def test_python_reads_the_files_and_opens_the_model(desk, finished, monkeypatch) -> None:
    place, _answer = finished
    monkeypatch.chdir(desk.folder)
    made = afina.seal("colours", to=["machine"], passphrase=WORDS, runs=str(place.folder / "runs"))
    assert made.bytes == made.file.stat().st_size
    release = place.folder / "runs/colours/1/release"
    found = afina.read_sealed(made.file)
    assert found == files_of(release)
    assert afina.read_sealed(made.file, passphrase=WORDS) == found
    assert afina.open_sealed(made.file, out="out") == Path("out")


def test_a_whole_model_is_loaded_from_memory(desk, finished, llama3_folder, llama3, monkeypatch) -> None:
    """Where all weights were trained, weights and tokenizer come from the sealed file as well."""
    release = desk.folder / "release"
    shutil.copytree(llama3_folder, release / "model")
    settings = read_settings(finished[0].folder / "runs/colours/1/release/inference.json")
    settings = replace(settings, adapters=[], weights="model", head={"kind": "tokens"})
    write_settings(release / "inference.json", settings)
    files = {
        path.relative_to(release).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in release.rglob("*")
        if path.is_file()
    }
    (release / "manifest.json").write_text(json.dumps({"schema": "afina/manifest/1", "files": files}))
    path = desk.folder / "whole.sealed"
    machine = afina.list_recipients()[1]
    seal_folder(release, path, [machine.public], None, "whole")
    with open_to_memory(path, unlock_by(None, None, None, keys_folder(), path)) as folder:
        found = engine.Engine(folder)
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)
    wanted = engine.Engine(release)
    for name, value in wanted.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value)
    texts = TEXTS.splitlines()
    assert (found.logits(texts) == wanted.logits(texts)).all()


def test_from_the_maker_to_another_machine_and_back(desk, finished, monkeypatch) -> None:
    """The README's way: sign, seal, copy, open, verify, use; each tampering is refused on the way."""
    runs = str(finished[0].folder / "runs")
    shutil.copytree(Path(runs) / "colours/1", desk.folder / "runs/colours/1")
    monkeypatch.setenv("AFINA_TRUST", str(desk.folder / "maker"))
    told(desk, "signer", "new", "lab", "--no-passphrase")
    told(desk, "verify", "colours", code=1)
    told(desk, "sign", "colours")
    told(desk, "verify", "colours")
    told(desk, "seal", "colours", "--to", "machine", "--out", "sent.sealed")

    there = Place(desk.folder / "there", desk.cache)
    there.folder.mkdir()
    shutil.copy(desk.folder / "sent.sealed", there.folder / "sent.sealed")
    monkeypatch.setenv("AFINA_TRUST", str(there.folder / "trust"))
    sealed_file = there.folder / "sent.sealed"
    whole = sealed_file.read_bytes()
    sealed_file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert "changed, moved or left out" in there.inside("open", "sent.sealed", "--out", "got").err
    assert not (there.folder / "got").exists()
    sealed_file.write_bytes(whole)
    told(there, "signer", "trust", str(desk.folder / "maker/keys/lab.json"))
    told(there, "open", "sent.sealed", "--out", "got")
    told(there, "verify", "got")
    monkeypatch.setattr(sys, "stdin", io.StringIO("the mango and the lime came\n"))
    assert "fruit" in told(there, "chat", "got").out

    adapter = there.folder / "got/adapter/adapter_model.safetensors"
    weights = adapter.read_bytes()
    adapter.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    changed = "got/adapter/adapter_model.safetensors"
    assert changed in told(there, "verify", "got", code=1).out
    refused = there.inside("chat", "got")
    assert (refused.code != 0, changed in refused.err) == (True, True)
    adapter.write_bytes(weights)
    told(there, "signer", "revoke", "lab")
    told(there, "verify", "got", code=1)
