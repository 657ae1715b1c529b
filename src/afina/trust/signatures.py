"""Signs a release, and says whether its signatures are right and whose they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from afina.errors import SignatureError
from afina.language import _
from afina.runs.files import atomic_folder
from afina.trust.algorithms import ECDSA, ML_DSA, is_signature, require_cryptography
from afina.trust.bundle import bundle, signature_in, statement, to_sign
from afina.trust.keys import SigningKeys
from afina.trust.manifest import (
    BUNDLE,
    MANIFEST,
    SIGNATURE_FILES,
    SIGNATURES,
    SIGNER,
    manifest_sha256,
    read_manifest,
    require_files,
)
from afina.trust.manifest import (
    ML_DSA as ML_DSA_FILE,
)
from afina.trust.signer import Introduced, Signer, read_signer
from afina.trust.trust_store import REVOKED, TRUSTED, TrustStore


@dataclass(frozen=True)
class SignedBy:
    """Whose signatures these are; both are right.

    Attributes:
        state: trusted, or None where nobody knows the signer.
        through: the older keys that vouch for the signer, where the trust is in those.
    """

    signer: Signer
    state: str | None
    through: Signer | None = None


def sign_release(folder: Path, keys: SigningKeys) -> None:
    """Writes release/signatures/ over the manifest and every file; earlier ones are replaced.

    Raises:
        StorageError: when a file is not as the manifest says: nothing is signed then.
    """
    manifest = read_manifest(folder)
    require_files(folder, manifest)
    payload = statement(manifest, manifest_sha256(folder))
    signer = keys.signer
    written = {
        BUNDLE: bundle(payload, keys.sign(ECDSA, to_sign(payload)), signer.ecdsa_p256),
        ML_DSA_FILE: keys.sign(ML_DSA, (folder / MANIFEST).read_bytes()),
        SIGNER: keys.introduced.file_text().encode(),
    }
    with atomic_folder(folder / SIGNATURES) as temporary:
        for name, data in written.items():
            path = temporary / Path(name).name
            path.write_bytes(data)
            path.chmod(0o644)


def signed_by(folder: Path, store: TrustStore) -> SignedBy | None:
    """Whose signatures a release has, when both are right; None when it has none.

    The files themselves are not read here: `require_files` compares them with the manifest.

    Raises:
        SignatureError: when one of the two is missing or wrong, or the signer was revoked; names it.
    """
    if not any((folder / name).exists() for name in SIGNATURE_FILES):
        return None
    require_cryptography()
    for name in SIGNATURE_FILES:
        if not (folder / name).is_file():
            raise _wrong(folder, name, _("this part of the signatures is missing"))
    given = _signer(folder)
    signer = given.signer
    data = (folder / MANIFEST).read_bytes()
    if not is_signature(ML_DSA, signer.ml_dsa_65, (folder / ML_DSA_FILE).read_bytes(), data):
        what = _("this ML-DSA-65 signature is not one of {manifest} by {signer}")
        raise _wrong(folder, ML_DSA_FILE, what.format(manifest=MANIFEST, signer=signer.title))
    payload = statement(read_manifest(folder), hashlib.sha256(data).hexdigest())
    written = (folder / BUNDLE).read_bytes()
    try:
        signature = signature_in(written)
        right = written == bundle(payload, signature, signer.ecdsa_p256) and is_signature(
            ECDSA, signer.ecdsa_p256, signature, to_sign(payload)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        right = False
    if not right:
        what = _("this ECDSA signature is not one of this release's files by {signer}")
        raise _wrong(folder, BUNDLE, what.format(signer=signer.title))
    state, through = store.judge(given)
    if state == REVOKED:
        entry = store.find(signer.id)
        raise SignatureError(
            _("{signer} signed this release, and was revoked on {since}{why}").format(
                signer=signer.title,
                since=entry.since[:10],
                why=f" ({entry.why})" if entry.why else "",
            ),
            where=str(folder / SIGNER),
            fix=_("take a release that was signed with other keys, or sign your own again"),
        )
    return SignedBy(signer, state, through)


def require_trusted(folder: Path, store: TrustStore, run: str | None = None) -> SignedBy:
    """Both signatures of a release must be right, and their signer trusted.

    Args:
        run: the run that the release lies in, for the advice.
    Raises:
        SignatureError: names the file and what to do.
    """
    if not (folder / MANIFEST).exists():
        raise SignatureError(
            _("signatures are asked for on this machine, and this has no manifest to sign"),
            where=str(folder),
            fix=_("finish it with `afina run`, then sign it with `afina sign {run}`").format(
                run=run or folder
            ),
        )
    found = signed_by(folder, store)
    if found is None:
        raise SignatureError(
            _("signatures are asked for on this machine, and this release is not signed"),
            where=str(folder),
            fix=_("sign it with `afina sign {run}`, or take one that was signed").format(
                run=run or folder
            ),
        )
    if found.state != TRUSTED:
        why = ""
        if found.through is not None:
            why = _("; {old}, who vouches for them, was revoked").format(old=found.through.title)
        raise SignatureError(
            _("{signer} signed this release, and is not trusted here{why}").format(
                signer=found.signer.title, why=why
            ),
            where=str(folder / SIGNER),
            fix=_(
                "if the signer's own word says that the id is {id}, trust it: afina signer trust {file}"
            ).format(id=found.signer.id, file=folder / SIGNER),
        )
    return found


def _signer(folder: Path) -> Introduced:
    """Who signed, as the release says. Raises SignatureError with the advice of a release."""
    try:
        return read_signer(folder / SIGNER, to_the_byte=True)
    except SignatureError as error:
        raise _wrong(folder, SIGNER, error.what) from None


def _wrong(folder: Path, name: str, what: str) -> SignatureError:
    return SignatureError(
        what,
        where=str(folder / name),
        fix=_("copy the release again from its signer, or sign it again with `afina sign`"),
    )
