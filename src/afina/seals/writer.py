"""Seals a release: reads each file once, a chunk at a time, and writes one file."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from afina.errors import SealError
from afina.language import _
from afina.seals.contents import (
    MANIFEST,
    MOST_CONTENTS_BYTES,
    Contents,
    SealedFile,
    files_in,
    no_manifest,
    require_as_listed,
)
from afina.seals.files import new_file
from afina.seals.header import (
    MOST_RECIPIENTS,
    SCHEMA,
    SEAL_BYTES,
    Header,
    KeyWrap,
    PassphraseWrap,
)
from afina.seals.library import require_cryptography
from afina.seals.streams import ContentsCipher, FileCipher, chunks_of, header_mac
from afina.seals.wrapping import LOG2_N, wrap_by_passphrase, wrap_for
from afina.trust.passphrase import require_long

CHUNK_BYTES = 1 << 20
PASSPHRASE_CONTEXT = SCHEMA.encode() + b" passphrase"


def seal_folder(
    folder: Path,
    out: Path,
    recipients: Sequence[bytes],
    passphrase: str | None,
    name: str,
    chunk_bytes: int = CHUNK_BYTES,
    log2_n: int = LOG2_N,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Header, Contents]:
    """Seals every file in a release's folder into the new file `out`.

    Memory: two chunks, whatever the size of the files.

    Args:
        recipients: public keys, 1,216 bytes each. passphrase: None takes none; one of both is needed.
        name: what a person calls the release; it is kept in the sealed list.
        chunk_bytes: plain bytes of a chunk. log2_n: cost of the passphrase (scrypt).
        progress: called with the plain bytes done and those of all files.
    Raises:
        SealError: for no recipient, no manifest, a link, a file that changes while it is read or is not
            the one that the manifest names. StorageError: when `out` is there.
        OSError: when writing fails; nothing is left then.
    """
    require_cryptography()
    contents = contents_of(folder, name)
    file_key, seal = secrets.token_bytes(32), secrets.token_bytes(SEAL_BYTES)
    header = Header(seal, chunk_bytes, *wraps(file_key, seal, recipients, passphrase, log2_n))
    encrypted = ContentsCipher(file_key, header).encrypt(contents.encoded())
    done, digests = 0, {}
    with new_file(out) as temporary, temporary.open("wb") as file:
        file.write(header.framed() + header_mac(file_key, header))
        file.write(len(encrypted).to_bytes(4, "big") + encrypted)
        manifest_sha256 = bytes.fromhex(contents.manifest_sha256)
        for number, entry in enumerate(contents.files):
            cipher = FileCipher(file_key, header, manifest_sha256, number, entry.path)
            digest = hashlib.sha256()
            with (folder / entry.path).open("rb") as source:
                for index in range(chunks_of(entry.bytes, chunk_bytes)):
                    plain = source.read(chunk_bytes)
                    last = (index + 1) * chunk_bytes >= entry.bytes
                    _require_whole(source, plain, entry, index, last, chunk_bytes, folder)
                    digest.update(plain)
                    file.write(cipher.encrypt(index, last, plain))
                    done += len(plain)
                    progress(done, contents.total_bytes)
            digests[entry.path] = digest.hexdigest()
        if digests[MANIFEST] != contents.manifest_sha256:
            raise _changed(folder / MANIFEST)
        require_as_listed((folder / MANIFEST).read_bytes(), digests, folder)
    return header, contents


def contents_of(folder: Path, name: str) -> Contents:
    """The list of a release's files. Raises SealError without a manifest, or with too many files."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise no_manifest(folder)
    files = files_in(folder)
    contents = Contents(name, hashlib.sha256(manifest.read_bytes()).hexdigest(), tuple(files))
    if len(contents.encoded()) > MOST_CONTENTS_BYTES:
        raise SealError(
            _("there are too many files: {count:,}").format(count=len(files)), where=str(folder)
        )
    return contents


def wraps(
    file_key: bytes, seal: bytes, recipients: Sequence[bytes], passphrase: str | None, log2_n: int
) -> tuple[tuple[KeyWrap, ...], PassphraseWrap | None]:
    """The file key for each recipient, once, and for the passphrase. Raises SealError for nobody."""
    different = list(dict.fromkeys(recipients))
    if not different and passphrase is None:
        raise nobody()
    if len(different) + (passphrase is not None) > MOST_RECIPIENTS:
        raise SealError(
            _("a file is sealed for at most {count} recipients").format(count=MOST_RECIPIENTS)
        )
    keys = tuple(wrap_for(public, file_key, seal) for public in different)
    if passphrase is None:
        return keys, None
    return keys, wrap_by_passphrase(
        file_key, require_long(passphrase), PASSPHRASE_CONTEXT + seal, log2_n
    )


def nobody() -> SealError:
    """A sealed file that nobody could open."""
    return SealError(
        _("nobody could open this sealed file"),
        fix=_("name a recipient with --to KEY, or take --passphrase"),
    )


def _require_whole(
    source: BinaryIO,
    plain: bytes,
    entry: SealedFile,
    index: int,
    last: bool,
    chunk_bytes: int,
    folder: Path,
) -> None:
    """Raises SealError when a file is longer or shorter than it was when its size was noted."""
    wanted = entry.bytes - index * chunk_bytes if last else chunk_bytes
    if len(plain) != wanted or (last and source.read(1)):
        raise _changed(folder / entry.path)


def _changed(path: Path) -> SealError:
    return SealError(
        _("this file was changed while it was being sealed"),
        where=str(path),
        fix=_("let nothing write into the release, and seal it again"),
    )
