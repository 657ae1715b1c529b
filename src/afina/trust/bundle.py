"""The bundle of OpenSSF Model Signing 1.0, as `model_signing verify key` reads it.

A Sigstore bundle (v0.3, JSON) around a DSSE envelope around an in-toto statement: SHA-256 of each file,
manifest.json among them, and over those hashes one for the whole. What is in it follows from the
manifest, so that a bundle is checked by making it again: nothing in it is left unread.
Format: https://github.com/ossf/model-signing-spec, https://github.com/secure-systems-lab/dsse.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import PurePosixPath
from typing import Any

from afina.trust.manifest import MANIFEST, SIGNATURES

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def statement(manifest: dict[str, Any], manifest_sha256: str) -> bytes:
    """What is signed: every file of the release, its signatures aside."""
    digests = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    digests[MANIFEST] = manifest_sha256
    names = sorted(digests, key=PurePosixPath)
    whole = hashlib.sha256(b"".join(bytes.fromhex(digests[name]) for name in names)).hexdigest()
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": str(manifest.get("name", "model")), "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURES],
            },
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digests[name]} for name in names
            ],
        },
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def to_sign(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding of a statement: the bytes under the signature."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def bundle(payload: bytes, signature: bytes, public: str) -> bytes:
    """The file. `public`: the P-256 key as PEM, of which the bundle has the hash alone."""
    value = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(public.encode()).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(value, indent=2).encode() + b"\n"


def signature_in(data: bytes) -> bytes:
    """The signature in a bundle's bytes. Raises ValueError, KeyError, TypeError when there is none."""
    (found,) = json.loads(data)["dsseEnvelope"]["signatures"]
    return base64.b64decode(found["sig"], validate=True)
