"""Wraps a file key: for a recipient by the hybrid of X25519 and ML-KEM-768, or by a passphrase.

For a recipient: HPKE (RFC 9180, base mode) with the KEM MLKEM768-X25519, which is X-Wing
(draft-connolly-cfrg-xwing-kem, taken up by draft-ietf-hpke-pq as KEM 0x647a), HKDF-SHA256 and
AES-256-GCM. X-Wing's shared secret is SHA3-256 over both shared secrets, the X25519 share and the
recipient's X25519 key; HPKE runs it through HKDF together with `info`, which here names the seal and the
whole public key. Whoever wants the file key must break both X25519 and ML-KEM-768.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from afina.errors import SealError
from afina.language import _
from afina.seals.header import KEY_ID_DIGITS, SALT_BYTES, SCHEMA, KeyWrap, PassphraseWrap

SEED_BYTES = 32
PUBLIC_BYTES = 1184 + 32  # ML-KEM-768, then X25519, as X-Wing orders them
LOG2_N = 17  # 128 MiB, about a second: OWASP's scrypt setting


@dataclass(frozen=True)
class PrivateKey:
    """A recipient's private key: X-Wing's 32-byte seed, from which both keys are made."""

    seed: bytes

    @cached_property
    def public(self) -> bytes:
        """The public key, 1,216 bytes."""
        mlkem, x25519 = self.parts
        return bytes(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())

    @cached_property
    def parts(self) -> tuple[Any, Any]:
        """The ML-KEM-768 and the X25519 private key: SHAKE-256 of the seed, 64 and 32 bytes."""
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        expanded = hashlib.shake_256(self.seed).digest(96)
        return (
            MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
            X25519PrivateKey.from_private_bytes(expanded[64:]),
        )


def new_private_key() -> PrivateKey:
    """A fresh key from the system's random generator."""
    return PrivateKey(secrets.token_bytes(SEED_BYTES))


def key_id(public: bytes) -> str:
    """How a public key is named: the first 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:KEY_ID_DIGITS]


def wrap_for(public: bytes, file_key: bytes, seal: bytes) -> KeyWrap:
    """The file key for a recipient. Raises SealError when `public` is no public key."""
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.hpke import MLKEM768X25519PublicKey

    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:1184]),
            X25519PublicKey.from_public_bytes(public[1184:]),
        )
        wrapped = bytes(_suite().encrypt(file_key, key, _info(public, seal)))
    except ValueError:
        raise SealError(
            _("the key {key} is no public key that can be used").format(key=key_id(public)),
            fix=_("ask its owner for the file NAME.public.json again"),
        ) from None
    return KeyWrap(key_id(public), wrapped)


def unwrap_by(private: PrivateKey, wrap: KeyWrap, seal: bytes) -> bytes:
    """The file key. Raises InvalidTag when the wrap was changed or is another key's or seal's."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

    try:
        key = MLKEM768X25519PrivateKey(*private.parts)
        return bytes(_suite().decrypt(wrap.wrapped, key, _info(private.public, seal)))
    except ValueError:  # a share of a low order
        raise InvalidTag from None


def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _info(public: bytes, seal: bytes) -> bytes:
    return SCHEMA.encode() + b" recipient" + seal + hashlib.sha256(public).digest()


def wrap_by_passphrase(
    secret: bytes, passphrase: str, context: bytes, log2_n: int = LOG2_N
) -> PassphraseWrap:
    """32 secret bytes under a passphrase, bound to `context`.

    The key comes from a fresh salt and is used once, so that the nonce may be zero.
    """
    salt = secrets.token_bytes(SALT_BYTES)
    cipher = _passphrase_cipher(passphrase, salt, log2_n)
    return PassphraseWrap(log2_n, salt, bytes(cipher.encrypt(bytes(12), secret, context)))


def unwrap_by_passphrase(wrap: PassphraseWrap, passphrase: str, context: bytes) -> bytes:
    """The secret. Raises InvalidTag when the passphrase is another, or the wrap was changed."""
    cipher = _passphrase_cipher(passphrase, wrap.salt, wrap.log2_n)
    return bytes(cipher.decrypt(bytes(12), wrap.wrapped, context))


def _passphrase_cipher(passphrase: str, salt: bytes, log2_n: int) -> Any:
    """AES-256-GCM by scrypt (RFC 7914) of the passphrase: one text, however it was typed (NFC)."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
    try:
        return AESGCM(Scrypt(salt=salt, length=32, n=1 << log2_n, r=8, p=1).derive(text))
    except MemoryError:
        raise SealError(
            _("there is not enough memory for the passphrase: it needs {size} MiB").format(
                size=(1 << log2_n) >> 10
            ),
            fix=_("close other programs, or use a larger machine"),
        ) from None
