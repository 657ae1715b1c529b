"""The list of what a sealed file holds: paths that are safe to write, sizes, the manifest's hash."""

from __future__ import annotations

import json
import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from afina.errors import SealError
from afina.language import _
from afina.seals.header import canonical, whole_number
from afina.trust.manifest import MANIFEST as MANIFEST

CONTENTS_SCHEMA = "afina/seal_contents/1"
MOST_CONTENTS_BYTES = 1 << 22
MOST_FILES = 10_000
MOST_FILE_BYTES = 1 << 50
MOST_PATH_BYTES, MOST_PART_BYTES = 1000, 255
# Not in a name on some system: what ends a path, a drive or a stream, and control characters.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


@dataclass(frozen=True)
class SealedFile:
    """One file: its path with slashes, relative to the release, and its bytes."""

    path: str
    bytes: int


@dataclass(frozen=True)
class Contents:
    """What is sealed.

    Attributes:
        name: what a person calls it, as `phishing@2`.
        manifest_sha256: SHA-256 of manifest.json, in hexadecimal.
        files: in the order in which they are sealed.
    """

    name: str
    manifest_sha256: str
    files: tuple[SealedFile, ...]

    @property
    def total_bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)

    def encoded(self) -> bytes:
        """The only bytes that say this."""
        return canonical(
            {
                "schema": CONTENTS_SCHEMA,
                "name": self.name,
                "manifest_sha256": self.manifest_sha256,
                "files": [[file.path, file.bytes] for file in self.files],
            }
        )


def parsed_contents(raw: bytes, where: Path) -> Contents:
    """The list from its bytes.

    Raises:
        SealError: for another form, a path that leads out of the folder, or a name that is there twice.
    """
    try:
        value = json.loads(raw)
        contents = _from_json(value)
        same = contents.encoded() == raw
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        same = False
    if not same:
        raise SealError(
            _("the list of files in this sealed file has another form than Afina writes"),
            where=str(where),
            fix=_("use the version of Afina that made it"),
        )
    require_safe([file.path for file in contents.files], where)
    return contents


def _from_json(value: Any) -> Contents:
    if set(value) != {"schema", "name", "manifest_sha256", "files"}:
        raise ValueError("other keys")
    name, digest, files = value["name"], value["manifest_sha256"], value["files"]
    if value["schema"] != CONTENTS_SCHEMA or not isinstance(name, str) or len(name) > MOST_PART_BYTES:
        raise ValueError("another form")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("no hash")
    if not isinstance(files, list) or len(files) > MOST_FILES:
        raise ValueError("no list of files, or a very long one")
    if not all(isinstance(path, str) for path, _size in files):
        raise ValueError("no path")
    entries = tuple(SealedFile(path, whole_number(size, 0, MOST_FILE_BYTES)) for path, size in files)
    return Contents(name, digest, entries)


def require_safe(paths: list[str], where: Path) -> None:
    """Raises SealError for a path that leads out of its folder or that not every system can write, for
    one that is there twice (also where a disk takes A for a), and when manifest.json is missing."""
    seen: set[str] = set()
    for path in paths:
        if not _is_safe(path):
            raise SealError(
                _("{path!r} is no safe path for a file in a release").format(path=path[:200]),
                where=str(where),
                fix=_("open nothing of it; ask for it again where it comes from"),
            )
        folded = _folded(path)
        if folded in seen:
            raise SealError(
                _("{path!r} is there twice").format(path=path[:200]),
                where=str(where),
                fix=_("names must differ in more than capital letters, and no file be a folder too"),
            )
        seen.add(folded)
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if _folded(str(parent)) in seen:
                raise SealError(
                    _("{path!r} is there twice").format(path=str(parent)[:200]),
                    where=str(where),
                    fix=_("names must differ in more than capital letters, and no file be a folder too"),
                )
    if MANIFEST not in paths:
        raise no_manifest(where)


def no_manifest(where: Path) -> SealError:
    """There is no release here: only a release says which files it has."""
    return SealError(
        _("there is no manifest.json: only a finished release is sealed"),
        where=str(where),
        fix=_("finish it with `afina run`"),
    )


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _is_safe(path: str) -> bool:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return False
    parts = path.split("/")
    return (
        0 < len(encoded) <= MOST_PATH_BYTES
        and not _UNSAFE.search(path)
        and all(
            part not in ("", ".", "..")
            and len(part.encode()) <= MOST_PART_BYTES
            and part[-1] not in ". "
            and not _DEVICE.match(part)
            for part in parts
        )
    )


def files_in(folder: Path) -> list[SealedFile]:
    """Every file in a folder, by path.

    Raises:
        SealError: for a link or anything else that is no file or folder, and for an unsafe name.
    """
    found: list[SealedFile] = []
    for above, folders, names in os.walk(folder, onerror=_raise):
        for name in [*folders, *names]:
            path = Path(above) / name
            state = path.lstat()
            if stat.S_ISREG(state.st_mode):
                relative = path.relative_to(folder).as_posix()
                found.append(SealedFile(relative, state.st_size))
            elif not stat.S_ISDIR(state.st_mode):
                raise SealError(
                    _("this is a link, or no ordinary file: it cannot be sealed"),
                    where=str(path),
                    fix=_("put the file itself into its place"),
                )
    found.sort(key=lambda file: file.path)
    require_safe([file.path for file in found], folder)
    return found


def _raise(error: OSError) -> None:
    raise error


def require_as_listed(manifest: bytes, digests: dict[str, str], where: Path) -> None:
    """Compares every file that the manifest names with its hash.

    Args:
        manifest: the bytes of manifest.json. digests: SHA-256 of each file, in hexadecimal, by path.
    Raises:
        SealError: names the first file that is missing or is another one.
    """
    try:
        listed = {
            str(path): str(entry["sha256"]) for path, entry in json.loads(manifest)["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SealError(
            _("this release's manifest.json cannot be read"),
            where=str(where),
            fix=_("seal it again from where it was made"),
        ) from None
    for path, digest in sorted(listed.items()):
        if digests.get(path) != digest:
            raise SealError(
                _("{path} is not the file that the release's manifest names").format(path=path)
                if path in digests
                else _("the release's manifest names {path}, which is missing").format(path=path),
                where=str(where),
                fix=_("seal it again from where it was made"),
            )
