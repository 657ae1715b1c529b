"""`afina sign`, `afina verify` and `afina signer …`, for Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.arguments import check_name
from afina.errors import AfinaError, SignatureError, StorageError
from afina.language import _
from afina.registry import find_run
from afina.runs.folder import Run
from afina.trust.manifest import MANIFEST, read_manifest, require_files
from afina.trust.passphrase import asked_passphrase
from afina.trust.signatures import require_trusted, sign_release, signed_by
from afina.trust.signer import Introduced, read_signer
from afina.trust.trust_store import REVOKED, TRUSTED, TrustStore

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    """A console for nobody."""


@dataclass(frozen=True)
class Verification:
    """What became of checking a release.

    Attributes:
        ok: whether it would be loaded. folder: what was checked. files: how many; bytes: of what size.
        signer, signer_id: who signed; None when nobody did.
        trusted: whether the signer is trusted here; None while no signature is asked for.
        problem, where, fix: what is wrong, in which file, what to do; None when nothing is.
    """

    ok: bool
    folder: Path
    files: int
    bytes: int
    signer: str | None = None
    signer_id: str | None = None
    trusted: bool | None = None
    problem: str | None = None
    where: str | None = None
    fix: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class SignerEntry:
    """A signer, as this machine knows them.

    Attributes:
        name: as they call themselves. id: SHA-256 over name and public keys.
        state: trusted, revoked, or unknown, for keys of this machine that it does not trust.
        since, why: of the state. own: whether the secret keys are here.
        file: what others are given, for own keys.
        vouched_by: the ids of earlier keys that vouch for these, the newest first.
    """

    name: str
    id: str
    state: str
    since: str | None
    why: str
    own: bool
    file: Path | None = None
    vouched_by: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "file": None if self.file is None else str(self.file)}


def sign(
    name: str,
    *,
    signer: str | None = None,
    passphrase: str | None = None,
    passphrase_file: str | Path | None = None,
    trust: str | Path | None = None,
    runs: str = "runs",
    say: Say = _silent,
) -> Verification:
    """Signs the release of a run, or another folder with a manifest, as an export has one.

    Args:
        name: a run, or the folder.
        signer: whose keys; None takes the only ones here.
        passphrase: of the keys; None takes that of `passphrase_file`, of the environment
            (AFINA_SIGNER_PASSPHRASE_FILE, AFINA_SIGNER_PASSPHRASE), else asks at the terminal.
        trust: the folder with keys and trust.json; None takes the user's own.
    Raises:
        AfinaError: when nobody can sign here, or the passphrase is wrong.
        StorageError: when a file is not as the manifest says: nothing is signed then.
    """
    check_name(name, "name")
    store = _store(trust)
    chosen = store.keys.choose(signer)
    with _to_sign(name, runs, say) as (folder, run):
        read_manifest(folder)
        keys = store.keys.read(chosen, lambda: _passphrase(passphrase, passphrase_file))
        sign_release(folder, keys)
        if run is not None:
            run.event("signed", signer=keys.signer.name, signer_id=keys.signer.id)
            run.publish()
    return _verified(folder, store)


def verify(
    name: str, *, trust: str | Path | None = None, runs: str = "runs", say: Say = _silent
) -> Verification:
    """Whether a release is what was made, and signed by somebody who is trusted.

    Args:
        name: a run, or a folder with a manifest. trust: the folder with trust.json; None takes the
            user's own.
    Raises:
        AfinaError: when there is no such run or folder; all else is said in what is returned.
    """
    check_name(name, "name")
    return _verified(_folder_of(name, runs, say)[0], _store(trust))


def new_signer(
    name: str,
    *,
    passphrase: str | None = None,
    passphrase_file: str | Path | None = None,
    protect: bool = True,
    trusted: bool = True,
    trust: str | Path | None = None,
) -> SignerEntry:
    """Makes keys to sign with: P-256 and ML-DSA-65, under a passphrase.

    Args:
        name: as others will see it. passphrase, passphrase_file: as of `sign`.
        protect: False keeps the keys without a passphrase, in a file that only this user can read.
        trusted: trust the signer on this machine too; from then on it loads no unsigned release.
    """
    store = _store(trust)
    secret = _passphrase(passphrase, passphrase_file, new=True) if protect else None
    keys = store.keys.make(name, secret)
    if trusted:
        store.trust(keys.signer)
    return _own(store, name)


def list_signers(*, trust: str | Path | None = None) -> list[SignerEntry]:
    """Those who are trusted or revoked here, and those whose keys are here."""
    store = _store(trust)
    own = {store.keys.introduced(name).signer.id: name for name in store.keys.names()}
    known = [entry.signer.id for entry in store.entries()]
    found = [
        _own(store, own[entry.signer.id])
        if entry.signer.id in own
        else SignerEntry(
            entry.signer.name, entry.signer.id, entry.state, entry.since, entry.why, own=False
        )
        for entry in store.entries()
    ]
    return found + [_own(store, name) for signer_id, name in own.items() if signer_id not in known]


def trust_signer(
    file: str | Path, *, expected_id: str | None = None, trust: str | Path | None = None
) -> SignerEntry:
    """Trusts a signer by their public file; from then on this machine loads no unsigned release.

    Args:
        expected_id: the id that the signer told you in another way; another is refused.
    Raises:
        SignatureError: when the file is none, or has another id.
    """
    check_name(file, "file")
    store = _store(trust)
    given = read_signer(Path(file))
    if expected_id is not None and given.signer.id != expected_id.strip().lower():
        raise SignatureError(
            _("this file is of {signer}: not the id that was expected").format(
                signer=f"{given.signer.name} {given.signer.id}"
            ),
            where=str(file),
            fix=_("get the file again, from the signer"),
        )
    entry = store.trust(given.signer)
    return _entry(store, given, entry.since)


def revoke_signer(name: str, *, why: str = "", trust: str | Path | None = None) -> SignerEntry:
    """Nothing that this signer signed is loaded here any more. That is not taken back.

    Args:
        name: the name, the id or its beginning, or a signer's public file.
    """
    store = _store(trust)
    if Path(name).is_file():
        signer = read_signer(Path(name)).signer
    elif name in store.keys.names() and not any(entry.signer.name == name for entry in store.entries()):
        signer = store.keys.introduced(name).signer
    else:
        signer = store.find(name).signer
    entry = store.revoke(signer, why)
    own = signer.name in store.keys.names() and store.keys.introduced(signer.name).signer == signer
    return SignerEntry(signer.name, signer.id, REVOKED, entry.since, entry.why, own)


def rotate_signer(
    name: str,
    *,
    passphrase: str | None = None,
    passphrase_file: str | Path | None = None,
    new_passphrase: str | None = None,
    trust: str | Path | None = None,
) -> SignerEntry:
    """Makes new keys of the same name, for which the old ones vouch; the old secret keys are removed.

    Who trusts the old keys loads what the new ones sign. What the old ones signed stays good, until
    they are revoked.

    Args:
        passphrase, passphrase_file: of the old keys. new_passphrase: of the new ones; None takes that
            of the old.
    Raises:
        AfinaError: also when the old keys were revoked, for their word counts no more.
    """
    store = _store(trust)
    chosen = store.keys.choose(name)
    before = store.keys.introduced(chosen).signer
    state = store.state_of(before.id)
    if state == REVOKED:
        raise AfinaError(
            _("{signer} was revoked: its word for new keys counts no more").format(signer=before.title),
            fix=_("make keys under another name with `afina signer new`, and let others trust those"),
        )
    typed: list[str] = []

    def secret() -> str:
        typed.append(_passphrase(passphrase, passphrase_file))
        return typed[0]

    old = store.keys.read(chosen, secret)
    keys = store.keys.rotate(chosen, old, new_passphrase or (typed[0] if typed else None))
    if state == TRUSTED:
        store.trust(keys.signer)
    return _own(store, chosen)


def _store(folder: str | Path | None) -> TrustStore:
    if folder is not None:
        check_name(folder, "trust")
    return TrustStore(None if folder is None else Path(folder))


def _passphrase(given: str | None, file: str | Path | None, new: bool = False) -> str:
    if given is not None:
        return given
    return asked_passphrase(None if file is None else Path(file), new)


def _own(store: TrustStore, name: str) -> SignerEntry:
    given = store.keys.introduced(name)
    since = next((one.since for one in store.entries() if one.signer.id == given.signer.id), None)
    return _entry(store, given, since, store.keys.public_file(name))


def _entry(
    store: TrustStore, given: Introduced, since: str | None, file: Path | None = None
) -> SignerEntry:
    signer = given.signer
    why = next((one.why for one in store.entries() if one.signer.id == signer.id), "")
    state = store.state_of(signer.id) or "unknown"
    vouched = tuple(vouch.old.id for vouch in given.vouches)
    return SignerEntry(signer.name, signer.id, state, since, why, file is not None, file, vouched)


@contextmanager
def _to_sign(name: str, runs: str, say: Say) -> Iterator[tuple[Path, Run | None]]:
    """The folder to sign, with its run locked when it is a run's."""
    folder, run = _folder_of(name, runs, say)
    if run is None:
        yield folder, None
        return
    run.lock()
    try:
        yield folder, run
    finally:
        run.unlock()


def _folder_of(name: str, runs: str, say: Say) -> tuple[Path, Run | None]:
    """What a person means: a folder with a manifest, or the release of a run."""
    path = Path(name)
    if (path / MANIFEST).exists() and not (path / "run.json").exists():
        inside = path.resolve().parent
        if path.resolve().name == "release" and (inside / "run.json").exists():
            run = find_run(str(inside), runs, say)
            return run.path("release"), run
        return path, None
    try:
        run = find_run(name, runs, say)
    except AfinaError:
        if path.is_dir():
            return path, None
        raise
    if not run.path(f"release/{MANIFEST}").exists():
        raise AfinaError(
            _("this run has no release: nothing to sign or to verify"),
            where=str(run.root),
            fix=_("finish it with `afina run`; a release is made when the gate lets the model through"),
        )
    return run.path("release"), run


def _verified(folder: Path, store: TrustStore) -> Verification:
    files = size = 0
    by = None
    try:
        manifest = read_manifest(folder)
        files = len(manifest["files"])
        size = sum(entry["bytes"] for entry in manifest["files"].values())
        asks = store.asks
        # Files first: a person wants to know which one was changed, not only that the whole is.
        require_files(folder, manifest)
        by = signed_by(folder, store)
        if asks:
            require_trusted(folder, store)
    except (StorageError, SignatureError) as error:
        signer = None if by is None else by.signer
        return Verification(
            ok=False,
            folder=folder,
            files=files,
            bytes=size,
            signer=None if signer is None else signer.name,
            signer_id=None if signer is None else signer.id,
            trusted=None if signer is None else by is not None and by.state == TRUSTED,
            problem=error.what,
            where=error.where,
            fix=error.fix,
        )
    return Verification(
        ok=True,
        folder=folder,
        files=files,
        bytes=size,
        signer=None if by is None else by.signer.name,
        signer_id=None if by is None else by.signer.id,
        trusted=True if asks else None,
    )
