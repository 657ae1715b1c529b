"""Keys: made, kept under a passphrase, read again; one generation vouches for the next."""

from __future__ import annotations

import json
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

import afina.trust.keys as keys
from afina.errors import AfinaError, SignatureError, StorageError
from afina.trust.algorithms import ECDSA, ML_DSA, is_signature, load_public, public_pem
from afina.trust.keys import KeyFolder
from afina.trust.passphrase import asked_passphrase, given_passphrase
from afina.trust.signer import parse_signer, read_signer

SECRET = "correct horse"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> KeyFolder:
    """Keys under a passphrase that is quick to try, for tests."""
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    return KeyFolder(tmp_path / "keys")


def never() -> str:
    raise AssertionError("asked for a passphrase that is not needed")


def test_the_cost_of_a_guess_is_what_owasp_asks_for():
    assert keys.SCRYPT == {"n": 131072, "r": 8, "p": 1}


def test_keys_are_read_again_with_their_passphrase_only(folder):
    made = folder.make("ana@example.org", SECRET)
    path = folder.folder / "ana@example.org.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700
    assert "PRIVATE" not in path.read_text()
    again = folder.read("ana@example.org", lambda: SECRET)
    assert again.introduced == made.introduced
    for algorithm in (ECDSA, ML_DSA):
        signature = again.sign(algorithm, b"said")
        assert is_signature(algorithm, made.signer.key(algorithm), signature, b"said")
        assert not is_signature(algorithm, made.signer.key(algorithm), signature, b"sad")
    with pytest.raises(AfinaError, match="does not open") as caught:
        folder.read("ana@example.org", lambda: "correct house")
    assert caught.value.where == str(path)
    with pytest.raises(StorageError, match=r"keys of `ana@example\.org` already"):
        folder.make("ana@example.org", SECRET)


def test_the_public_files_are_those_of_the_keys(folder):
    made = folder.make("ana", SECRET)
    assert read_signer(folder.public_file("ana"), to_the_byte=True) == made.introduced
    assert (folder.folder / "ana.pem").read_text() == made.signer.ecdsa_p256
    assert "BEGIN PUBLIC KEY" in made.signer.ecdsa_p256
    assert len(made.signer.id) == 64
    assert folder.names() == ["ana"]
    assert folder.choose(None) == "ana"
    folder.make("ben", None)
    with pytest.raises(AfinaError, match="no signer was named"):
        folder.choose(None)
    with pytest.raises(AfinaError, match="no keys of `eve`"):
        folder.choose("eve")


def test_keys_without_a_passphrase_ask_for_none(folder):
    made = folder.make("ci", None)
    assert folder.read("ci", never).signer == made.signer
    path = folder.folder / "ci.key"
    path.chmod(0o644)
    with pytest.raises(StorageError, match="others can read") as caught:
        folder.read("ci", never)
    assert f"chmod 600 {path}" in caught.value.fix


@pytest.mark.parametrize("name", ["", ".ana", "../ana", "a/b", "a b", "a\nb", "x" * 101, None, "-rf"])
def test_names_that_are_no_file_names_are_refused(folder, name):
    with pytest.raises(AfinaError, match="cannot be the name"):
        folder.make(name, None)


def test_a_short_passphrase_is_refused(folder):
    with pytest.raises(AfinaError, match="5 characters is too short"):
        folder.make("ana", "abcde")
    assert folder.names() == []


@pytest.mark.parametrize("change", [
    lambda v: v.update(schema="x"), lambda v: v.pop("scrypt"), lambda v: v["scrypt"].update(n=3),
    lambda v: v["scrypt"].update(n=2**40), lambda v: v["aes_256_gcm"].update(nonce="zz"),
    lambda v: v.update(signer="{}"), lambda v: v.pop("signer"),
])  # fmt: skip
def test_damaged_keys_are_named(folder, change):
    folder.make("ana", SECRET)
    path = folder.folder / "ana.key"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(StorageError, match="damaged") as caught:
        folder.read("ana", lambda: SECRET)
    assert caught.value.where == str(path)


def test_keys_of_one_signer_under_the_name_of_another_are_refused(folder):
    """The signer's file is bound into the encryption."""
    folder.make("ana", SECRET)
    folder.make("eve", SECRET)
    mine, theirs = (json.loads((folder.folder / f"{n}.key").read_text()) for n in ("ana", "eve"))
    (folder.folder / "ana.key").write_text(json.dumps({**theirs, "signer": mine["signer"]}))
    with pytest.raises(AfinaError, match="does not open"):
        folder.read("ana", lambda: SECRET)


def test_old_keys_vouch_for_new_ones_and_are_gone(folder):
    first = folder.make("ana", SECRET)
    second = folder.rotate("ana", first, SECRET)
    third = folder.rotate("ana", second, "another horse")
    again = folder.read("ana", lambda: "another horse")
    assert again.introduced == third.introduced
    assert [vouch.old for vouch in again.introduced.vouches] == [second.signer, first.signer]
    assert len({one.signer.id for one in (first, second, third)}) == 3
    assert folder.names() == ["ana"]
    text = folder.public_file("ana").read_text()
    value = json.loads(text)
    eve = folder.make("eve", None).signer
    for change in (
        lambda v: v["vouches"].pop(0),  # the chain has a hole
        lambda v: v["vouches"].reverse(),
        lambda v: v["vouches"][0].update(at="2020-01-01"),
        lambda v: v["vouches"][0]["signatures"].pop(ML_DSA),
        lambda v: v["vouches"][0]["signatures"].update({ECDSA: v["vouches"][1]["signatures"][ECDSA]}),
        lambda v: v.update(eve.as_json()),  # somebody else under the vouches
        lambda v: v["vouches"][1].update(old=eve.as_json()),
    ):
        changed = json.loads(text)
        change(changed)
        with pytest.raises(SignatureError, match="not a signer's file"):
            parse_signer(json.dumps(changed).encode(), "here")
    assert parse_signer(json.dumps(value).encode(), "here") == third.introduced
    with pytest.raises(SignatureError):  # the same value, but not as Afina writes it
        parse_signer(json.dumps(value).encode(), "here", to_the_byte=True)


def test_a_public_key_is_of_its_algorithm_and_written_one_way(folder):
    made = folder.make("ana", None).signer
    load_public(ECDSA, made.ecdsa_p256)
    load_public(ML_DSA, made.ml_dsa_65)
    for algorithm, pem in (
        (ML_DSA, made.ecdsa_p256),
        (ECDSA, made.ml_dsa_65),
        (ECDSA, made.ecdsa_p256 + "\n"),
        (ECDSA, made.ecdsa_p256.replace("\n", "\r\n")),
        (ECDSA, "ñ"),
        (ECDSA, ""),
    ):
        with pytest.raises(ValueError, match=r"public key|PEM"):
            load_public(algorithm, pem)
    assert len(MLDSA65PrivateKey.generate().sign(b"")) == 3309
    assert public_pem(MLDSA65PrivateKey.from_seed_bytes(bytes(32))) == public_pem(
        MLDSA65PrivateKey.from_seed_bytes(bytes(32))
    )


def test_a_passphrase_comes_from_the_file_then_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("AFINA_SIGNER_PASSPHRASE", raising=False)
    monkeypatch.delenv("AFINA_SIGNER_PASSPHRASE_FILE", raising=False)
    assert given_passphrase() is None
    with pytest.raises(AfinaError, match="nobody is there to type it"):
        asked_passphrase()
    monkeypatch.setenv("AFINA_SIGNER_PASSPHRASE", "by variable")
    assert asked_passphrase(new=True) == "by variable"
    (tmp_path / "one").write_text("by a file's name\n", encoding="utf-8")
    monkeypatch.setenv("AFINA_SIGNER_PASSPHRASE_FILE", str(tmp_path / "one"))
    assert asked_passphrase() == "by a file's name"
    (tmp_path / "two").write_text("by option  \r\n", encoding="utf-8")
    assert asked_passphrase(tmp_path / "two") == "by option  "
    with pytest.raises(AfinaError, match="cannot be read"):
        asked_passphrase(tmp_path / "none")
