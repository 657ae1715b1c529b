"""The ciphers of a sealed file: keys from the file key, and each file as a stream of chunks.

Every seal has a file key of its own, 32 random bytes that are never used again. HKDF-SHA256 (RFC 5869),
salted with the seal's 32 random bytes, makes of it one key for the header's HMAC, one for the contents
and one for each file. Within a file the nonce is the number of the chunk and whether it is the last:
STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015. So no nonce meets a key twice, whatever a random generator does.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from afina.seals.header import SCHEMA, Header

TAG_BYTES = 16
_PREFIX = SCHEMA.encode() + b" "


def derived(file_key: bytes, seal: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return bytes(HKDF(SHA256(), 32, salt=seal, info=_PREFIX + purpose).derive(file_key))


def header_mac(file_key: bytes, header: Header) -> bytes:
    """HMAC-SHA256 of the header. It holds the file key fast, too: no two keys give the same."""
    return hmac.digest(derived(file_key, header.seal, b"header"), header.framed(), "sha256")


@dataclass(frozen=True)
class ContentsCipher:
    """Encrypts the list of files; its key is used for this one message: the nonce may be zero."""

    file_key: bytes
    header: Header

    def encrypt(self, contents: bytes) -> bytes:
        """The encrypted list, 16 bytes longer."""
        return bytes(self._cipher.encrypt(bytes(12), contents, self._associated))

    def decrypt(self, encrypted: bytes) -> bytes:
        """The list. Raises InvalidTag when it was changed."""
        return bytes(self._cipher.decrypt(bytes(12), encrypted, self._associated))

    @cached_property
    def _cipher(self) -> Any:
        return _aes(derived(self.file_key, self.header.seal, b"contents"))

    @property
    def _associated(self) -> bytes:
        return _PREFIX + b"contents" + self.header.seal + self.header.chunk_bytes.to_bytes(4, "big")


@dataclass(frozen=True)
class FileCipher:
    """Encrypts the chunks of one file.

    Attributes:
        file_key: of the seal. header: of the seal.
        manifest_sha256: SHA-256 of manifest.json, 32 bytes.
        number: of the file in the list, from 0. path: of the file, relative, with slashes.
    """

    file_key: bytes
    header: Header
    manifest_sha256: bytes
    number: int
    path: str

    def encrypt(self, index: int, last: bool, chunk: bytes) -> bytes:
        """A chunk, 16 bytes longer. To be called once for each index."""
        return bytes(self._cipher.encrypt(_nonce(index, last), chunk, self._associated(index, last)))

    def decrypt(self, index: int, last: bool, encrypted: bytes) -> bytes:
        """The chunk. Raises InvalidTag when it is not this one of this file of this seal."""
        return bytes(self._cipher.decrypt(_nonce(index, last), encrypted, self._associated(index, last)))

    @cached_property
    def _cipher(self) -> Any:
        return _aes(derived(self.file_key, self.header.seal, b"file" + self.number.to_bytes(4, "big")))

    @cached_property
    def _bound(self) -> bytes:
        path = self.path.encode()
        return b"".join(
            (
                _PREFIX,
                b"chunk",
                self.header.seal,
                self.header.chunk_bytes.to_bytes(4, "big"),
                self.manifest_sha256,
                self.number.to_bytes(4, "big"),
                len(path).to_bytes(4, "big"),
                path,
            )
        )

    def _associated(self, index: int, last: bool) -> bytes:
        return self._bound + index.to_bytes(8, "big") + bytes([last])


def _aes(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])


def chunks_of(size: int, chunk_bytes: int) -> int:
    """How many chunks a file of `size` bytes has; an empty one has one, which is its last."""
    return max(1, -(-size // chunk_bytes))


def sealed_bytes(size: int, chunk_bytes: int) -> int:
    """How long a file of `size` bytes is when it is sealed."""
    return size + TAG_BYTES * chunks_of(size, chunk_bytes)
