"""The two signature algorithms: ECDSA on P-256 with SHA-256 (FIPS 186-5), and ML-DSA-65 (FIPS 204).

A signer has a key of each. Someone with a quantum computer can forge the first; the second is young.
What is signed counts only when both signatures are right.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Any

from afina.errors import AfinaError, MissingExtra
from afina.language import _

ECDSA, ML_DSA = "ecdsa_p256", "ml_dsa_65"


@cache
def require_cryptography() -> None:
    """Raises MissingExtra when the package cryptography is not there, or too old for ML-DSA."""
    missing = MissingExtra(
        _("signatures need the package {name}").format(name="cryptography >= 48"),
        fix=_("pip install 'afina[sign]'"),
    )
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
    except ImportError:
        raise missing from None
    try:
        MLDSA65PrivateKey.from_seed_bytes(bytes(32))
    except UnsupportedAlgorithm:
        raise missing from None


def new_private_keys() -> dict[str, Any]:
    """A new private key of each algorithm, from the system's random numbers."""
    require_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec, mldsa

    return {
        ECDSA: ec.generate_private_key(ec.SECP256R1()),
        ML_DSA: mldsa.MLDSA65PrivateKey.generate(),
    }


def private_pem(key: Any) -> str:
    """A private key as PEM (PKCS 8), without protection."""
    from cryptography.hazmat.primitives import serialization as form

    return str(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    )


def public_pem(key: Any) -> str:
    """The public key that belongs to a private one, as PEM."""
    return _pem(key.public_key())


def _pem(public: Any) -> str:
    from cryptography.hazmat.primitives import serialization as form

    given = public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return str(given.decode())


def load_private(pem: str) -> Any:
    """A private key from PEM. Raises ValueError when it is none."""
    from cryptography.hazmat.primitives import serialization as form

    return form.load_pem_private_key(pem.encode(), None)


@lru_cache(maxsize=100)
def load_public(algorithm: str, pem: str) -> Any:
    """A public key from PEM, which must be written in the one usual way.

    Raises:
        ValueError: when it is no key of this algorithm.
    """
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, mldsa

    try:
        key = form.load_pem_public_key(pem.encode())
    except (UnsupportedAlgorithm, TypeError, UnicodeEncodeError):
        raise ValueError("not a public key") from None
    if algorithm == ECDSA:
        right = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    else:
        right = isinstance(key, mldsa.MLDSA65PublicKey)
    if not right or _pem(key) != pem:
        raise ValueError(f"not a public key of {algorithm}")
    return key


def sign(algorithm: str, key: Any, data: bytes) -> bytes:
    """The signature of `data`: DER of ECDSA, 3,309 bytes of ML-DSA-65 (without a context)."""
    if algorithm == ECDSA:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return bytes(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return bytes(key.sign(data))


def is_signature(algorithm: str, public: str, signature: bytes, data: bytes) -> bool:
    """Whether a signature of `data` is right. `public`: the key as PEM."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = load_public(algorithm, public)
        if algorithm == ECDSA:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def canonical(value: Any) -> bytes:
    """A JSON value in the one form that is hashed and signed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def wrong_passphrase(where: str) -> AfinaError:
    """What a person should read when a passphrase does not open their keys."""
    return AfinaError(
        _("this passphrase does not open these keys"),
        where=where,
        fix=_("try again; without its passphrase a key is lost: make another with `afina signer new`"),
    )
