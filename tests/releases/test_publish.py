"""`afina publish` over real HTTP, to a server on this machine that takes releases as the Hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import afina
from afina.cli.publish import publish_lines
from afina.errors import AfinaError
from afina.releases.publish import NotPublished
from tests.releases.conftest import say_licence
from tests.releases.hub_server import TOKEN, HubServer
from tests.tiny import value

NAME = "org/tiny"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The server, and a client that knows its address and the token."""
    server = HubServer()
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its own protocol and servers
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in list(os.environ):
        if "proxy" in name.lower():
            monkeypatch.delenv(name)
    yield server
    server.close()


@pytest.fixture
def run(copied, base_folder):
    """A run whose base is under MIT: nothing stands against it but that it is not signed."""
    say_licence(base_folder, "mit")
    afina.publish(str(copied.root), hub=NAME, license="mit")
    return copied


def files_of(run) -> dict[str, bytes]:
    folder = run.path("release")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def send(run, **options) -> afina.PublishResult:
    return afina.publish(str(run.root), hub=NAME, yes=True, unsigned=True, **options)


def test_without_yes_nothing_is_asked_of_anybody(run, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    result = afina.publish(str(run.root), hub=NAME, unsigned=True)
    assert hub.asked == []
    assert result.commit is None
    assert result.refusals == []
    assert {one.path: one.sha256 for one in result.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files_of(run).items()
    }
    lines = publish_lines(result)
    for one in result.files:
        assert any(one.path in line and one.sha256 in line for line in lines)
    assert "  # tiny" in lines
    assert lines[-1] == "nothing was sent; add --yes to send it"


def test_with_yes_all_files_are_there_in_one_commit_and_private(run, hub):
    result = send(run)
    found = hub.repositories[NAME]
    assert found.private
    assert len(found.commits) == 2  # the repository's own first one, and the release
    there = {name: data for name, data in found.files.items() if name != ".gitattributes"}
    assert there == files_of(run)
    assert found.large >= {"adapter/adapter_model.safetensors", "adapter/tokenizer.json"}
    assert result.commit == f"{hub.url}/{NAME}/commit/{found.head}"
    # The hashes were compared afterwards: small files were read again, of large ones the Hub's was.
    asked = hub.asked[hub.asked.index(next(one for one in hub.asked if "/commit/" in one)) + 1 :]
    assert any("paths-info" in one for one in asked)
    assert f"GET {NAME}/resolve/{found.head}/README.md" in asked
    assert not any("adapter_model.safetensors" in one for one in asked)
    last = json.loads(run.path("events.jsonl").read_text("utf-8").splitlines()[-1])
    assert (last["event"], last["repository"], last["commit"]) == ("published", NAME, result.commit)


def test_public_is_asked_for(run, hub):
    send(run, public=True)
    assert not hub.repositories[NAME].private


def test_a_public_repository_that_is_there_is_not_written_unasked(run, hub):
    hub.add(NAME, private=False)
    with pytest.raises(AfinaError, match="this repository is public"):
        send(run)
    assert len(hub.repositories[NAME].commits) == 1
    send(run, public=True)
    assert len(hub.repositories[NAME].commits) == 2


def test_other_files_are_not_left_beside_a_release_nor_removed_unasked(run, hub):
    hub.add(NAME, **{"old.bin": b"pickled", "README.md": b"old"})
    with pytest.raises(AfinaError, match=r"holds other files: old\.bin"):
        send(run)
    assert len(hub.repositories[NAME].commits) == 1
    send(run, replace=True)
    assert "old.bin" not in hub.repositories[NAME].files
    assert hub.repositories[NAME].files["README.md"] == files_of(run)["README.md"]


def test_the_same_again_is_no_fault(run, hub):
    send(run)
    send(run)
    assert hub.repositories[NAME].files["bom.json"] == files_of(run)["bom.json"]


@pytest.mark.parametrize("name", ["README.md", "evaluation.json", "adapter/adapter_model.safetensors"])
def test_what_arrives_otherwise_is_noticed(run, hub, name):
    hub.spoil = name
    with pytest.raises(AfinaError, match="something else than was sent") as raised:
        send(run)
    assert name in raised.value.what


def test_a_repository_that_changes_meanwhile_is_left_alone(run, hub):
    hub.moved = True
    with pytest.raises(AfinaError, match="changed while the files were sent"):
        send(run)
    assert "README.md" not in hub.repositories[NAME].files


def test_a_refusal_sends_nothing(run, hub):
    with pytest.raises(NotPublished, match="the release is not signed") as raised:
        afina.publish(str(run.root), hub=NAME, yes=True)
    assert raised.value.exit_code == 1
    path = run.path("release/README.md")
    path.write_text(path.read_text("utf-8") + "ana.perez@correo.example\n", "utf-8")
    with pytest.raises(NotPublished) as raised:
        send(run)
    assert f"changed or damaged ({path})" in raised.value.what
    assert "personal data" in raised.value.what
    assert hub.asked == []


def test_without_a_token_it_says_where_one_comes_from(run, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AfinaError, match="no token for the Hub") as raised:
        send(run)
    assert "hf auth login" in raised.value.fix
    assert hub.asked == []
    Path(constants.HF_TOKEN_PATH).write_text(TOKEN)  # as `hf auth login` leaves it
    assert send(run).commit


def test_a_token_that_may_not_write_is_said(run, hub, monkeypatch):
    hub.may_write = False
    with pytest.raises(AfinaError, match="refuses your token"):
        send(run)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "wrong" * 7)
    with pytest.raises(AfinaError, match="refuses your token") as raised:
        send(run)
    assert TOKEN not in str(raised.value)


def test_offline_is_said_at_once(run, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AfinaError, match="cannot be reached: nothing was sent"):
        send(run)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(AfinaError, match="cannot be reached: nothing was sent"):
        send(run)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["tiny", "org/a/b", "org/..", "org/ tiny", "/tiny", "org/tiny.git", ""])
def test_a_name_that_is_none_is_refused(run, name):
    with pytest.raises(AfinaError):
        afina.publish(str(run.root), hub=name)


def test_a_stated_licence_makes_the_texts_again_and_then_stays(copied, hub):
    before = value(copied, "release/manifest.json")
    unknown = afina.publish(str(copied.root), hub=NAME, unsigned=True)
    assert [one.what for one in unknown.refusals] == ["the licence of the base is not known"]
    copied.path("release/signatures").mkdir()
    copied.path("release/signatures/old.sig").write_text("of the manifest before")
    told: list[str] = []
    stated = afina.publish(str(copied.root), hub=NAME, unsigned=True, license="MIT", say=told.append)
    assert stated.refusals == []
    assert "the texts of the release were made again: sign it again" in told
    assert not copied.path("release/signatures").exists()
    assert "license: mit" in stated.card
    assert "It is what the publisher declares" in stated.card
    assert value(copied, "release/manifest.json") != before
    assert copied.recipe().release.license == "mit"
    # The run is the same one; the model and what was measured were not touched.
    after = value(copied, "release/manifest.json")
    assert after["parents"] == before["parents"]
    for name in ("adapter/adapter_model.safetensors", "evaluation.json", "inference.json"):
        assert after["files"][name] == before["files"][name]
    told.clear()
    afina.publish(str(copied.root), hub=NAME, license="mit", say=told.append)
    assert not any("made again" in text for text in told)
    assert afina.publish(str(copied.root), hub=NAME, unsigned=True).refusals == []


def test_the_files_of_a_llama_are_added_and_then_it_goes(copied, base_folder, hub):
    say_licence(base_folder, "llama3.1", files=False)
    lacking = afina.publish(str(copied.root), hub="org/Llama-tiny", unsigned=True, license="llama3.1")
    assert ["LICENSE, USE_POLICY.md" in one.what for one in lacking.refusals] == [True]
    say_licence(base_folder, "llama3.1")
    done = afina.publish(
        str(copied.root), hub="org/Llama-tiny", yes=True, unsigned=True, license="llama3.1"
    )
    assert done.commit
    sent = hub.repositories["org/Llama-tiny"].files
    assert b"LLAMA 3.1 COMMUNITY LICENSE AGREEMENT" in sent["LICENSE"]
    assert b"Built with Llama" in sent["README.md"]
    with pytest.raises(AfinaError, match="stays under it"):
        afina.publish(str(copied.root), hub="org/Llama-tiny", license="mit")
    assert copied.recipe().release.license == "llama3.1"


def test_the_command_over_http(run, hub, tmp_path):
    """A process of its own, as a person types it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {
        **kept, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1", "LC_ALL": "C",
    }  # fmt: skip

    def afina_publish(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "afina", "publish", "tiny", "--runs", str(tmp_path / "runs"),
             "--hub", NAME, *more],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    refused = afina_publish("--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the release is not signed" in refused.stderr
    done = afina_publish("--yes", "--unsigned", "--json")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    found = json.loads(done.stdout)
    assert found["published"]
    assert found["commit"].endswith(hub.repositories[NAME].head)
    assert TOKEN not in done.stdout + done.stderr
