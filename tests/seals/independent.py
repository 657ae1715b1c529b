"""A second reader of sealed files, written from docs/sealing.md with primitives only, no code of Afina.

X-Wing and HPKE are spelt out here, so that the format is what the page says, not what a library does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def extract(salt: bytes, material: bytes) -> bytes:
    """HKDF-Extract with SHA-256, RFC 5869."""
    return hmac.digest(salt or bytes(32), material, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256, RFC 5869."""
    out, block, number = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        out, number = out + block, number + 1
    return out[:length]


def xwing_decapsulate(seed: bytes, share: bytes) -> tuple[bytes, bytes]:
    """The shared secret and the public key; draft-connolly-cfrg-xwing-kem, section 5."""
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
    x25519_public = x25519.public_key().public_bytes_raw()
    first = mlkem.decapsulate(share[:1088])
    second = x25519.exchange(X25519PublicKey.from_public_bytes(share[1088:]))
    label = b"\\.//^\\"
    secret = hashlib.sha3_256(first + second + share[1088:] + x25519_public + label).digest()
    return secret, mlkem.public_key().public_bytes_raw() + x25519_public


def hpke_open(secret: bytes, encrypted: bytes, info: bytes) -> bytes:
    """The single message of HPKE's base mode, RFC 9180 section 5.1, for 0x647a, 0x0001, 0x0002."""
    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def labelled_extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + suite + label + material)

    def labelled_expand(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
        return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context, length)

    context = b"\0" + labelled_extract(b"", b"psk_id_hash", b"")
    context += labelled_extract(b"", b"info_hash", info)
    schedule = labelled_extract(secret, b"secret", b"")
    key = labelled_expand(schedule, b"key", context, 32)
    nonce = labelled_expand(schedule, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, encrypted, b"")


def read(raw: bytes, seed: bytes | None = None, passphrase: str = "") -> dict[str, bytes]:
    """The files of a sealed file, by the seed of a private key or by a passphrase."""
    assert raw[:16] == b"afina-sealed\0v1\n"
    length = int.from_bytes(raw[16:20], "big")
    header, framed = json.loads(raw[20 : 20 + length]), raw[: 20 + length]
    seal = base64.b64decode(header["seal"])
    for wrap in header["recipients"]:
        if seed is not None and "key" in wrap:
            wrapped = base64.b64decode(wrap["wrapped"])
            secret, public = xwing_decapsulate(seed, wrapped[:1120])
            digest = hashlib.sha256(public)
            if digest.hexdigest()[:32] == wrap["key"]:
                info = b"afina/seal/1 recipient" + seal + digest.digest()
                file_key = hpke_open(secret, wrapped[1120:], info)
        elif seed is None and "passphrase" in wrap:
            told = wrap["passphrase"]
            salt, cost = base64.b64decode(told["salt"]), {"n": 1 << told["log2_n"], "r": 8, "p": 1}
            key = hashlib.scrypt(passphrase.encode(), salt=salt, maxmem=1 << 30, dklen=32, **cost)
            file_key = AESGCM(key).decrypt(
                bytes(12), base64.b64decode(told["wrapped"]), b"afina/seal/1 passphrase" + seal
            )

    def derived(purpose: bytes) -> bytes:
        return expand(extract(seal, file_key), b"afina/seal/1 " + purpose, 32)

    at = 20 + length
    assert raw[at : at + 32] == hmac.digest(derived(b"header"), framed, "sha256")
    at += 32
    size = int.from_bytes(raw[at : at + 4], "big")
    step = header["chunk_bytes"]
    bound = seal + step.to_bytes(4, "big")
    listed = AESGCM(derived(b"contents")).decrypt(
        bytes(12), raw[at + 4 : at + 4 + size], b"afina/seal/1 contents" + bound
    )
    contents = json.loads(listed)
    at += 4 + size
    found = {}
    for number, (path, count) in enumerate(contents["files"]):
        cipher = AESGCM(derived(b"file" + number.to_bytes(4, "big")))
        fixed = b"afina/seal/1 chunk" + bound + bytes.fromhex(contents["manifest_sha256"])
        fixed += number.to_bytes(4, "big") + len(path.encode()).to_bytes(4, "big") + path.encode()
        pieces = []
        for index in range(max(1, -(-count // step))):
            here = min(step, count - index * step)
            last = bytes([index == max(1, -(-count // step)) - 1])
            nonce = index.to_bytes(11, "big") + last
            associated = fixed + index.to_bytes(8, "big") + last
            pieces.append(cipher.decrypt(nonce, raw[at : at + here + 16], associated))
            at += here + 16
        found[path] = b"".join(pieces)
    assert at == len(raw)
    assert hashlib.sha256(found["manifest.json"]).hexdigest() == contents["manifest_sha256"]
    return found
