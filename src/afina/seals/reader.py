"""Opens a sealed file: what is handed on is what was sealed, in its place and in its order."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from afina.errors import SealError, StorageError
from afina.language import _
from afina.seals.contents import (
    MANIFEST,
    MOST_CONTENTS_BYTES,
    Contents,
    SealedFile,
    parsed_contents,
    require_as_listed,
)
from afina.seals.header import Header, changed_header, ends_early, read_header
from afina.seals.library import require_cryptography
from afina.seals.streams import (
    TAG_BYTES,
    ContentsCipher,
    FileCipher,
    chunks_of,
    header_mac,
    sealed_bytes,
)

Unlock = Callable[[Header], bytes]  # the file key of a header, or SealError
Sink = Callable[[SealedFile], AbstractContextManager[Callable[[bytes], object]]]


def header_of(path: Path) -> Header:
    """Who can open a sealed file, as its header says; nothing vouches for that without a key."""
    with _opened_file(path) as file:
        return read_header(file, path)[0]


@contextmanager
def opened(path: Path, unlock: Unlock) -> Iterator[Opened]:
    """A sealed file whose header and list of files are known to be right.

    Args:
        unlock: gives the file key; see unlocking.py.
    Raises:
        SealError: when it is no sealed file, was changed or cut, or does not open.
    """
    require_cryptography()
    with _opened_file(path) as file:
        header, mac = read_header(file, path)
        file_key = unlock(header)
        if not hmac.compare_digest(mac, header_mac(file_key, header)):
            raise changed_header(path)
        contents = _read_contents(file, path, file_key, header)
        _require_length(file, path, header, contents)
        yield Opened(path, file, file_key, header, contents, file.tell())


@contextmanager
def _opened_file(path: Path) -> Iterator[BinaryIO]:
    if not path.is_file():
        raise StorageError(
            _("there is no such file"), where=str(path), fix=_("check the path of the sealed file")
        )
    with path.open("rb") as file:
        yield file


def _read_contents(file: BinaryIO, path: Path, file_key: bytes, header: Header) -> Contents:
    from cryptography.exceptions import InvalidTag

    head = file.read(4)
    if len(head) < 4:
        raise ends_early(path, 4 - len(head))
    length = int.from_bytes(head, "big")
    if not TAG_BYTES <= length <= MOST_CONTENTS_BYTES + TAG_BYTES:
        raise _changed_list(path)
    encrypted = file.read(length)
    if len(encrypted) < length:
        raise ends_early(path, length - len(encrypted))
    try:
        raw = ContentsCipher(file_key, header).decrypt(encrypted)
    except InvalidTag:
        raise _changed_list(path) from None
    return parsed_contents(raw, path)


def _changed_list(path: Path) -> SealError:
    return SealError(
        _("the list of files in this sealed file was changed or damaged"),
        where=str(path),
        fix=_("copy the file again from where it was made"),
    )


def _require_length(file: BinaryIO, path: Path, header: Header, contents: Contents) -> None:
    """Compares the length of the file with what its list says, before anything is written."""
    wanted = file.tell() + sum(sealed_bytes(entry.bytes, header.chunk_bytes) for entry in contents.files)
    found = os.fstat(file.fileno()).st_size
    if found < wanted:
        raise ends_early(path, wanted - found)
    if found > wanted:
        raise SealError(
            _("this sealed file has {count:,} bytes too many").format(count=found - wanted),
            where=str(path),
            fix=_("copy the file again from where it was made"),
        )


@dataclass(frozen=True)
class Opened:
    """A sealed file at work.

    Attributes:
        start: where the chunks begin in the file.
    """

    path: Path
    file: BinaryIO
    file_key: bytes
    header: Header
    contents: Contents
    start: int

    def pour(self, sink: Sink, progress: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Decrypts every file into what `sink` gives for it, then compares all with the manifest.

        What a sink was given counts only when this has ended well. Memory: two chunks.

        Raises:
            SealError: names the file, and the chunk of it, that is not what was sealed.
        """
        done = 0
        digests: dict[str, str] = {}
        manifest = bytearray()
        self.file.seek(self.start)
        for number, entry in enumerate(self.contents.files):
            digest = hashlib.sha256()
            with sink(entry) as write:
                for plain in self._chunks(number, entry):
                    digest.update(plain)
                    if entry.path == MANIFEST:
                        manifest += plain
                    write(plain)
                    done += len(plain)
                    progress(done, self.contents.total_bytes)
            digests[entry.path] = digest.hexdigest()
        if digests[MANIFEST] != self.contents.manifest_sha256:
            raise SealError(
                _("manifest.json is not the one that this file was sealed with"), where=str(self.path)
            )
        require_as_listed(bytes(manifest), digests, self.path)

    def _chunks(self, number: int, entry: SealedFile) -> Iterator[bytes]:
        from cryptography.exceptions import InvalidTag

        size = self.header.chunk_bytes
        manifest_sha256 = bytes.fromhex(self.contents.manifest_sha256)
        cipher = FileCipher(self.file_key, self.header, manifest_sha256, number, entry.path)
        count = chunks_of(entry.bytes, size)
        for index in range(count):
            last = index == count - 1
            plain_bytes = entry.bytes - index * size if last else size
            encrypted = self.file.read(plain_bytes + TAG_BYTES)
            try:
                yield cipher.decrypt(index, last, encrypted)
            except InvalidTag:
                raise SealError(
                    _(
                        "chunk {index:,} of {count:,} of {path} is not the one that was sealed there: "
                        "it was changed, moved or left out"
                    ).format(index=index + 1, count=count, path=entry.path),
                    where=str(self.path),
                    fix=_("copy the file again from where it was made"),
                ) from None
