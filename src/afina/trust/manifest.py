"""The manifest of a release: every file with its SHA-256 and size, read strictly."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from afina.errors import StorageError
from afina.language import _
from afina.runs.files import sha256_of, write_json
from afina.runs.memory_files import in_memory

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = "afina/manifest/1"
SIGNATURES = "signatures"
# OpenSSF Model Signing's bundle, the detached ML-DSA-65 signature, and who signed.
BUNDLE = f"{SIGNATURES}/model.sig"
ML_DSA = f"{SIGNATURES}/{MANIFEST}.ml-dsa-65"
SIGNER = f"{SIGNATURES}/signer.json"
SIGNATURE_FILES = (BUNDLE, ML_DSA, SIGNER)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def write_manifest(folder: Path, value: dict[str, Any]) -> dict[str, Any]:
    """Writes manifest.json over every file that is in the folder now, its signatures aside.

    Args:
        value: what else it says: name, run, parents, seed, versions.
    Returns:
        What was written: `value` with `schema` and `files`, {name: {"sha256", "bytes"}}.
    Raises:
        StorageError: for a link or anything else in the folder that is no plain file.
    """
    files = {
        name: {"sha256": sha256_of(folder / name), "bytes": size}
        for name, size in sizes(folder).items()
        if name != MANIFEST and not name.startswith(f"{SIGNATURES}/")
    }
    written = {"schema": MANIFEST_SCHEMA, **value, "files": files}
    write_json(folder / MANIFEST, written)
    return written


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        StorageError: when there is none, or it is none: another schema, a key twice, a name that leaves
            the folder, a hash that is none.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StorageError(
            _("this folder has no manifest: nothing says what its files should be"),
            where=str(path),
            fix=_("copy the release again from where it was made, or make it with `afina run`"),
        )
    try:
        value = json.loads(path.read_bytes(), object_pairs_hook=_once)
        sound = value["schema"] == MANIFEST_SCHEMA and all(
            _is_inside(name)
            and set(entry) == {"sha256", "bytes"}
            and _DIGEST.fullmatch(entry["sha256"])
            and type(entry["bytes"]) is int
            for name, entry in value["files"].items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise damaged(path, folder)
    return dict(value)


def manifest_sha256(folder: Path) -> str:
    """SHA-256 of the bytes of manifest.json, in hexadecimal. Raises StorageError when there is none."""
    read_manifest(folder)
    return sha256_of(folder / MANIFEST)


def require_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Compares a folder with its manifest: no file differs, is missing, or is too many.

    Raises:
        StorageError: names the file.
    """
    there, wanted = sizes(folder), manifest["files"]
    for name, entry in wanted.items():
        if there.get(name) != entry["bytes"]:  # of another size: not worth a hash
            raise damaged(folder / name, folder)
    for name in there:
        if name not in wanted and name not in (MANIFEST, *SIGNATURE_FILES):
            raise StorageError(
                _("this file is in the release, but not in its manifest"),
                where=str(folder / name),
                fix=_("remove it; a release holds only what was there when it was made"),
            )
    for name, entry in wanted.items():
        if sha256_of(folder / name) != entry["sha256"]:
            raise damaged(folder / name, folder)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file under a folder, by its name in it (with /), in order.

    Raises:
        StorageError: for a link, or anything else that is no plain file: it may lead elsewhere. A link
            to an unchangeable file in this process's memory is a plain file.
    """
    found: dict[str, int] = {}
    pending = [""]
    while pending:
        above = pending.pop()
        with os.scandir(folder / above) as entries:
            for entry in entries:
                name = f"{above}{entry.name}"
                kind = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(kind.st_mode):
                    pending.append(f"{name}/")
                elif stat.S_ISREG(kind.st_mode):
                    found[name] = kind.st_size
                elif in_memory(folder / name):
                    found[name] = entry.stat().st_size
                else:
                    raise StorageError(
                        _("this is a link, or no file at all: a release holds plain files only"),
                        where=str(folder / name),
                        fix=_("put the file itself in its place, or copy the release again"),
                    )
    return dict(sorted(found.items()))


def is_signed(folder: Path) -> bool:
    """Whether there is anything that may be a signature."""
    return os.path.lexists(folder / SIGNATURES)


def damaged(path: Path, release: Path) -> StorageError:
    """What a person should read of a release's file that is not as it was written."""
    run = release.parent
    if not (run / "run.json").exists():
        fix = _("copy the release again from where it was made")
    elif is_signed(release):
        fix = _(
            "copy the release again from where it was sent; or remove {signatures}, make the model "
            "again with `afina run {run}` and sign it again"
        ).format(signatures=release / SIGNATURES, run=run)
    else:
        fix = _("run `afina run {run}`: it notices, and makes the model again").format(run=run)
    what = (
        _("this file of the release is not the one that was written: it was changed or damaged")
        if path.exists()
        else _("this file of the release is missing")
    )
    return StorageError(what, where=str(path), fix=fix)


def _is_inside(name: str) -> bool:
    """Whether a name in a manifest is that of a file in the folder, said in the one way there is."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and str(path) == name
        and not path.is_absolute()
        and ".." not in path.parts
        and not set(name) & {"\\", ":", "\0"}
        and name != MANIFEST
        and path.parts[0] != SIGNATURES
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are there once: of two, readers may take either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
