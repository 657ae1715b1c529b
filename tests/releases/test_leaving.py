"""What keeps a release on this machine: each fault is planted, and found."""

from __future__ import annotations

import json

import pytest

import afina
from afina.errors import AfinaError
from afina.releases.leaving import leaving_files, refusals
from afina.releases.stage import release as make_release
from afina.releases.texts import write_texts
from afina.runs.files import read_json, sha256_of, write_json
from tests.releases.conftest import say_licence

NAME = "org/tiny"


def said(run, repository: str = NAME, unsigned: bool = True) -> list[str]:
    return [one.what for one in refusals(run, leaving_files(run), repository, unsigned)]


def put_right(run) -> None:
    """The manifest of the files as they are now, as if the release stage had written it."""
    folder = run.path("release")
    manifest = read_json(folder / "manifest.json")
    manifest["files"] = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and "signatures" not in path.parts
    }
    write_json(folder / "manifest.json", manifest)
    state = read_json(run.path("stages/release.json"))
    state["outputs"]["release/manifest.json"] = sha256_of(folder / "manifest.json")
    write_json(run.path("stages/release.json"), state)


@pytest.fixture
def licensed(copied, base_folder):
    """The copied run under a licence that is known."""
    say_licence(base_folder, "apache-2.0")
    write_texts(copied, copied.recipe())
    put_right(copied)
    assert said(copied) == []
    return copied


def test_a_run_without_a_release_is_refused_at_once(copied):
    copied.path("release/manifest.json").unlink()
    with pytest.raises(AfinaError, match="no release yet"):
        leaving_files(copied)


def test_every_file_is_listed_with_size_and_hash(licensed):
    folder = licensed.path("release")
    listed = {one.path: (one.bytes, one.sha256) for one in leaving_files(licensed)}
    there = {
        path.relative_to(folder).as_posix(): (path.stat().st_size, sha256_of(path))
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert listed == there
    assert {"README.md", "README.es.md", "bom.json", "manifest.json", "LICENSE"} <= listed.keys()


def test_the_gate_says_no(licensed):
    gate = read_json(licensed.path("gate.json"))
    write_json(licensed.path("gate.json"), {**gate, "passed": False})
    assert said(licensed) == ["the gate says no to this model"]
    licensed.path("gate.json").unlink()
    assert said(licensed) == ["the gate has not been asked"]


def test_each_file_must_be_the_manifests(licensed):
    folder = licensed.path("release")
    (folder / "notes.txt").write_text("more")
    what = "this file is in the release, but not in its manifest"
    assert said(licensed) == [f"{what} ({folder / 'notes.txt'})"]
    (folder / "notes.txt").unlink()
    path = folder / "evaluation.json"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    what = "this file of the release is not the one that was written: it was changed or damaged"
    assert said(licensed) == [f"{what} ({path})"]
    path.unlink()
    assert said(licensed) == [f"this file of the release is missing ({path})"]
    (folder / "manifest.json").write_text('{"files": []}')
    assert said(licensed) == [f"{what} ({folder / 'manifest.json'})"]


def test_a_changed_weight_is_refused(licensed):
    path = licensed.path("release/adapter/adapter_model.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert any("adapter_model.safetensors" in text for text in said(licensed))
    put_right(licensed)  # a manifest made to fit is no help: training kept the hash too
    assert any("adapter_model.safetensors" in text for text in said(licensed))


def test_a_link_to_another_file_does_not_smuggle_it_out(licensed, tmp_path):
    (tmp_path / "private.txt").write_text("of somebody")
    licensed.path("release/private.txt").symlink_to(tmp_path / "private.txt")
    (text,) = said(licensed)
    assert text.startswith("this is a link")
    assert "private.txt" in text


def test_what_may_go_unsigned_is_not_asked_for_a_signature_of_this_machine(
    licensed, monkeypatch, tmp_path
):
    monkeypatch.setenv("AFINA_TRUST", str(tmp_path / "trust"))
    afina.new_signer("ana", protect=False)
    assert said(licensed) == []
    assert "the release is not signed" in said(licensed, unsigned=False)


def test_it_must_be_signed(licensed):
    assert said(licensed, unsigned=False) == ["the release is not signed"]
    licensed.path("release/signatures").mkdir()
    assert said(licensed, unsigned=False) == ["the release is not signed"]


def test_a_licence_that_is_not_known(copied):
    (one,) = refusals(copied, leaving_files(copied), NAME, True)
    assert one.what == "the licence of the base is not known"
    assert "--license" in one.fix


@pytest.mark.parametrize(
    ("licence", "wrong", "right", "built_with"),
    [
        ("llama3", "org/llama-mail", "org/Llama-3-mail", "Built with Meta Llama 3"),
        ("llama3.1", "org/mail-llama", "org/Llama-mail", "Built with Llama"),
        ("llama3.2", "org/mail", "org/llama_mail", "Built with Llama"),
        ("llama3.3", "org/tiny-Llama", "org/Llama.mail", "Built with Llama"),
        ("llama2", None, "org/anything", ""),
    ],
)
def test_what_llamas_licences_ask(copied, base_folder, licence, wrong, right, built_with):
    say_licence(base_folder, licence)
    write_texts(copied, copied.recipe())
    put_right(copied)
    assert said(copied, right) == []
    if wrong is not None:
        (text,) = said(copied, wrong)
        assert "asks that the name begin with" in text
    card = copied.path("release/README.md")
    if built_with:
        card.write_text(card.read_text("utf-8").replace(built_with, "Made from it"), "utf-8")
        put_right(copied)
        (text,) = said(copied, right)
        assert f"asks that the card say “{built_with}”" in text
    for name in ("LICENSE", "NOTICE", "USE_POLICY.md"):
        copied.path(f"release/{name}").unlink()
    put_right(copied)
    assert any("LICENSE, NOTICE, USE_POLICY.md" in text for text in said(copied, right))


# The Llama licence's own texts and the vocabulary hold addresses, which are not a person's.
PLANTED = {
    "an address": ("Ask ana.perez@correo.example", "email"),
    "a phone": ("Call +52 55 5123 4567", "phone"),
    "a card": ("Paid with 4111 1111 1111 1111", "card"),
    "a token": ("hf_" + "AbCdEfGh" * 5, "hugging face token"),
    "a key": ("AKIAIOSFODNN7EXAMPLE", "aws key"),
    "a home": ("/home/ana/mail.csv", "home folder"),
    "a home on a Mac": ("/Users/ana/mail.csv", "home folder"),
    "a home on Windows": ("C:\\Users\\ana\\mail.csv", "home folder"),
}


def test_personal_data_and_secrets_in_texts(licensed):
    names = ["README.md", "README.es.md", "evaluation.json", "bom.json"] * 2
    for name, (text, kind) in zip(names, PLANTED.values(), strict=True):
        path = licensed.path(f"release/{name}")
        before = path.read_text("utf-8")
        if name.endswith(".json"):
            path.write_text(json.dumps({**json.loads(before), "note": text}), "utf-8")
        else:
            path.write_text(before + text + "\n", "utf-8")
        put_right(licensed)
        (found,) = said(licensed)
        assert found.startswith(f"{name} holds what looks like personal data or secrets")
        assert f": {kind})" in found
        assert text not in found  # not shown again
        path.write_text(before, "utf-8")


def test_a_label_with_an_address_is_found_in_what_is_made_of_it(copied, base_folder):
    say_licence(base_folder, "mit")
    path = copied.path("release/inference.json")
    settings = read_json(path)
    write_json(path, {**settings, "labels": ["ana.perez@correo.example", "other"]})
    write_texts(copied, copied.recipe())
    put_right(copied)
    named = [text.split(" ")[0] for text in said(copied) if "personal data" in text]
    assert {"README.md", "README.es.md", "bom.json", "inference.json"} <= set(named)


def test_the_release_stage_and_the_check_agree(copied, base_folder):
    say_licence(base_folder, "mit")
    make_release(copied, copied.recipe())
    put_right(copied)
    assert said(copied) == []
