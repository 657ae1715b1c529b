"""Changes who can open a sealed file, without encrypting its contents again.

The file key stays the same: it is wrapped for those who are added, and the wraps of those who are
removed are left out. Whoever could open the file before may have kept its key, or a copy of the file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from afina.errors import SealError
from afina.language import _
from afina.runs.files import atomic
from afina.seals.header import MOST_RECIPIENTS, Header
from afina.seals.reader import Opened, Unlock, opened
from afina.seals.streams import header_mac
from afina.seals.wrapping import (
    LOG2_N,
    key_id,
    wrap_by_passphrase,
    wrap_for,
)
from afina.seals.writer import PASSPHRASE_CONTEXT, nobody
from afina.trust.passphrase import require_long


def rewrap(
    path: Path,
    unlock: Unlock,
    add: Sequence[bytes] = (),
    remove: Sequence[str] = (),
    passphrase: Callable[[], str] | None = None,
    remove_passphrase: bool = False,
    log2_n: int = LOG2_N,
) -> Header:
    """Writes the file again with another header and the same chunks, whole or not at all.

    Args:
        add: public keys. remove: ids of keys.
        passphrase: asks for a new one, in place of one that is there, once the file is open.
        remove_passphrase: leave out the passphrase.
    Returns:
        The new header.
    Raises:
        SealError: when the file does not open, a key to remove is not there, or nobody would be left.
    """
    with opened(path, unlock) as sealed:
        header = _changed(sealed, add, remove, passphrase, remove_passphrase, log2_n)
        sealed.file.seek(len(sealed.header.framed()) + 32)
        mode = os.fstat(sealed.file.fileno()).st_mode & 0o777
        with atomic(path) as temporary, temporary.open("wb") as file:
            file.write(header.framed() + header_mac(sealed.file_key, header))
            shutil.copyfileobj(sealed.file, file, 1 << 20)
        path.chmod(mode)
    return header


def _changed(
    sealed: Opened,
    add: Sequence[bytes],
    remove: Sequence[str],
    passphrase: Callable[[], str] | None,
    remove_passphrase: bool,
    log2_n: int,
) -> Header:
    header, seal = sealed.header, sealed.header.seal
    kept = {wrap.key: wrap for wrap in header.keys}
    for key in remove:
        if kept.pop(key, None) is None:
            raise SealError(
                _("this file is not sealed for the key {key}").format(key=key), where=str(sealed.path)
            )
    if remove_passphrase and header.passphrase is None:
        raise SealError(_("this file is not sealed with a passphrase"), where=str(sealed.path))
    for public in add:
        if key_id(public) not in kept:
            kept[key_id(public)] = wrap_for(public, sealed.file_key, seal)
    kept_passphrase = None if remove_passphrase else header.passphrase
    if passphrase is not None:
        kept_passphrase = wrap_by_passphrase(
            sealed.file_key, require_long(passphrase()), PASSPHRASE_CONTEXT + seal, log2_n
        )
    if not kept and kept_passphrase is None:
        raise nobody()
    if len(kept) + (kept_passphrase is not None) > MOST_RECIPIENTS:
        raise SealError(
            _("a file is sealed for at most {count} recipients").format(count=MOST_RECIPIENTS)
        )
    return replace(header, keys=tuple(kept.values()), passphrase=kept_passphrase)
