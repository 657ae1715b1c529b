"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from afina.errors import StorageError
from afina.language import _


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to it when the block ends well, removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            name_file(error, path)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that replaces `path` when the block ends well, and is removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        temporary.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
            path.rename(old / "old")
            temporary.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def name_file(error: OSError, path: Path) -> None:
    """Notes in an error of writing which file it is about, where the system does not say."""
    if error.errno is not None and error.filename is None:
        error.filename = str(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left half-written in `folder`."""
    for pattern in (".*.part", ".*.old"):
        for path in folder.rglob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises StorageError when the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(
            _("this file is missing: what writes it has not been done, or it was removed"),
            where=str(path),
            fix=_("run `afina run` with the recipe or the run first"),
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(
            _("this file is damaged: it does not hold JSON"),
            where=str(path),
            fix=_("remove the file and run the same command again ({error})").format(error=error),
        ) from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_value(value: Any) -> str:
    """SHA-256 of a JSON value in a canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


_CODES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EMFILE,
)


def _in_words(code: int) -> str:
    """What a person should read for a number of errno.h that is in _CODES."""
    return {
        errno.ENOSPC: _("the disk is full"),
        errno.EDQUOT: _("the disk quota is used up"),
        errno.EROFS: _("the folder is read-only"),
        errno.EACCES: _("there is no permission to write or read here"),
        errno.EPERM: _("there is no permission to write or read here"),
        errno.EIO: _("the disk does not answer"),
        errno.ENOTDIR: _("a file is where a folder should be"),
        errno.EEXIST: _("a file is where a folder should be"),
        errno.EISDIR: _("a folder is where a file should be"),
        errno.ENAMETOOLONG: _("this name is too long for the disk"),
        errno.EMFILE: _("too many files are open"),
    }[code]


def storage_error(error: BaseException) -> StorageError | None:
    """What a person should read when writing failed; None when `error` is of another kind.

    Libraries in Rust and C++ report the same faults with the number only in their text.
    """
    if isinstance(error, StorageError):
        return error
    code = getattr(error, "errno", None)
    if code not in _CODES:
        text = str(error)
        code = next(
            (
                known
                for known in _CODES
                if f"os error {known})" in text
                or f"errno {known}]" in text.lower()
                or os.strerror(known) in text
            ),
            None,
        )
    if code is None:
        return None
    fixes = {
        errno.ENOSPC: _("free some space and run the same command again: it goes on where it stopped"),
        errno.EDQUOT: _("free some space and run the same command again: it goes on where it stopped"),
    }
    fix = fixes.get(code, _("choose another folder with --runs FOLDER, or change its permissions"))
    where = getattr(error, "filename", None)
    return StorageError(_in_words(code), where=None if where is None else str(where), fix=fix)
