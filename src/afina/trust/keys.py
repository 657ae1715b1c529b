"""A signer's own keys: made, kept under a passphrase, read again, rotated."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, SignatureError, StorageError
from afina.language import _
from afina.runs.files import read_json, write_text
from afina.trust.algorithms import (
    ECDSA,
    ML_DSA,
    canonical,
    load_private,
    new_private_keys,
    private_pem,
    public_pem,
    require_cryptography,
    sign,
    wrong_passphrase,
)
from afina.trust.passphrase import require_long
from afina.trust.signer import Introduced, Signer, Vouch, check_signer_name, parse_signer

KEYS_SCHEMA = "afina/signing-keys/1"
# scrypt (RFC 7914): 128 MiB and about half a second for each guess of a passphrase.
SCRYPT = {"n": 2**17, "r": 8, "p": 1}
_MOST_MEMORY = 2**29


@dataclass(frozen=True)
class SigningKeys:
    """Both private keys of a signer, and who that is.

    Attributes:
        private: by algorithm. introduced: the signer with the vouches of earlier keys.
    """

    private: dict[str, Any]
    introduced: Introduced

    @property
    def signer(self) -> Signer:
        """Whose keys these are."""
        return self.introduced.signer

    def sign(self, algorithm: str, data: bytes) -> bytes:
        """The signature of `data` with the key of this algorithm."""
        return sign(algorithm, self.private[algorithm], data)

    def vouch_for(self, new: Signer) -> Vouch:
        """Says with both keys that the new signer is the same person or team."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        said = Vouch.message(self.signer.id, new.id, at)
        signatures = {name: self.sign(name, said).hex() for name in (ECDSA, ML_DSA)}
        return Vouch(self.signer, new.id, at, signatures)


class KeyFolder:
    """The keys of the signers on this machine: NAME.key is secret, NAME.json is for others.

    NAME.pem, for others too, is the P-256 key alone, as `model_signing verify key` takes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Whose keys are here."""
        return sorted(path.stem for path in self.folder.glob("*.key"))

    def public_file(self, name: str) -> Path:
        """What others are given."""
        return self.folder / f"{name}.json"

    def introduced(self, name: str) -> Introduced:
        """A signer of this machine; needs no passphrase."""
        path = self.folder / f"{name}.key"
        try:
            return parse_signer(str(read_json(path)["signer"]).encode(), str(path))
        except (SignatureError, KeyError, TypeError):
            raise _damaged(path) from None

    def choose(self, name: str | None) -> str:
        """The name that was given, else the only one. Raises AfinaError when there is none or many."""
        names = self.names()
        if name is None and len(names) == 1:
            return names[0]
        if name in names:
            return str(name)
        if not names:
            raise AfinaError(
                _("there is nobody here who can sign"),
                where=str(self.folder),
                fix=_("make keys with `afina signer new NAME`"),
            )
        raise AfinaError(
            _("no signer was named, and there are {count}").format(count=len(names))
            if name is None
            else _("there are no keys of `{name}` here").format(name=name),
            where=str(self.folder),
            fix=_("name one with --signer: {names}").format(names=", ".join(names)),
        )

    def make(self, name: str, passphrase: str | None) -> SigningKeys:
        """New keys. Raises StorageError when this name has keys already."""
        require_cryptography()
        check_signer_name(name)
        if (self.folder / f"{name}.key").exists():
            raise StorageError(
                _("there are keys of `{name}` already").format(name=name),
                where=str(self.folder),
                fix=_("choose another name, or make new keys for it with `afina signer rotate {name}`")
                .format(name=name),
            )  # fmt: skip
        keys = _new(name)
        self._write(keys, passphrase)
        return keys

    def rotate(self, name: str, old: SigningKeys, passphrase: str | None) -> SigningKeys:
        """New keys for which the old ones vouch; the old private keys are removed."""
        new = _new(name)
        vouches = (old.vouch_for(new.signer), *old.introduced.vouches)
        keys = SigningKeys(new.private, Introduced(new.signer, vouches))
        self._write(keys, passphrase)
        return keys

    def read(self, name: str, passphrase: Callable[[], str]) -> SigningKeys:
        """The keys of a signer.

        Args:
            passphrase: asked for it, when the keys are under one.
        Raises:
            AfinaError: for a wrong passphrase.
            StorageError: when others can read the file, or it is damaged.
        """
        require_cryptography()
        path = self.folder / f"{name}.key"
        _require_private(path)
        kept = read_json(path)
        introduced = self.introduced(name)
        try:
            if kept["schema"] != KEYS_SCHEMA:
                raise ValueError("another schema")
            box = kept["keys"] if kept["scrypt"] is None else _open(kept, passphrase(), str(path))
            private = {algorithm: load_private(box[algorithm]) for algorithm in (ECDSA, ML_DSA)}
            sound = all(
                public_pem(private[algorithm]) == introduced.signer.key(algorithm)
                for algorithm in private
            )
        except (KeyError, ValueError, TypeError):
            sound = False
        if not sound:
            raise _damaged(path)
        return SigningKeys(private, introduced)

    def is_protected(self, name: str) -> bool:
        """Whether a passphrase is needed."""
        kept = read_json(self.folder / f"{name}.key")
        return not isinstance(kept, dict) or kept.get("scrypt") is not None

    def _write(self, keys: SigningKeys, passphrase: str | None) -> None:
        """The secret file first: the others can be made of it."""
        name, text = keys.signer.name, keys.introduced.file_text()
        if passphrase is not None:
            require_long(passphrase)
        secret = {algorithm: private_pem(key) for algorithm, key in keys.private.items()}
        value: dict[str, Any] = {"schema": KEYS_SCHEMA, "signer": text, "scrypt": None}
        value |= {"keys": secret} if passphrase is None else _seal(secret, text, passphrase)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_private(self.folder / f"{name}.key", json.dumps(value, indent=2) + "\n")
        write_text(self.public_file(name), text)
        write_text(self.folder / f"{name}.pem", keys.signer.ecdsa_p256)


def _damaged(path: Path) -> StorageError:
    return StorageError(
        _("this file with keys is damaged"),
        where=str(path),
        fix=_("put back a copy of it, or make new keys with `afina signer new`"),
    )


def _new(name: str) -> SigningKeys:
    private = new_private_keys()
    public = {algorithm: public_pem(key) for algorithm, key in private.items()}
    return SigningKeys(private, Introduced(Signer(name, public[ECDSA], public[ML_DSA])))


def _derive(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, **cost, dklen=32, maxmem=_MOST_MEMORY)


def _seal(secret: dict[str, str], signer: str, passphrase: str) -> dict[str, Any]:
    """The keys under a passphrase: scrypt, then AES-256-GCM with the signer's file bound in."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(16), os.urandom(12)
    box = AESGCM(_derive(passphrase, salt, SCRYPT)).encrypt(nonce, canonical(secret), signer.encode())
    return {
        "scrypt": {**SCRYPT, "salt": salt.hex()},
        "aes_256_gcm": {"nonce": nonce.hex(), "box": base64.b64encode(box).decode()},
    }


def _open(kept: dict[str, Any], passphrase: str, where: str) -> dict[str, str]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cost = {name: int(kept["scrypt"][name]) for name in ("n", "r", "p")}
    key = _derive(passphrase, bytes.fromhex(kept["scrypt"]["salt"]), cost)
    box = kept["aes_256_gcm"]
    try:
        plain = AESGCM(key).decrypt(
            bytes.fromhex(box["nonce"]), base64.b64decode(box["box"]), kept["signer"].encode()
        )
    except InvalidTag:
        raise wrong_passphrase(where) from None
    return dict(json.loads(plain))


def _write_private(path: Path, text: str) -> None:
    """A file that nobody else can read, from its first byte on (mode 0600), whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".keys.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _require_private(path: Path) -> None:
    """Refuses secret keys that others on this machine can read."""
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise StorageError(
            _("others can read this file, and it holds secret keys"),
            where=str(path),
            fix=_("chmod 600 {path}; if somebody may have read it, make new keys and revoke these")
            .format(path=path),
        )  # fmt: skip
