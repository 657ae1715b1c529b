"""Who signs: a name with two public keys, and the older keys that vouch for these."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, SignatureError
from afina.language import _
from afina.trust.algorithms import ECDSA, ML_DSA, canonical, is_signature, load_public

SIGNER_SCHEMA = "afina/signer/1"
VOUCH_SCHEMA = "afina/vouch/1"
_NAME = re.compile(r"\w[\w.@+-]{0,99}")
MOST_VOUCHES = 100


@dataclass(frozen=True)
class Signer:
    """One signer.

    Attributes:
        name: as they call themselves; two signers may have one name, but not one id.
        ecdsa_p256, ml_dsa_65: the public keys, as PEM.
    """

    name: str
    ecdsa_p256: str
    ml_dsa_65: str

    @property
    def id(self) -> str:
        """SHA-256 over name and both keys, in hexadecimal: what is trusted or revoked."""
        return hashlib.sha256(canonical({"schema": SIGNER_SCHEMA, **self.as_json()})).hexdigest()

    def as_json(self) -> dict[str, str]:
        """Name and keys."""
        return {"name": self.name, ECDSA: self.ecdsa_p256, ML_DSA: self.ml_dsa_65}

    def key(self, algorithm: str) -> str:
        """The public key of an algorithm, as PEM."""
        return {ECDSA: self.ecdsa_p256, ML_DSA: self.ml_dsa_65}[algorithm]

    @property
    def title(self) -> str:
        """How a person reads them: the name, and the first of the id."""
        return f"{self.name} ({self.id[:16]})"


@dataclass(frozen=True)
class Vouch:
    """An older key that says of a newer one: this is me.

    Attributes:
        old: the signer with the older keys. new: the id of the one with the newer.
        at: when, as ISO 8601. signatures: by algorithm, in hexadecimal.
    """

    old: Signer
    new: str
    at: str
    signatures: dict[str, str]

    @staticmethod
    def message(old: str, new: str, at: str) -> bytes:
        """What both old keys sign; `old` and `new` are ids."""
        return canonical({"schema": VOUCH_SCHEMA, "old": old, "new": new, "at": at})

    def is_right(self) -> bool:
        """Whether both signatures of the old keys are right."""
        said = self.message(self.old.id, self.new, self.at)
        return set(self.signatures) == {ECDSA, ML_DSA} and all(
            value == value.lower()
            and is_signature(algorithm, self.old.key(algorithm), bytes.fromhex(value), said)
            for algorithm, value in self.signatures.items()
        )

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "old": self.old.as_json(),
            "new": self.new,
            "at": self.at,
            "signatures": self.signatures,
        }


@dataclass(frozen=True)
class Introduced:
    """A signer with the chain of vouches that leads to them, the newest first."""

    signer: Signer
    vouches: tuple[Vouch, ...] = ()

    def file_text(self) -> str:
        """The file by which others get to know the signer, and that a release carries."""
        value = {
            "schema": SIGNER_SCHEMA,
            **self.signer.as_json(),
            "vouches": [vouch.as_json() for vouch in self.vouches],
        }
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def check_signer_name(name: str) -> None:
    """Raises AfinaError for a name that is not fit to be a file's."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AfinaError(
            _("{name!r} cannot be the name of a signer").format(name=name),
            fix=_("use letters, digits and . _ - @ +, as in ana or ana@example.org"),
        )


def signer_of(value: dict[str, Any]) -> Signer:
    """Name and keys from JSON. Raises ValueError, KeyError, TypeError when they are none."""
    name = value["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("no name of a signer")
    for algorithm in (ECDSA, ML_DSA):
        load_public(algorithm, value[algorithm])
    return Signer(name, value[ECDSA], value[ML_DSA])


def read_signer(path: Path, to_the_byte: bool = False) -> Introduced:
    """A signer's public file; every vouch in it is checked.

    Args:
        to_the_byte: it must be written exactly as Afina writes it, as in a release.
    Raises:
        AfinaError: when there is no such file.
        SignatureError: when it is no signer's file, or a vouch in it is wrong.
    """
    try:
        return parse_signer(path.read_bytes(), str(path), to_the_byte)
    except OSError as error:
        raise AfinaError(
            _("this file of a signer cannot be read: {error}").format(error=error.strerror or error),
            where=str(path),
            fix=_("give the .json file that `afina signer new` wrote for others"),
        ) from None


def parse_signer(data: bytes, where: str, to_the_byte: bool = False) -> Introduced:
    """The same, of the file's bytes; `where` they are from."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text)
        if value["schema"] != SIGNER_SCHEMA or len(value["vouches"]) > MOST_VOUCHES:
            raise ValueError("another schema")
        found = Introduced(signer_of(value), tuple(_vouch_of(one) for one in value["vouches"]))
        if to_the_byte and found.file_text() != text:
            raise ValueError("written otherwise")
        wanted = found.signer.id
        for vouch in found.vouches:
            if vouch.new != wanted or not vouch.is_right():
                raise ValueError("a vouch is wrong")
            wanted = vouch.old.id
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SignatureError(
            _("this is not a signer's file, or it was changed"),
            where=where,
            fix=_("get the .json file of the signer again, from the signer"),
        ) from None
    return found


def _vouch_of(value: dict[str, Any]) -> Vouch:
    """A vouch from JSON. Raises ValueError, KeyError, TypeError when it is none."""
    given = dict(value["signatures"])
    return Vouch(signer_of(value["old"]), str(value["new"]), str(value["at"]), given)
