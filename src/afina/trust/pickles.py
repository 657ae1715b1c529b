"""Finds pickle: in files, in archives inside of files, and in databases. Names and endings say nothing.

Python's pickle runs code when it is loaded. Weights are kept as safetensors and all else as JSON, so
that there is none; this looks at what is there.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import sqlite3
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from pickle import HIGHEST_PROTOCOL
from typing import IO, Any, cast

# No archive of ours holds archives this deep; one that was made to harm may.
MOST_DEEP = 4
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
# Of so much of a compressed file is looked at: pickle is known by its beginning.
_ENOUGH = 2**26


def find_pickles(folder: Path) -> list[str]:
    """Where there is pickle under a folder: `NAME`, or `NAME!MEMBER` inside an archive or database."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            with path.open("rb") as file:
                found += [name + inside for inside in _inside(file, MOST_DEEP)]
            found += [f"{name}!{cell}" for cell in _in_database(path)]
    return found


def is_pickle(file: IO[bytes]) -> bool:
    """Whether a file begins with a pickle of any protocol.

    Protocols 0 and 1 have no mark: the operations are read, up to STOP, and must find on their stack
    what they take from it, which those in text or weights do not. From protocol 2 on there is a mark;
    after it three operations are enough, for joblib puts its arrays between them.
    """
    head = file.read(2)
    marked = len(head) == 2 and head[0] == 0x80 and head[1] <= HIGHEST_PROTOCOL
    file.seek(0)
    seen = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts that are no Python literals
            for operation, _argument, _place in pickletools.genops(file):
                seen += 1
                if marked and seen == 3:
                    return True
                if operation.name == "STOP":
                    file.seek(0)
                    # It raises when the stack is wrong.
                    pickletools.dis(file, out=cast(IO[str], _Nowhere()))
                    return True
    except Exception:
        return False  # whatever comes of a byte that is no operation
    return False


class _Nowhere(io.TextIOBase):
    """Takes a listing that nobody reads."""

    def write(self, _text: str) -> int:
        return 0


def _inside(file: IO[bytes], deep: int) -> Iterator[str]:
    """`` for the file itself, `!MEMBER` for what an archive holds."""
    if is_pickle(file):
        yield ""
    file.seek(0)
    head = file.read(512)
    if head.startswith(b"\x93NUMPY") and b"|O" in head.partition(b"\n")[0]:
        yield ""  # an array of objects is pickle inside
    if deep == 0:
        return
    file.seek(0)
    for mark, unpack in _COMPRESSED.items():
        if head.startswith(mark):
            yield from (f"!{inside}" for inside in _inside(_unpacked(unpack, file), deep - 1))
    yield from _in_zip(file, deep)
    yield from _in_tar(file, head, deep)


def _unpacked(unpack: Callable[[Any], Any], file: IO[bytes]) -> IO[bytes]:
    try:
        return io.BytesIO(unpack(file).read(_ENOUGH))
    except (OSError, EOFError, lzma.LZMAError):
        return io.BytesIO()


def _in_zip(file: IO[bytes], deep: int) -> Iterator[str]:
    """A zip is found by its end: .pt, .npz, .mar and .jar are some, whatever stands before them."""
    file.seek(0)
    if not zipfile.is_zipfile(file):
        return
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as inside:
                    held = io.BytesIO(inside.read(_ENOUGH))
                yield from (f"!{member.filename}{more}" for more in _inside(held, deep - 1))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError):
        return


def _in_tar(file: IO[bytes], head: bytes, deep: int) -> Iterator[str]:
    if head[257:262] != b"ustar":
        return
    file.seek(0)
    try:
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                inside = archive.extractfile(member)
                if inside is not None:
                    held = io.BytesIO(inside.read(_ENOUGH))
                    yield from (f"!{member.name}{more}" for more in _inside(held, deep - 1))
    except (tarfile.TarError, OSError):
        return


def _in_database(path: Path) -> Iterator[str]:
    """Cells of a SQLite file that are pickle, as `TABLE.COLUMN`."""
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
        tables = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            quoted = '"' + table.replace('"', '""') + '"'
            cells = base.execute(f"SELECT * FROM {quoted}")  # noqa: S608
            names = [column[0] for column in cells.description]
            for row in cells:
                for name, cell in zip(names, row, strict=True):
                    data = cell.encode() if isinstance(cell, str) else cell
                    if isinstance(data, bytes) and is_pickle(cast(IO[bytes], io.BytesIO(data))):
                        yield f"{table}.{name}"
