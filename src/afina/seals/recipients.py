"""Keys of recipients as files: NAME.public.json for everyone, NAME.private.json for its owner alone."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from afina.errors import SealError, StorageError
from afina.language import _
from afina.runs.files import read_json
from afina.runs.store import config_folder
from afina.seals.files import new_file
from afina.seals.header import (
    PassphraseWrap,
    bytes_of,
    canonical,
    passphrase_value,
    passphrase_wrap,
    text_of,
)
from afina.seals.library import require_cryptography
from afina.seals.wrapping import (
    LOG2_N,
    PUBLIC_BYTES,
    SEED_BYTES,
    PrivateKey,
    key_id,
    new_private_key,
    unwrap_by_passphrase,
    wrap_by_passphrase,
)
from afina.trust.passphrase import require_long

PUBLIC_SCHEMA, PRIVATE_SCHEMA = "afina/recipient/1", "afina/recipient_private/1"
PUBLIC_END, PRIVATE_END = ".public.json", ".private.json"
_MOST_FILE_BYTES = 1 << 16


@dataclass(frozen=True)
class Recipient:
    """A public key.

    Attributes:
        name: what people call it. id: 32 hexadecimal digits, from the key itself. public: 1,216 bytes.
        path: the file that it is in.
        private: where its private key is on this machine; None when it is not here.
    """

    name: str
    id: str
    public: bytes
    path: Path
    private: Path | None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "id": self.id,
            "path": str(self.path),
            "private": None if self.private is None else str(self.private),
        }


@dataclass(frozen=True)
class PrivateFile:
    """A private key's file: the seed as it is, or under a passphrase."""

    path: Path
    id: str
    seed: bytes | None
    wrapped: PassphraseWrap | None

    def key(self, passphrase: str | None) -> PrivateKey:
        """The private key. Raises SealError for another passphrase."""
        from cryptography.exceptions import InvalidTag

        seed = self.seed
        if self.wrapped is not None:
            try:
                seed = unwrap_by_passphrase(self.wrapped, passphrase or "", _context(self.id))
            except InvalidTag:
                raise SealError(
                    _("this is not the passphrase of this key, or its file was changed"),
                    where=str(self.path),
                ) from None
        key = PrivateKey(seed or b"")
        if key_id(key.public) != self.id:
            raise _no_key(self.path)
        return key


def keys_folder() -> Path:
    """Where keys of recipients are."""
    return config_folder() / "recipients"


def new_pair(name: str, passphrase: str | None, folder: Path, log2_n: int = LOG2_N) -> Recipient:
    """Makes a key pair in a folder; the private key's file can be read by its owner only (0600).

    Args:
        passphrase: None leaves the private key as it is in its file.
    Raises:
        SealError: for a name that cannot be a file's, a passphrase that is too short.
        StorageError: when a key of this name is there.
    """
    require_cryptography()
    _require_name(name)
    if passphrase is not None:
        require_long(passphrase)
    key = new_private_key()
    public, made_at = key.public, datetime.now(UTC).isoformat(timespec="seconds")
    value: dict[str, Any] = {
        "schema": PRIVATE_SCHEMA,
        "name": name,
        "id": key_id(public),
        "made_at": made_at,
        "seed": None,
        "passphrase": None,
    }
    if passphrase is None:
        value["seed"] = text_of(key.seed)
    else:
        wrap = wrap_by_passphrase(key.seed, passphrase, _context(key_id(public)), log2_n)
        value["passphrase"] = passphrase_value(wrap)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for end in (PUBLIC_END, PRIVATE_END):
        _require_no_key(folder / (name + end))
    with new_file(folder / (name + PRIVATE_END), mode=0o600) as temporary:
        temporary.write_bytes(canonical(value) + b"\n")
    _write_public(folder / (name + PUBLIC_END), name, public, made_at)
    return read_public(folder / (name + PUBLIC_END))


def add_public(path: Path, name: str | None, folder: Path) -> Recipient:
    """Keeps another person's public key under a name: its own, or `name`.

    Raises:
        SealError: when the file holds none. StorageError: when a key of this name is there.
    """
    found = read_public(path)
    chosen = found.name if name is None else name
    _require_name(chosen)
    target = folder / (chosen + PUBLIC_END)
    _require_no_key(target)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_public(target, chosen, found.public, datetime.now(UTC).isoformat(timespec="seconds"))
    return read_public(target)


def _write_public(path: Path, name: str, public: bytes, made_at: str) -> None:
    value = {
        "schema": PUBLIC_SCHEMA,
        "name": name,
        "id": key_id(public),
        "made_at": made_at,
        "kem": "MLKEM768-X25519",
        "public": text_of(public),
    }
    with new_file(path) as temporary:
        temporary.write_bytes(canonical(value) + b"\n")


def read_public(path: Path) -> Recipient:
    """A public key's file. Raises SealError when it holds none, or was changed."""
    value = _read(path)
    try:
        public = bytes_of(value["public"], PUBLIC_BYTES)
        name, wanted = str(value["name"]), value["id"]
        if value["schema"] != PUBLIC_SCHEMA or value["kem"] != "MLKEM768-X25519":
            raise ValueError("another schema")
    except (ValueError, KeyError, TypeError):
        raise _no_key(path) from None
    if key_id(public) != wanted:
        raise _no_key(path)
    private = path.with_name(path.name.removesuffix(PUBLIC_END) + PRIVATE_END)
    return Recipient(name, wanted, public, path, private if private.is_file() else None)


def read_private(path: Path) -> PrivateFile:
    """A private key's file. Raises SealError when it holds none, or when others may read it."""
    value = _read(path)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SealError(
            _("others can read this private key"),
            where=str(path),
            fix=_("chmod 600 {path}").format(path=path),
        )
    try:
        if value["schema"] != PRIVATE_SCHEMA or not isinstance(value["id"], str):
            raise ValueError("another schema")
        if (value["seed"] is None) == (value["passphrase"] is None):
            raise ValueError("no key, or two")
        seed = None if value["seed"] is None else bytes_of(value["seed"], SEED_BYTES)
        wrapped = None if value["passphrase"] is None else passphrase_wrap(value["passphrase"])
    except (ValueError, KeyError, TypeError):
        raise _no_key(path) from None
    return PrivateFile(path, value["id"], seed, wrapped)


def recipients_in(folder: Path) -> list[Recipient]:
    """Every public key in a folder, by name."""
    return [read_public(path) for path in sorted(folder.glob("*" + PUBLIC_END))]


def find_public(key: str, folder: Path) -> Recipient:
    """The public key that a person means: a file, or a name in the folder of keys.

    Raises:
        SealError: when there is none; lists those there are.
    """
    path = Path(key)
    if path.is_file():
        return read_public(_beside(path, PRIVATE_END, PUBLIC_END))
    return read_public(_named(key, folder, PUBLIC_END))


def find_private(key: str, folder: Path) -> PrivateFile:
    """The private key that a person means: a file, or a name in the folder of keys."""
    path = Path(key)
    if path.is_file():
        return read_private(_beside(path, PUBLIC_END, PRIVATE_END))
    return read_private(_named(key, folder, PRIVATE_END))


def _beside(path: Path, end: str, wanted: str) -> Path:
    """The other half of a pair, when the half that is not wanted was named and the other is there."""
    other = path.with_name(path.name.removesuffix(end) + wanted)
    return other if path.name.endswith(end) and other.is_file() else path


def _named(key: str, folder: Path, end: str) -> Path:
    path = folder / (key + end)
    if not re.fullmatch(r"[\w][\w.@+-]*", key) or not path.is_file():
        known = sorted(found.name.removesuffix(end) for found in folder.glob("*" + end))
        raise SealError(
            _("there is no key {key!r}").format(key=key),
            where=str(folder),
            fix=_("known keys: {known}").format(known=", ".join(known))
            if known
            else _("make one with `afina recipient new NAME`, or give the path of its file"),
        )
    return path


def _read(path: Path) -> dict[str, Any]:
    if path.is_file() and path.stat().st_size > _MOST_FILE_BYTES:
        raise _no_key(path)
    value = read_json(path)
    if not isinstance(value, dict):
        raise _no_key(path)
    return value


def _no_key(path: Path) -> SealError:
    return SealError(
        _("this file holds no key of this kind, or was changed"),
        where=str(path),
        fix=_("make one with `afina recipient new NAME`"),
    )


def _require_name(name: str) -> None:
    if not re.fullmatch(r"[\w][\w.@+-]{0,99}", name) or name.endswith("."):
        raise SealError(
            _("{name!r} cannot be the name of a key").format(name=name[:100]),
            fix=_("use letters, digits, and . @ + - _ after the first"),
        )


def _require_no_key(path: Path) -> None:
    if path.exists():
        raise StorageError(
            _("there is a key of this name already, and no key is written over"),
            where=str(path),
            fix=_("choose another name"),
        )


def _context(identity: str) -> bytes:
    return PRIVATE_SCHEMA.encode() + b" " + identity.encode()
