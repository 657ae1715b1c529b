"""`afina sign`, `afina verify` and `afina signer …` as they are typed."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    """A copy of the finished run, and an empty trust store."""
    from tests.cli.conftest import Place

    done, _answer = finished
    shutil.copytree(done.folder / "runs", tmp_path / "runs")
    monkeypatch.setenv("AFINA_TRUST", str(tmp_path / "trust"))
    monkeypatch.setenv("AFINA_SIGNER_PASSPHRASE", "one horse of mine")
    monkeypatch.setattr("afina.trust.keys.SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    return Place(tmp_path, done.cache)


def test_from_the_first_key_to_the_last(place, tmp_path):
    assert place.inside("signer", "list").out.startswith("nobody yet")
    assert "signatures: none" in place.inside("verify", "colours").out
    made = place.inside("signer", "new", "ana")
    assert made.code == 0
    assert f"trust your models: {tmp_path}/trust/keys/ana.json" in made.out
    assert "only when a trusted signer signed it" in made.out
    unsigned = place.inside("chat", "colours")
    assert (unsigned.code, unsigned.clean) == (1, True)
    assert "this release is not signed" in unsigned.err
    assert "what to do: sign it with `afina sign " in unsigned.err
    refused = place.inside("verify", "colours")
    assert refused.code == 1
    assert refused.out.startswith("NO: signatures are asked for")
    assert "signed by ana" in place.inside("sign", "colours").out
    found = place.inside("verify", "runs/colours/1/release")
    assert (found.code, found.clean) == (0, True)
    assert "both are right, by ana" in found.out
    assert place.inside("verify", "colours", "--json").json()["trusted"] is True

    card = tmp_path / "runs/colours/1/release/README.md"
    card.write_text("dear")
    changed = place.inside("--lang", "es", "verify", "colours")
    assert changed.code == 1
    assert str(card) in changed.out
    value = place.inside("verify", "colours", "--json").json()
    assert (value["ok"], value["where"]) == (False, str(card))

    first = place.inside("signer", "list", "--json").json()[0]
    rotated = place.inside("signer", "rotate", "ana", "--json").json()
    assert rotated["vouched_by"] == [first["id"]]
    other = ("--trust", str(tmp_path / "other"))
    file = str(tmp_path / "trust/keys/ana.json")
    wrong = place.inside("signer", "trust", file, "--id", first["id"], *other)
    assert (wrong.code, "not the id that was expected" in wrong.err) == (1, True)
    trusted = place.inside("signer", "trust", file, *other)
    assert f"ana is trusted here; id {rotated['id']}" in trusted.out
    revoked = place.inside("signer", "revoke", first["id"][:12], "--because", "lost")
    assert (revoked.code, "ana is revoked here" in revoked.out) == (0, True)
    lines = place.inside("signer", "list").out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"ana  {first['id'][:16]}  revoked, ")
    assert lines[0].endswith(", lost")
    assert "trusted" in lines[1]
    assert "keys here" in lines[1]


def test_wrong_use_is_said(place, monkeypatch):
    for arguments, what in (
        (("sign", "colours"), "nobody here who can sign"),
        (("sign", "nothing"), "nobody here who can sign"),
        (("verify", "nothing"), "there is no run `nothing`"),
        (("signer", "revoke", "nobody"), "no signer `nobody` is known"),
        (("signer", "trust", "none.json"), "cannot be read"),
        (("signer", "new", "../ana"), "cannot be the name"),
    ):
        answer = place.inside(*arguments)
        assert (answer.code, answer.clean) == (2, True), arguments
        assert what in answer.err
    monkeypatch.setenv("AFINA_SIGNER_PASSPHRASE", "short")
    assert "too short" in place.inside("signer", "new", "ana").err
