"""A small release, two key pairs, and a sealed file of it, chunk by chunk."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from afina.seals.contents import Contents
from afina.seals.header import Header
from afina.seals.opening import open_to_bytes
from afina.seals.recipients import Recipient, new_pair
from afina.seals.streams import sealed_bytes
from afina.seals.unlocking import unlock_by
from afina.seals.writer import seal_folder

CHUNK = 1024
LOG2_N = 14  # 16 MiB: quick, where tests need a passphrase at all
# Sizes around whole chunks, an empty file, and one of many chunks.
FILES = {
    "adapter/weights": 5 * CHUNK + 17,
    "empty": 0,
    "exact": 2 * CHUNK,
    "inference.json": 300,
    "short": CHUNK - 1,
}


def write_release(folder: Path, sizes: dict[str, int], seed: int = 3) -> Path:
    """A folder with such files and their manifest."""
    drawn = random.Random(seed)
    listed = {}
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn.randbytes(size))
        listed[name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": size}
    (folder / "manifest.json").write_text(json.dumps({"schema": "afina/manifest/1", "files": listed}))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """What is in a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@dataclass(frozen=True)
class Sealed:
    """A sealed file and all that belongs to it."""

    path: Path
    release: Path
    keys: Path
    header: Header
    contents: Contents

    def opener(self, key: str = "ana", where: Path | None = None):
        """What opens it by a private key."""
        return unlock_by(key, None, None, self.keys, where or self.path)

    def read(self, path: Path, key: str = "ana") -> dict[str, bytes]:
        """The files of a sealed file, by Ana's key."""
        return open_to_bytes(path, self.opener(key, path))

    def chunks(self) -> tuple[bytes, list[list[bytes]]]:
        """The file in pieces: what stands before the chunks, and the chunks of each file."""
        raw = self.path.read_bytes()
        sizes = [sealed_bytes(file.bytes, self.header.chunk_bytes) for file in self.contents.files]
        at = len(raw) - sum(sizes)
        head, files = raw[:at], []
        step = self.header.chunk_bytes + 16
        for size in sizes:
            part = raw[at : at + size]
            files.append([part[start : start + step] for start in range(0, size, step)])
            at += size
        return head, files


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> tuple[Path, dict[str, Recipient]]:
    """A folder of keys: ana and bob have private keys, neither with a passphrase."""
    folder = tmp_path_factory.mktemp("keys")
    return folder, {name: new_pair(name, None, folder) for name in ("ana", "bob", "eve")}


@pytest.fixture(scope="session")
def sealed(tmp_path_factory, pairs) -> Sealed:
    """The release, sealed for Ana and Bob."""
    keys, people = pairs
    place = tmp_path_factory.mktemp("sealed")
    release = write_release(place / "release", FILES)
    publics = [people["ana"].public, people["bob"].public]
    path = place / "release.sealed"
    header, contents = seal_folder(release, path, publics, None, "release", chunk_bytes=CHUNK)
    return Sealed(path, release, keys, header, contents)
