"""Two signatures over one manifest: either one wrong is refused; the reference accepts ours."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys

import pytest

from afina.errors import AfinaError, SignatureError, StorageError
from afina.inference.intact import require_intact
from afina.trust.algorithms import ML_DSA as ML_DSA_KEY
from afina.trust.algorithms import is_signature
from afina.trust.manifest import BUNDLE, ML_DSA, SIGNER, read_manifest, write_manifest
from afina.trust.signatures import require_trusted, sign_release, signed_by
from afina.trust.trust_store import REVOKED, TRUSTED


@pytest.fixture
def ana(store):
    """Keys of somebody who is trusted here."""
    keys = store.keys.make("ana", None)
    store.trust(keys.signer)
    return keys


def reference(folder, public) -> subprocess.CompletedProcess[str]:
    """What `model_signing verify key` says."""
    command = ["verify", "key", "--signature", str(folder / BUNDLE), "--public_key", str(public)]
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *command, str(folder)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_reference_verifier_accepts_the_bundle(release, ana, store, tmp_path):
    sign_release(release, ana)
    public = store.keys.folder / "ana.pem"
    shutil.copytree(release, tmp_path / "elsewhere")
    found = reference(tmp_path / "elsewhere", public)
    assert (found.returncode, found.stdout) == (0, "Verification succeeded\n"), found.stderr


def test_the_reference_verifier_reads_what_we_sign(release, ana, store):
    """The same in this process, which is quicker: other keys, other files, files too many."""
    from model_signing import hashing, verifying

    sign_release(release, ana)
    store.keys.make("eve", None)

    def verify(name: str) -> None:
        verifying.Config().use_elliptic_key_verifier(
            public_key=store.keys.folder / f"{name}.pem"
        ).set_hashing_config(hashing.Config().set_ignored_paths(paths=["signatures/model.sig"])).verify(
            release, release / BUNDLE
        )

    verify("ana")
    with pytest.raises(ValueError, match="Key mismatch"):
        verify("eve")
    manifest = (release / "manifest.json").read_text(encoding="utf-8")
    (release / "manifest.json").write_text(manifest + " ", encoding="utf-8")
    with pytest.raises(ValueError, match=r"Hash mismatch for .*manifest\.json"):
        verify("ana")
    (release / "manifest.json").write_text(manifest, encoding="utf-8")
    (release / "more").write_text("")
    with pytest.raises(ValueError, match="Extra files"):
        verify("ana")


def test_what_the_reference_signs_has_the_same_statement(release, ana, store, tmp_path):
    """Byte for byte it differs in spaces and order; the resources and their digest are the same."""
    import base64

    from model_signing import hashing, signing

    from afina.trust.algorithms import private_pem

    pem = tmp_path / "private.pem"
    pem.write_text(private_pem(ana.private["ecdsa_p256"]))
    sign_release(release, ana)
    signing.Config().use_elliptic_key_signer(private_key=pem).set_hashing_config(
        hashing.Config().set_ignored_paths(paths=["signatures"], ignore_git_paths=False)
    ).sign(release, tmp_path / "theirs.sig")

    def statement(path):
        value = json.loads(path.read_text())
        assert value["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        return value["verificationMaterial"], json.loads(
            base64.b64decode(value["dsseEnvelope"]["payload"])
        )

    ours, theirs = statement(release / BUNDLE), statement(tmp_path / "theirs.sig")
    assert ours[0] == theirs[0]
    assert ours[1]["predicate"] == theirs[1]["predicate"]
    assert ours[1]["subject"][0]["digest"] == theirs[1]["subject"][0]["digest"]
    assert (ours[1]["_type"], ours[1]["predicateType"]) == (
        theirs[1]["_type"],
        theirs[1]["predicateType"],
    )


def test_the_post_quantum_signature_is_over_the_manifests_bytes(release, ana):
    sign_release(release, ana)
    signature, data = (release / ML_DSA).read_bytes(), (release / "manifest.json").read_bytes()
    assert len(signature) == 3309
    assert is_signature(ML_DSA_KEY, ana.signer.ml_dsa_65, signature, data)


def test_nothing_is_signed_that_is_not_as_the_manifest_says(release, ana):
    (release / "README.md").write_text("dear")
    with pytest.raises(StorageError, match="changed or damaged"):
        sign_release(release, ana)
    assert not (release / "signatures").exists()


def test_either_signature_of_another_release_is_refused(release, ana, store, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(release, other)
    (other / "README.md").write_text("dear")
    write_manifest(other, {"name": "ñandú"})
    sign_release(release, ana)
    sign_release(other, ana)
    for name, what in ((BUNDLE, "ECDSA signature is not"), (ML_DSA, "ML-DSA-65 signature is not")):
        kept = (release / name).read_bytes()
        shutil.copy(other / name, release / name)
        with pytest.raises(SignatureError, match=what) as caught:
            require_trusted(release, store)
        assert caught.value.where == str(release / name)
        assert caught.value.exit_code == 1
        (release / name).write_bytes(kept)
    for name in (BUNDLE, ML_DSA, SIGNER):
        kept = (release / name).read_bytes()
        (release / name).unlink()
        with pytest.raises(SignatureError, match="is missing") as caught:
            require_trusted(release, store)
        assert caught.value.where == str(release / name)
        (release / name).write_bytes(kept)
    require_trusted(release, store)


def test_somebody_elses_signature_under_a_trusted_name_is_refused(release, ana, store):
    """Eve signs, and puts Ana's file beside it; or calls herself Ana."""
    eve = store.keys.make("eve", None)
    sign_release(release, eve)
    (release / SIGNER).write_text(ana.introduced.file_text())
    with pytest.raises(SignatureError, match=r"not one of manifest\.json by ana"):
        require_trusted(release, store)
    sign_release(release, eve)
    with pytest.raises(SignatureError, match=r"eve .* is not trusted here") as caught:
        require_trusted(release, store)
    assert eve.signer.id in caught.value.fix
    assert f"afina signer trust {release / SIGNER}" in caught.value.fix


def test_one_of_two_keys_is_not_enough(release, ana, store):
    """Who has broken ECDSA alone, or ML-DSA alone, signs nothing."""
    from dataclasses import replace

    eve = store.keys.make("eve", None)
    for stolen in ("ecdsa_p256", "ml_dsa_65"):
        mixed = replace(ana, private={**eve.private, stolen: ana.private[stolen]})
        sign_release(release, mixed)
        with pytest.raises(SignatureError, match="signature is not one of"):
            require_trusted(release, store)


def test_unsigned_is_refused_once_somebody_is_trusted(release, store):
    require_intact(release)
    keys = store.keys.make("ana", None)
    require_intact(release)  # keys alone ask for nothing
    store.trust(keys.signer)
    with pytest.raises(SignatureError, match="is not signed") as caught:
        require_intact(release)
    assert f"afina sign {release}" in caught.value.fix
    require_intact(release, signed=False)
    sign_release(release, keys)
    require_intact(release)
    (release / "manifest.json").unlink()
    with pytest.raises(SignatureError, match="no manifest to sign"):
        require_intact(release)


def test_a_revoked_signer_is_refused_also_when_nobody_else_is_left(release, ana, store):
    sign_release(release, ana)
    require_intact(release)
    store.revoke(ana.signer, "the laptop was stolen")
    with pytest.raises(SignatureError, match=r"was revoked on 20.*the laptop was stolen"):
        require_intact(release)
    assert store.asks
    shutil.rmtree(release / "signatures")
    with pytest.raises(SignatureError, match="is not signed"):
        require_intact(release)


def test_trust_follows_the_keys_that_vouch(release, ana, store):
    """Whoever trusts the first keys loads what the third sign; a revoked generation breaks the chain."""
    second = store.keys.rotate("ana", ana, None)
    third = store.keys.rotate("ana", second, None)
    sign_release(release, third)
    found = require_trusted(release, store)
    assert (found.signer, found.state, found.through) == (third.signer, TRUSTED, ana.signer)
    store.revoke(second.signer)
    with pytest.raises(SignatureError, match=r"not trusted here; ana \(.*vouches for them, was revoked"):
        require_trusted(release, store)
    store.trust(third.signer)  # by their own id they may be trusted all the same
    assert require_trusted(release, store).through is None
    assert store.state_of(second.signer.id) == REVOKED


def test_a_thousand_flipped_bytes_are_a_thousand_refusals(release, ana, store):
    """One byte at a time, over all files of a release with its manifest and signatures."""
    rotated = store.keys.rotate("ana", ana, None)
    sign_release(release, rotated)
    require_intact(release)
    places = [
        (path, place)
        for path in sorted(release.rglob("*"))
        if path.is_file()
        for place in range(path.stat().st_size)
    ]
    chosen = random.Random(13)
    refused = 0
    for path, place in chosen.sample(places, 1000):
        data = bytearray(path.read_bytes())
        before = data[place]
        data[place] ^= chosen.randrange(1, 256)
        path.write_bytes(data)
        try:
            require_intact(release)
        except (SignatureError, StorageError):
            refused += 1
        data[place] = before
        path.write_bytes(data)
    assert refused == 1000
    require_intact(release)


def test_every_byte_of_the_signatures_counts(release, ana, store):
    """Each bit of every 50th byte, in the files where a format may leave some unread."""
    sign_release(release, ana)
    for name in (BUNDLE, SIGNER, ML_DSA, "manifest.json"):
        path = release / name
        kept = path.read_bytes()
        for place in range(0, len(kept), 50):
            changed = bytearray(kept)
            changed[place] ^= 1 << (place // 50 % 8)
            path.write_bytes(changed)
            with pytest.raises((SignatureError, StorageError)):
                require_intact(release)
        for more in (kept + b"\n", b" " + kept, kept[:-1]):
            path.write_bytes(more)
            with pytest.raises((SignatureError, StorageError)):
                require_intact(release)
        path.write_bytes(kept)
    require_intact(release)


def test_who_signed_is_known_without_trust(release, store):
    assert signed_by(release, store) is None
    keys = store.keys.make("ana", None)
    sign_release(release, keys)
    found = signed_by(release, store)
    assert found is not None
    assert (found.signer, found.state) == (keys.signer, None)
    assert read_manifest(release)["name"] == "ñandú"


# The trust store


def test_a_damaged_trust_store_lets_nothing_through(release, ana, store):
    sign_release(release, ana)
    kept = store.path.read_text()
    value = json.loads(kept)
    forged = {**value["signers"][0], "name": "eve"}
    newer = '{"schema": "afina/trust/2", "signers": []}'
    other = json.dumps({**value, "signers": [forged]})
    for text in ("", "{", "[]", newer, other, kept.replace("trusted", "x")):
        store.path.write_text(text)
        with pytest.raises(StorageError, match="cannot be read who is trusted") as caught:
            require_intact(release)
        assert caught.value.where == str(store.path)
    store.path.write_text(kept)
    require_intact(release)


def test_revoking_is_not_taken_back(ana, store):
    assert store.revoke(ana.signer, "lost") == store.revoke(ana.signer)
    with pytest.raises(AfinaError, match="is not taken back"):
        store.trust(ana.signer)
    assert [(entry.state, entry.why) for entry in store.entries()] == [("revoked", "lost")]


def test_a_signer_is_found_by_name_or_id(ana, store):
    assert store.find("ana").signer == ana.signer
    assert store.find(ana.signer.id[:8]).signer == ana.signer
    with pytest.raises(AfinaError, match="no signer `eve`"):
        store.find("eve")
    with pytest.raises(AfinaError, match="no signer"):
        store.find(ana.signer.id[:7])
    second = store.keys.rotate("ana", ana, None)
    store.trust(second.signer)
    with pytest.raises(AfinaError, match="more than one signer is called `ana`") as caught:
        store.find("ana")
    assert second.signer.id[:16] in caught.value.fix
    store.revoke(ana.signer)
    assert store.find("ana").signer == second.signer


def test_where_the_trust_store_is(monkeypatch, tmp_path):
    from afina.trust.trust_store import trust_folder

    monkeypatch.setenv("AFINA_TRUST", str(tmp_path / "a"))
    assert trust_folder() == tmp_path / "a"
    monkeypatch.delenv("AFINA_TRUST")
    monkeypatch.setenv("AFINA_CONFIG", str(tmp_path / "b"))
    assert trust_folder() == tmp_path / "b/trust"
    monkeypatch.delenv("AFINA_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    assert trust_folder() == tmp_path / "c/afina/trust"
