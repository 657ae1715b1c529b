"""Sealed releases, for Python: `afina.seal`, `afina.open_sealed` and what belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.arguments import check_name, list_of_texts
from afina.errors import AfinaError
from afina.inference.intact import require_intact
from afina.language import _
from afina.registry import find_run
from afina.seals.contents import MANIFEST
from afina.seals.files import leftovers, require_free
from afina.seals.header import Header
from afina.seals.opening import open_to_bytes, open_to_folder, open_to_memory
from afina.seals.reader import header_of
from afina.seals.recipients import (
    Recipient,
    add_public,
    find_public,
    keys_folder,
    new_pair,
    recipients_in,
)
from afina.seals.rewrap import rewrap
from afina.seals.unlocking import Secret, unlock_by
from afina.seals.writer import nobody, seal_folder

Say = Callable[[str], None]
SUFFIX = ".sealed"


def _silent(_text: str) -> None:
    """A console for nobody."""


@dataclass(frozen=True)
class SealResult:
    """A sealed file as it stands.

    Attributes:
        file: where it is. bytes: its size.
        recipients: {id, name} of each key that opens it; the name is None where it is not known.
        passphrase: whether a passphrase opens it.
    """

    file: Path
    bytes: int
    recipients: tuple[dict[str, str | None], ...]
    passphrase: bool

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "file": str(self.file)}


def seal(
    name: str | Path,
    *,
    to: list[str] | None = None,
    passphrase: Secret = None,
    out: str | Path | None = None,
    runs: str = "runs",
    say: Say = _silent,
    progress: Say = _silent,
) -> SealResult:
    """Encrypts the release of a run into one file.

    Args:
        name: a run, or a folder with a release.
        to: names or files of public keys. passphrase: opens it, too; one of both is needed.
        out: the new file; None takes `NAME-NUMBER.sealed` in the current folder.
    Raises:
        AfinaError: also when the release is not as it was written; nothing is written over.
    """
    check_name(name, "name")
    given = list_of_texts(to or [], "to", '["ana"]')
    if not given and passphrase is None:
        raise nobody()
    recipients = [find_public(key, keys_folder()) for key in given]
    folder, title = _release_of(str(name), runs, say)
    target = Path(f"{title.replace('@', '-')}{SUFFIX}" if out is None else out)
    if folder.resolve() in target.resolve().parents:
        raise AfinaError(
            _("a release is not changed once it is made"),
            where=str(target),
            fix=_("choose another place with --out"),
        )
    require_free(target)
    require_intact(folder)
    secret = passphrase() if callable(passphrase) else passphrase
    publics = [recipient.public for recipient in recipients]
    told = _told(_("sealing"), progress)
    header, _contents = seal_folder(folder, target, publics, secret, title, progress=told)
    return _result(target, header)


def _release_of(name: str, runs: str, say: Say) -> tuple[Path, str]:
    """The folder of a finished release and what a person calls it."""
    path = Path(name)
    if (path / MANIFEST).is_file():
        return path, path.resolve().name
    run = find_run(name, runs, say)
    return run.path("release"), run.title


def open_sealed(
    file: str | Path,
    *,
    out: str | Path | None = None,
    key: str | None = None,
    passphrase: Secret = None,
    key_passphrase: Secret = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> Path:
    """Opens a sealed file into a new folder, and checks the release in it before the folder appears.

    Args:
        out: the new folder; None takes the file's name without `.sealed`, in the current folder.
        key: name or file of a private key; None takes the one in the folder of keys that fits.
        passphrase: of the sealed file; a text is used before any key.
        key_passphrase: of the private key's file.
    Returns:
        The folder.
    Raises:
        AfinaError: when anything is not as it was sealed; then there is no folder.
    """
    check_name(file, "file")
    path = Path(file)
    folder = Path(path.name.removesuffix(SUFFIX)) if out is None else Path(out)
    if folder.absolute() == path.absolute():
        folder = folder.with_name(f"{folder.name}-opened")
    require_free(folder)
    for left in leftovers(folder):
        say(
            _("an earlier opening was cut off and left files in {folder}: remove it").format(folder=left)
        )
    unlock = unlock_by(key, passphrase, key_passphrase, keys_folder(), path)
    open_to_folder(path, folder, unlock, require_intact, _told(_("opening"), progress))
    return folder


def read_sealed(
    file: str | Path,
    *,
    key: str | None = None,
    passphrase: Secret = None,
    key_passphrase: Secret = None,
) -> dict[str, bytes]:
    """The files of a sealed release by path, in memory; nothing is written to a disk.

    Raises:
        AfinaError: when anything is not as it was sealed, or memory does not suffice.
    """
    check_name(file, "file")
    path = Path(file)
    return open_to_bytes(path, unlock_by(key, passphrase, key_passphrase, keys_folder(), path))


def change_recipients(
    file: str | Path,
    *,
    add: list[str] | None = None,
    remove: list[str] | None = None,
    new_passphrase: Secret = None,
    remove_passphrase: bool = False,
    key: str | None = None,
    passphrase: Secret = None,
    key_passphrase: Secret = None,
) -> SealResult:
    """Changes who can open a sealed file. The contents are not encrypted again.

    It takes nothing from anyone who could open the file before: they may have kept a copy, or its key.

    Args:
        add, remove: names or files of public keys; an id for one to remove, too.
        new_passphrase: opens the file from now on, in place of one that did.
        key, passphrase, key_passphrase: open the file now; see `open_sealed`.
    """
    check_name(file, "file")
    path, folder = Path(file), keys_folder()
    added = [find_public(one, folder).public for one in list_of_texts(add or [], "add", '["ana"]')]
    known = {wrap.key for wrap in header_of(path).keys}
    removed = [
        one if one in known else find_public(one, folder).id
        for one in list_of_texts(remove or [], "remove", '["ana"]')
    ]
    unlock = unlock_by(key, passphrase, key_passphrase, folder, path)
    header = rewrap(path, unlock, added, removed, _asked_later(new_passphrase), remove_passphrase)
    return _result(path, header)


def _asked_later(secret: Secret) -> Callable[[], str] | None:
    if secret is None or callable(secret):
        return secret
    return lambda: secret


def sealed_for(file: str | Path) -> SealResult:
    """Who can open a sealed file, as its header says. Without a key nothing vouches for that."""
    check_name(file, "file")
    return _result(Path(file), header_of(Path(file)))


def _result(path: Path, header: Header) -> SealResult:
    names = {one.id: one.name for one in recipients_in(keys_folder())}
    recipients = tuple({"id": wrap.key, "name": names.get(wrap.key)} for wrap in header.keys)
    return SealResult(path, path.stat().st_size, recipients, header.passphrase is not None)


def new_recipient(
    name: str, *, passphrase: Secret = None, folder: str | Path | None = None
) -> Recipient:
    """Makes a key pair: the public key is for everyone who seals for you, the private one for you alone.

    Args:
        passphrase: protects the private key's file; None leaves it as it is, for a machine that must
            open files by itself.
        folder: None takes the folder of keys.
    """
    place = keys_folder() if folder is None else Path(folder)
    return new_pair(name, passphrase() if callable(passphrase) else passphrase, place)


def add_recipient(file: str | Path, *, name: str | None = None) -> Recipient:
    """Keeps another person's public key in the folder of keys, under its own name or another."""
    check_name(file, "file")
    return add_public(Path(file), name, keys_folder())


def list_recipients(*, folder: str | Path | None = None) -> list[Recipient]:
    """The keys in the folder of keys, by name."""
    return recipients_in(keys_folder() if folder is None else Path(folder))


@contextmanager
def release_folder(
    name: str | Path,
    *,
    runs: str = "runs",
    key: str | None = None,
    passphrase: Secret = None,
    key_passphrase: Secret = None,
    say: Say = _silent,
) -> Iterator[Path]:
    """`with release_folder(…) as folder:` a release's files, of a run, a folder or a sealed file.

    A sealed file's are in memory only (see `open_to_memory`), and are let go of in the end.
    """
    check_name(name, "name")
    path = Path(name)
    if path.is_file():
        unlock = unlock_by(key, passphrase, key_passphrase, keys_folder(), path)
        with open_to_memory(path, unlock) as folder:
            yield folder
    elif (path / MANIFEST).is_file() and (path / "inference.json").is_file():
        yield path
    else:
        yield find_run(str(name), runs, say).path("release")


def _told(verb: str, progress: Say) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if total >> 26:  # less than 64 MiB are done before anyone has read the line
            progress(f"{verb}: {done >> 20:,} / {total >> 20:,} MiB")

    return tell
