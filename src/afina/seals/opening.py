"""Where a sealed file is opened to: a new folder, memory as bytes, or files that are only in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from afina.errors import AfinaError, SealError
from afina.language import _
from afina.runs.memory_files import seal_against_change
from afina.seals.contents import Contents, SealedFile
from afina.seals.files import new_folder
from afina.seals.reader import Opened, Unlock, opened

Progress = Callable[[int, int], None]


def _quiet(_done: int, _all: int) -> None:
    """Progress for nobody."""


def open_to_folder(
    path: Path,
    out: Path,
    unlock: Unlock,
    check: Callable[[Path], None] = lambda _folder: None,
    progress: Progress = _quiet,
) -> Contents:
    """Opens a sealed file into the new folder `out`, which only this user can enter.

    Args:
        check: called with the temporary folder when all is in it; what it raises leaves nothing behind.
    Raises:
        SealError, StorageError: nothing is at `out` then.
    """
    with opened(path, unlock) as sealed, new_folder(out) as folder:

        @contextmanager
        def sink(entry: SealedFile) -> Iterator[Callable[[bytes], object]]:
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                yield file.write

        sealed.pour(sink, progress)
        check(folder)
        return sealed.contents


def open_to_bytes(path: Path, unlock: Unlock, progress: Progress = _quiet) -> dict[str, bytes]:
    """The files of a sealed file by path; nothing is written to a disk.

    Raises:
        SealError: when it does not open, or needs more memory than is free.
    """
    found: dict[str, bytes] = {}
    with opened(path, unlock) as sealed:
        _require_memory(sealed)

        @contextmanager
        def sink(entry: SealedFile) -> Iterator[Callable[[bytes], object]]:
            held = BytesIO()
            yield held.write
            found[entry.path] = held.getvalue()

        sealed.pour(sink, progress)
    return found


@contextmanager
def open_to_memory(path: Path, unlock: Unlock, progress: Progress = _quiet) -> Iterator[Path]:
    """`with open_to_memory(…) as folder:` a folder that libraries can read, whose files are in memory.

    Each file is an anonymous one of the kernel (memfd_create), which has no name on any disk and is gone
    with the process, even when that is killed; from the moment that it is complete nothing can write to
    it. The folder holds only links to them, `/proc/self/fd/N`, that mean nothing to other processes.

    Raises:
        SealError: when it does not open, or needs more memory than is free.
        AfinaError: where the system has no such files; only Linux has them.
    """
    if not hasattr(os, "memfd_create") or not Path("/proc/self/fd").is_dir():
        raise AfinaError(
            _("this system has no files in memory, so that a sealed model cannot be used as it is"),
            fix=_("open it into a folder with `afina open`, on a disk that is encrypted"),
        )
    held: dict[str, int] = {}
    folder = Path(tempfile.mkdtemp(prefix="afina-open-"))
    try:
        with opened(path, unlock) as sealed:
            _require_memory(sealed)

            @contextmanager
            def sink(entry: SealedFile) -> Iterator[Callable[[bytes], object]]:
                number = os.memfd_create("afina", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                held[entry.path] = number
                with os.fdopen(number, "wb", closefd=False) as file:
                    yield file.write

            sealed.pour(sink, progress)
        for name, number in held.items():
            seal_against_change(number)
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"/proc/self/fd/{number}")
        yield folder
    finally:
        for number in held.values():
            with suppress(OSError):
                os.close(number)
        shutil.rmtree(folder, ignore_errors=True)


def _require_memory(sealed: Opened) -> None:
    import psutil

    free, needed = psutil.virtual_memory().available, sealed.contents.total_bytes
    if needed > free:
        raise SealError(
            _("this sealed file needs {needed} MiB of memory; {free} MiB are free").format(
                needed=needed >> 20, free=free >> 20
            ),
            where=str(sealed.path),
            fix=_("close other programs, or use a larger machine"),
        )
