"""Whose signatures count on this machine: signers that are trusted, and those that no longer are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from afina.errors import AfinaError, StorageError
from afina.language import _
from afina.runs.files import write_json
from afina.runs.store import config_folder
from afina.trust.keys import KeyFolder
from afina.trust.signer import Introduced, Signer, signer_of

TRUST_SCHEMA = "afina/trust/1"
VARIABLE = "AFINA_TRUST"
TRUSTED, REVOKED = "trusted", "revoked"


def trust_folder() -> Path:
    """$AFINA_TRUST, else `trust` in the config folder."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else config_folder() / "trust"


@dataclass(frozen=True)
class Entry:
    """What is thought of a signer.

    Attributes:
        state: trusted or revoked. since: when, as ISO 8601. why: what was said about it, or empty.
    """

    signer: Signer
    state: str
    since: str
    why: str = ""


class TrustStore:
    """The folder with trust.json, and in `keys/` the keys of this machine's own signers.

    While it knows nobody, no signature is asked for. From the first signer on, whether trusted or
    revoked, a release is loaded only with both signatures of somebody who is trusted.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = trust_folder() if folder is None else folder
        self.path = self.folder / "trust.json"
        self.keys = KeyFolder(self.folder / "keys")
        self._read: tuple[bytes, list[Entry]] | None = None

    def entries(self) -> list[Entry]:
        """All signers that it knows. Raises StorageError when trust.json is damaged."""
        if not os.path.lexists(self.path):
            return []
        try:
            data = self.path.read_bytes()
            if self._read is not None and self._read[0] == data:
                return list(self._read[1])
            value = json.loads(data)
            if value["schema"] != TRUST_SCHEMA:
                raise ValueError("another schema")
            found = [_entry(one) for one in value["signers"]]
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OSError):
            raise StorageError(
                _("it cannot be read who is trusted here: nothing is loaded before it is known"),
                where=str(self.path),
                fix=_("put back a copy of the file; or remove it, and trust your signers again"),
            ) from None
        self._read = (data, found)
        return list(found)

    @property
    def asks(self) -> bool:
        """Whether a signature is asked for before a release is loaded."""
        return bool(self.entries())

    def state_of(self, signer_id: str) -> str | None:
        """trusted, revoked, or None for somebody unknown."""
        for entry in self.entries():
            if entry.signer.id == signer_id:
                return entry.state
        return None

    def judge(self, given: Introduced) -> tuple[str | None, Signer | None]:
        """What is thought of a signer, with the older keys that vouch for them.

        Returns:
            trusted, revoked or None, and whose word that rests on when it is not the signer's own
            entry: the newest of the older keys that is known. One that is revoked vouches for nobody.
        """
        state = self.state_of(given.signer.id)
        if state is not None:
            return state, None
        for vouch in given.vouches:
            state = self.state_of(vouch.old.id)
            if state == TRUSTED:
                return TRUSTED, vouch.old
            if state == REVOKED:
                return None, vouch.old
        return None, None

    def find(self, name: str) -> Entry:
        """The one signer of a name, or of an id or its beginning. Raises AfinaError unless it is one."""
        entries = self.entries()
        found = [one for one in entries if one.signer.name == name]
        if len(name) >= 8:
            found = found or [one for one in entries if one.signer.id.startswith(name.lower())]
        trusted = [one for one in found if one.state == TRUSTED]
        if len(trusted) == 1:
            return trusted[0]
        if len(found) == 1:
            return found[0]
        raise AfinaError(
            _("more than one signer is called `{name}`").format(name=name)
            if found
            else _("no signer `{name}` is known here").format(name=name),
            where=str(self.path),
            fix=_("give the beginning of an id: {known}").format(
                known=", ".join(one.signer.title for one in found or entries)
            )
            if entries
            else _("see `afina signer list`"),
        )

    def trust(self, signer: Signer, why: str = "") -> Entry:
        """From now on this signer's releases are loaded, and unsigned ones are not.

        Raises:
            AfinaError: when they were revoked: that is not taken back.
        """
        with self._changing() as entries:
            for entry in entries:
                if entry.signer.id == signer.id:
                    if entry.state == REVOKED:
                        raise AfinaError(
                            _("{signer} was revoked on {since}, and that is not taken back").format(
                                signer=signer.title, since=entry.since[:10]
                            ),
                            where=str(self.path),
                            fix=_("let the signer make new keys, and trust those"),
                        )
                    return entry
            entries.append(Entry(signer, TRUSTED, _now(), why))
        return entries[-1]

    def revoke(self, signer: Signer, why: str = "") -> Entry:
        """From now on nothing that this signer signed is loaded, whenever it was signed."""
        revoked = Entry(signer, REVOKED, _now(), why)
        with self._changing() as entries:
            for place, entry in enumerate(entries):
                if entry.signer.id == signer.id:
                    if entry.state == REVOKED:
                        return entry
                    revoked = replace(revoked, why=why or entry.why)
                    entries[place] = revoked
                    break
            else:
                entries.append(revoked)
        return revoked

    @contextmanager
    def _changing(self) -> Iterator[list[Entry]]:
        """The entries, written when the block ends well; one process at a time."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.folder / ".lock", timeout=30):
            entries = self.entries()
            before = list(entries)
            yield entries
            if entries != before:
                write_json(
                    self.path,
                    {"schema": TRUST_SCHEMA, "signers": [_as_json(entry) for entry in entries]},
                )


def _entry(value: dict[str, Any]) -> Entry:
    signer = signer_of(value)
    if value["state"] not in (TRUSTED, REVOKED) or value["id"] != signer.id:
        raise ValueError("no entry")
    return Entry(signer, value["state"], str(value["since"]), str(value["why"]))


def _as_json(entry: Entry) -> dict[str, Any]:
    signer = entry.signer
    return {
        "id": signer.id,
        "state": entry.state,
        "since": entry.since,
        "why": entry.why,
        **signer.as_json(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
