"""`afina sign`, `afina verify` and `afina signer …` as they are typed; runs are in tests/trust."""

from __future__ import annotations

import pytest

from afina.trust.manifest import write_manifest
from tests.cli.conftest import Place


@pytest.fixture
def place(tmp_path, monkeypatch, cache) -> Place:
    """A folder with a model, and an empty trust store."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "README.md").write_text("card")
    write_manifest(model, {"name": "model"})
    monkeypatch.setenv("AFINA_TRUST", str(tmp_path / "trust"))
    monkeypatch.setenv("AFINA_SIGNER_PASSPHRASE", "one horse of mine")
    monkeypatch.setattr("afina.trust.keys.SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    return Place(tmp_path, cache)


def test_from_the_first_key_to_the_last(place, tmp_path):
    assert place.inside("signer", "list").out.startswith("nobody yet")
    assert "signatures: none" in place.inside("verify", "model").out
    made = place.inside("signer", "new", "ana")
    assert made.code == 0
    assert f"trust your models: {tmp_path}/trust/keys/ana.json" in made.out
    assert "only when a trusted signer signed it" in made.out
    refused = place.inside("verify", "model")
    assert refused.code == 1
    assert refused.out.startswith("NO: signatures are asked for")
    assert "what to do: sign it with `afina sign model`" in refused.out
    assert "signed by ana" in place.inside("sign", "model").out
    found = place.inside("verify", "./model/")
    assert (found.code, found.clean) == (0, True)
    assert "both are right, by ana" in found.out
    assert place.inside("verify", "model", "--json").json()["trusted"] is True

    card = tmp_path / "model/README.md"
    card.write_text("dear")
    changed = place.inside("--lang", "es", "verify", "model")
    assert changed.code == 1
    assert "model/README.md" in changed.out
    assert "qué hacer" in changed.out
    value = place.inside("verify", "model", "--json").json()
    assert (value["ok"], value["where"]) == (False, "model/README.md")

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
        (("sign", "model"), "nobody here who can sign"),
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
