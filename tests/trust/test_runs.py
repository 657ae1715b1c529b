"""A run and its release: measured before it is signed, loaded after, and not changed any more."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.tiny import value
from tests.trust.conftest import MADE

import afina
import afina.inference.engine as engine
from afina.errors import AfinaError, SignatureError, StorageError
from afina.inference.engine import Engine
from afina.inference.intact import current_manifest, require_intact
from afina.trust.manifest import read_manifest


@pytest.fixture(autouse=True)
def one_tokenizer(llama3, monkeypatch):
    """The tokenizer takes seconds to read."""
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)


@pytest.fixture
def ana(store):
    return afina.new_signer("ana", protect=False)


def test_a_release_by_itself_and_in_its_run_is_verified(released, store, tmp_path):
    found = afina.verify(str(released))
    assert (found.ok, found.signer, found.trusted, found.problem) == (True, None, None, None)
    release = released / "release"
    assert found.files == len(read_manifest(release)["files"])
    shutil.copytree(release, tmp_path / "copied")
    for folder in (release, tmp_path / "copied"):
        assert afina.verify(str(folder)).ok
        (folder / "README.md").write_text("dear")
        found = afina.verify(str(folder))
        assert (found.ok, found.where) == (False, str(folder / "README.md"))
        with pytest.raises(StorageError, match="changed or damaged"):
            Engine(folder)


def test_signed_and_loaded_everywhere(released, ana, tmp_path):
    release = released / "release"
    for load in (
        lambda: Engine(release),
        lambda: afina.open_model(str(released)),
        lambda: afina.export(str(released), to="adapter", out=tmp_path / "out"),
        lambda: afina.export(str(released), to="merged", out=tmp_path / "out"),
    ):
        with pytest.raises(SignatureError, match="is not signed") as caught:
            load()
        assert f"afina sign {released}" in caught.value.fix
        assert not (tmp_path / "out").exists()
    found = afina.sign(str(released))
    assert (found.ok, found.signer, found.signer_id, found.trusted) == (True, "ana", ana.id, True)
    Engine(release)
    events = [json.loads(line) for line in (released / "events.jsonl").read_text().splitlines()]
    assert (events[-1]["event"], events[-1]["signer_id"]) == ("signed", ana.id)
    # A copy of the release is signed with it.
    afina.export(str(released), to="adapter", out=tmp_path / "adapter")
    assert afina.verify(str(tmp_path / "adapter")).trusted
    Engine(tmp_path / "adapter")
    # What is made of it anew has a manifest, and is signed by itself.
    afina.export(str(released), to="merged", out=tmp_path / "merged")
    manifest = read_manifest(tmp_path / "merged")
    assert manifest["export"] == {"to": "merged", "bits": None}
    assert manifest["parents"]["base"] == read_manifest(release)["parents"]["base"]
    assert "merge.json" in manifest["files"]
    with pytest.raises(SignatureError, match="is not signed"):
        Engine(tmp_path / "merged")
    assert afina.sign(str(tmp_path / "merged")).ok
    Engine(tmp_path / "merged")
    (tmp_path / "merged/merge.json").write_text("{}")
    with pytest.raises(StorageError, match="changed or damaged"):
        Engine(tmp_path / "merged")


def test_a_run_measures_its_model_before_anybody_signs_it(tiny, made, ana):
    """All stages with a trust store in force: nothing can be signed before it is measured."""
    run = tiny.run(
        *MADE, "evaluate.metrics=[macro_f1]", f"evaluate.compare=['{made.root}']", stage="release"
    )
    models = {line["model"] for line in value(run, "evaluation.json")["results"]}
    assert {"base", "tuned"} < models  # and the one compared with
    assert value(run, "release/manifest.json")["run"] == run.title
    with pytest.raises(SignatureError, match="is not signed"):
        Engine(run.path("release"))


def test_a_signed_release_is_not_made_again(tiny, released, ana, monkeypatch):
    import afina.runs.stages as stages

    afina.sign(str(released))
    recipe = released.parents[2] / "tiny.yaml"
    recipe.write_text((released / "recipe.yaml").read_text())
    given = {"runs": str(released.parents[1]), "say": lambda _text: None}
    assert afina.run("tiny", **given).did_work  # the report, which is no part of it
    monkeypatch.setattr(stages, "code_hash", lambda packages: "of a newer Afina")
    before = {path: path.read_bytes() for path in (released / "release").rglob("*") if path.is_file()}
    with pytest.raises(StorageError, match="tiny@1 is signed, and would be made again") as caught:
        afina.run(recipe, **given)
    assert str(released / "release/signatures") in caught.value.fix
    after = {path: path.read_bytes() for path in (released / "release").rglob("*") if path.is_file()}
    assert after == before
    assert afina.report("tiny", **given).report is not None


def test_a_damaged_file_of_a_signed_release_is_told_apart(released, ana):
    afina.sign(str(released))
    path = released / "release/head.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="changed or damaged") as caught:
        require_intact(released / "release")
    assert "copy the release again from where it was sent" in caught.value.fix
    with pytest.raises(StorageError, match="is signed"):
        afina.run("tiny", runs=str(released.parents[1]))


def test_a_manifest_of_an_earlier_model_is_none(released, ana):
    """Training done again by hand leaves the manifest of the model before behind."""
    release, stage = released / "release", released / "stages/train.json"
    assert current_manifest(release) is not None
    state = json.loads(stage.read_text())
    (release / "head.safetensors").write_bytes(b"another")
    import hashlib

    state["outputs"]["release/head.safetensors"] = hashlib.sha256(b"another").hexdigest()
    stage.write_text(json.dumps(state))
    assert current_manifest(release) is None
    require_intact(release, signed=False)
    with pytest.raises(StorageError, match="changed or damaged"):
        afina.sign(str(released))
    (release / "manifest.json").write_bytes((release / "manifest.json").read_bytes() + b" ")
    with pytest.raises(StorageError, match="changed or damaged") as caught:
        require_intact(release, signed=False)
    assert caught.value.where == str(release / "manifest.json")


def test_the_release_of_another_recipe_is_not_taken_over(made, tiny):
    """Its manifest names another run and another recipe, though every file of the model is equal."""
    run = tiny.run(*MADE, "evaluate.suites.rows=7", stage="release")
    assert run.number != made.number
    first, second = (value(one, "release/manifest.json") for one in (made, run))
    assert second["run"] == run.title
    assert first["parents"]["recipe_sha256"] != second["parents"]["recipe_sha256"]
    assert first["files"]["head.safetensors"] == second["files"]["head.safetensors"]


def test_what_cannot_be_signed_is_said(tmp_path, store):
    with pytest.raises(AfinaError, match="nobody here who can sign"):
        afina.sign(str(tmp_path))
    afina.new_signer("ana", protect=False, trusted=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="no manifest"):
        afina.sign(str(tmp_path / "empty"))
    with pytest.raises(AfinaError, match="there is no run `nothing`"):
        afina.verify("nothing", runs=str(tmp_path / "runs"))
    assert not afina.verify(str(tmp_path / "empty")).ok


# Signers


def test_signers_from_python(store, tmp_path, monkeypatch):
    monkeypatch.setattr("afina.trust.keys.SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    made = afina.new_signer("ana", passphrase="one horse of mine", trusted=False)
    assert (made.name, made.state, made.own, made.vouched_by) == ("ana", "unknown", True, ())
    assert not store.asks
    elsewhere = tmp_path / "elsewhere"
    entry = afina.trust_signer(made.file, expected_id=made.id.upper(), trust=elsewhere)
    assert (entry.state, entry.own, entry.id) == ("trusted", False, made.id)
    with pytest.raises(SignatureError, match="not the id that was expected"):
        afina.trust_signer(made.file, expected_id="0" * 64, trust=tmp_path / "third")
    rotated = afina.rotate_signer("ana", passphrase="one horse of mine")
    assert rotated.vouched_by == (made.id,)
    assert (rotated.state, rotated.own) == ("unknown", True)
    revoked = afina.revoke_signer("ana", why="lost")  # own keys, which no one trusts here
    assert (revoked.id, revoked.state, revoked.why, revoked.own) == (rotated.id, "revoked", "lost", True)
    with pytest.raises(AfinaError, match="counts no more"):
        afina.rotate_signer("ana", passphrase="one horse of mine")
    assert [(one.name, one.state) for one in afina.list_signers()] == [("ana", "revoked")]
    assert [(one.id, one.state) for one in afina.list_signers(trust=elsewhere)] == [(made.id, "trusted")]
    by_file = afina.revoke_signer(str(made.file), trust=tmp_path / "fourth")
    assert (by_file.id, by_file.state) == (rotated.id, "revoked")
