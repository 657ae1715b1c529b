"""Gets the file key of a header: by a private key that is here, or by a passphrase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from afina.errors import AfinaError, SealError
from afina.language import _
from afina.runs.files import read_json
from afina.seals.header import Header, KeyWrap, PassphraseWrap
from afina.seals.reader import Unlock
from afina.seals.recipients import PRIVATE_END, PrivateFile, find_private, read_private
from afina.seals.wrapping import PrivateKey, unwrap_by, unwrap_by_passphrase
from afina.seals.writer import PASSPHRASE_CONTEXT

Secret = Callable[[], str] | str | None  # a passphrase, or what asks for it, or nobody to ask


def unlock_by(
    key: str | None, passphrase: Secret, key_passphrase: Secret, folder: Path, where: Path
) -> Unlock:
    """What opens a header, in this order: the key that is named, the passphrase that is given as text, a
    private key in the folder of keys, the passphrase that is asked for.

    Args:
        key: the name or file of a private key. passphrase: of the sealed file.
        key_passphrase: of the private key's file. where: the sealed file, for messages.
    """

    def unlock(header: Header) -> bytes:
        if key is not None:
            return by_private(find_private(key, folder), header)
        if isinstance(passphrase, str):
            return by_passphrase(header)
        path = _private_in(folder, {wrap.key for wrap in header.keys})
        if path is not None:
            return by_private(read_private(path), header)
        if header.passphrase is not None:
            return by_passphrase(header)
        raise SealError(
            _("no private key here opens this file"),
            where=str(where),
            fix=_("it is sealed for the keys {keys}; name yours with --key").format(keys=_ids(header)),
        )

    def by_private(file: PrivateFile, header: Header) -> bytes:
        wrap = next((wrap for wrap in header.keys if wrap.key == file.id), None)
        if wrap is None:
            raise SealError(
                _("this file is not sealed for the key {key}").format(key=file.id),
                where=str(where),
                fix=_("it is sealed for the keys {keys}").format(keys=_ids(header))
                if header.keys
                else _("it is sealed with a passphrase only"),
            )
        given = _told(key_passphrase, file.path) if file.wrapped is not None else None
        return file_key_by(file.key(given), wrap, header, where)

    def by_passphrase(header: Header) -> bytes:
        if header.passphrase is None:
            raise SealError(
                _("this file is not sealed with a passphrase"),
                where=str(where),
                fix=_("it is sealed for the keys {keys}; name yours with --key").format(
                    keys=_ids(header)
                ),
            )
        return file_key_from(header.passphrase, _told(passphrase, where), header, where)

    return unlock


def file_key_by(private: PrivateKey, wrap: KeyWrap, header: Header, where: Path) -> bytes:
    """The file key by a private key. Raises SealError when what was wrapped for it was changed."""
    from cryptography.exceptions import InvalidTag

    try:
        return unwrap_by(private, wrap, header.seal)
    except InvalidTag:
        raise SealError(
            _("what was sealed for the key {key} was changed or damaged").format(key=wrap.key),
            where=str(where),
            fix=_("copy the file again from where it was made"),
        ) from None


def file_key_from(wrap: PassphraseWrap, passphrase: str, header: Header, where: Path) -> bytes:
    """The file key by a passphrase. Raises SealError for another passphrase."""
    from cryptography.exceptions import InvalidTag

    try:
        return unwrap_by_passphrase(wrap, passphrase, PASSPHRASE_CONTEXT + header.seal)
    except InvalidTag:
        raise SealError(
            _("this is not the passphrase of this sealed file, or its header was changed"),
            where=str(where),
        ) from None


def _told(secret: Secret, where: Path) -> str:
    if secret is None:
        raise SealError(_("this needs a passphrase, and none was given"), where=str(where))
    return secret if isinstance(secret, str) else secret()


def _private_in(folder: Path, ids: set[str]) -> Path | None:
    """A private key with one of these ids in a folder; first one that needs no passphrase."""
    fitting: list[tuple[bool, Path]] = []
    for path in folder.glob("*" + PRIVATE_END):
        try:
            value = read_json(path)
        except (AfinaError, OSError):
            continue  # a damaged key is told of when it is named
        if isinstance(value, dict) and isinstance(value.get("id"), str) and value["id"] in ids:
            fitting.append((value.get("passphrase") is not None, path))
    return min(fitting)[1] if fitting else None


def _ids(header: Header) -> str:
    return ", ".join(wrap.key for wrap in header.keys)
