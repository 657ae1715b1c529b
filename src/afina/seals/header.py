"""The header of a sealed file: who can open it. Its bytes have one form, so that none can be changed.

    16 bytes   MAGIC, with the version
     4 bytes   length of the header, big-endian
     …         the header: JSON with sorted keys and no spaces
    32 bytes   HMAC-SHA256 of all of the above, by a key that only the file key gives

What follows is in contents.py and streams.py; docs/sealing.md has the whole format.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from afina.errors import SealError
from afina.language import _

MAGIC = b"afina-sealed\x00v1\n"
SCHEMA = "afina/seal/1"
MAC_BYTES = 32
SEAL_BYTES = 32
SALT_BYTES = 32
WRAPPED_BY_KEY_BYTES = 1088 + 32 + 32 + 16  # ML-KEM ciphertext, X25519 share, file key, tag
WRAPPED_BY_PASSPHRASE_BYTES = 32 + 16
KEY_ID_DIGITS = 32
MOST_HEADER_BYTES = 1 << 18
MOST_RECIPIENTS = 64
LEAST_CHUNK_BYTES, MOST_CHUNK_BYTES = 1 << 10, 1 << 24
# scrypt needs 1 KiB · 2^log2_n of memory (r = 8): a hostile file can ask for 256 MiB and no more.
LEAST_LOG2_N, MOST_LOG2_N = 14, 18


@dataclass(frozen=True)
class PassphraseWrap:
    """32 secret bytes under a passphrase: scrypt with 2^log2_n, r = 8, p = 1, then AES-256-GCM."""

    log2_n: int
    salt: bytes
    wrapped: bytes


@dataclass(frozen=True)
class KeyWrap:
    """The file key for one recipient, whose public key has this id."""

    key: str
    wrapped: bytes


@dataclass(frozen=True)
class Header:
    """Who can open a sealed file.

    Attributes:
        seal: 32 random bytes that name this seal; every key and every associated text depends on them.
        chunk_bytes: plain bytes of each chunk but the last of a file.
        keys: one for each recipient; passphrase: None when there is none.
    """

    seal: bytes
    chunk_bytes: int
    keys: tuple[KeyWrap, ...]
    passphrase: PassphraseWrap | None

    def encoded(self) -> bytes:
        """The only bytes that say this."""
        wraps: list[dict[str, Any]] = [
            {"key": wrap.key, "wrapped": text_of(wrap.wrapped)} for wrap in self.keys
        ]
        if self.passphrase is not None:
            wraps.append({"passphrase": passphrase_value(self.passphrase)})
        value = {
            "schema": SCHEMA,
            "seal": text_of(self.seal),
            "chunk_bytes": self.chunk_bytes,
            "recipients": wraps,
        }
        return canonical(value)

    def framed(self) -> bytes:
        """Everything before the HMAC, which is computed over it."""
        encoded = self.encoded()
        return MAGIC + len(encoded).to_bytes(4, "big") + encoded


def canonical(value: Any) -> bytes:
    """JSON in one form: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def text_of(value: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(value).decode()


def bytes_of(text: Any, count: int) -> bytes:
    """`count` bytes from base64. Raises ValueError for anything else."""
    if not isinstance(text, str):
        raise ValueError("no text")
    value = base64.b64decode(text, validate=True)
    if len(value) != count:
        raise ValueError("another length")
    return value


def whole_number(value: Any, least: int, most: int) -> int:
    """`value` as a whole number in these limits. Raises ValueError for anything else."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError("no whole number within the limits")
    return value


def passphrase_value(wrap: PassphraseWrap) -> dict[str, Any]:
    """As it stands in JSON."""
    return {
        "kdf": "scrypt",
        "log2_n": wrap.log2_n,
        "salt": text_of(wrap.salt),
        "wrapped": text_of(wrap.wrapped),
    }


def passphrase_wrap(value: Any) -> PassphraseWrap:
    """The reverse. Raises ValueError, KeyError or TypeError for anything else."""
    if set(value) != {"kdf", "log2_n", "salt", "wrapped"} or value["kdf"] != "scrypt":
        raise ValueError("another derivation of a key")
    return PassphraseWrap(
        whole_number(value["log2_n"], LEAST_LOG2_N, MOST_LOG2_N),
        bytes_of(value["salt"], SALT_BYTES),
        bytes_of(value["wrapped"], WRAPPED_BY_PASSPHRASE_BYTES),
    )


def read_header(file: BinaryIO, path: Path) -> tuple[Header, bytes]:
    """The header at the beginning of a file, and the HMAC that stands behind it, not yet compared.

    Raises:
        SealError: when this is no sealed file, or one of another version, or its header was changed.
    """
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise _other_file(magic, path)
    length = int.from_bytes(_exactly(file, 4, path), "big")
    if length > MOST_HEADER_BYTES:
        raise changed_header(path)
    raw = _exactly(file, length, path)
    try:
        header = _parsed(json.loads(raw))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise changed_header(path) from None
    if header.encoded() != raw:
        raise changed_header(path)
    return header, _exactly(file, MAC_BYTES, path)


def _parsed(value: Any) -> Header:
    if set(value) != {"schema", "seal", "chunk_bytes", "recipients"} or value["schema"] != SCHEMA:
        raise ValueError("another form")
    wraps = value["recipients"]
    if not isinstance(wraps, list) or not 1 <= len(wraps) <= MOST_RECIPIENTS:
        raise ValueError("too many recipients, or none")
    keys = tuple(
        KeyWrap(_key_id(wrap["key"]), bytes_of(wrap["wrapped"], WRAPPED_BY_KEY_BYTES))
        for wrap in wraps
        if "key" in wrap
    )
    passphrases = [passphrase_wrap(wrap["passphrase"]) for wrap in wraps if "passphrase" in wrap]
    if len({wrap.key for wrap in keys}) < len(keys) or len(passphrases) > 1:
        raise ValueError("a recipient named twice")
    return Header(
        bytes_of(value["seal"], SEAL_BYTES),
        whole_number(value["chunk_bytes"], LEAST_CHUNK_BYTES, MOST_CHUNK_BYTES),
        keys,
        passphrases[0] if passphrases else None,
    )


def _key_id(text: Any) -> str:
    if not isinstance(text, str) or len(text) != KEY_ID_DIGITS or set(text) - set("0123456789abcdef"):
        raise ValueError("no id of a key")
    return text


def _exactly(file: BinaryIO, count: int, path: Path) -> bytes:
    value = file.read(count)
    if len(value) < count:
        raise ends_early(path, count - len(value))
    return value


def _other_file(magic: bytes, path: Path) -> SealError:
    if len(magic) < len(MAGIC) and MAGIC.startswith(magic) and magic:
        return ends_early(path, len(MAGIC) - len(magic))
    name = MAGIC.partition(b"\x00")[0]
    if magic.startswith(name):
        return SealError(
            _("this file was sealed by another version of Afina, or its first bytes were changed"),
            where=str(path),
            fix=_("use the version of Afina that made it, or copy the file again"),
        )
    return SealError(
        _("this is no sealed file"), where=str(path), fix=_("make one with `afina seal RUN`")
    )


def changed_header(path: Path) -> SealError:
    """The header is not the one that was written."""
    return SealError(
        _("the header of this sealed file was changed or damaged"),
        where=str(path),
        fix=_("copy the file again from where it was made"),
    )


def ends_early(path: Path, missing: int) -> SealError:
    """The file is cut."""
    return SealError(
        _("this sealed file was cut: at least {count:,} bytes are missing at its end").format(
            count=missing
        ),
        where=str(path),
        fix=_("copy the file again from where it was made"),
    )
