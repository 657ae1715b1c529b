"""New files and folders that are whole or not there, and that never take the place of another."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from afina.errors import StorageError
from afina.language import _
from afina.runs.files import name_file


@contextmanager
def new_file(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """A temporary path beside `path`; it becomes `path` when the block ends well, and is removed
    otherwise. Raises StorageError when there is something at `path`, also if it came in between."""
    require_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    os.close(handle)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(mode)
        _rename_without_replacing(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError):
            name_file(error, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, for this user only; it becomes `path` when the block ends well,
    and is removed otherwise. Raises StorageError when there is something at `path`."""
    require_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        try:
            temporary.rename(path)  # refused by a folder that holds anything, and by a file
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise occupied(path) from None
            raise
    except BaseException as error:
        if isinstance(error, OSError):
            name_file(error, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def leftovers(path: Path) -> list[Path]:
    """What writers of `path` that were killed have left beside it, unless one is still at work."""
    above = path.parent
    return sorted(above.glob(f".{path.name}.*.part")) if above.is_dir() else []


def require_free(path: Path) -> None:
    """Raises StorageError when something is at `path`; an empty folder is nothing."""
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise occupied(path)


def occupied(path: Path) -> StorageError:
    """There is something in the place that was chosen."""
    return StorageError(
        _("there is something at this place already, and nothing is written over"),
        where=str(path),
        fix=_("choose another place with --out"),
    )


def _rename_without_replacing(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise occupied(path) from None
    except OSError:  # a disk without hard links
        require_free(path)
        temporary.replace(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
