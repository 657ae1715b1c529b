"""Where runs live: a local folder, or any URI that fsspec knows (s3://, gs://, sftp://, memory://…).

Work is always done in a local folder. For a URI that folder is a copy in the cache: fetched when the
run is opened, and pushed after every stage and every checkpoint.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from afina.errors import StorageError
from afina.language import _
from afina.runs.files import atomic


def cache_folder() -> Path:
    """Afina's cache: $AFINA_CACHE, else the user's cache folder."""
    chosen = os.environ.get("AFINA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "afina"


class Store:
    """A place with runs in it, `PLACE/NAME/NUMBER`."""

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") or "/"
        self.remote: Any = None
        if "://" in place:
            import fsspec

            try:
                self.remote, self._base = fsspec.core.url_to_fs(self.place)
            except (ValueError, ImportError) as error:
                raise StorageError(
                    _("this place cannot be used: {error}").format(error=error), where=place
                ) from None
            digest = hashlib.sha256(self.place.encode()).hexdigest()[:16]
            self.folder = cache_folder() / "runs" / digest
        else:
            self.folder = Path(place)

    def names(self) -> list[str]:
        """The names of the runs here."""
        return sorted(name for name in self._children("") if self.numbers(name))

    def numbers(self, name: str) -> list[int]:
        """The numbers of the runs of one name."""
        return sorted(int(child) for child in self._children(name) if child.isdigit())

    def _children(self, relative: str) -> list[str]:
        if self.remote is None:
            folder = self.folder / relative
            return [child.name for child in folder.iterdir() if child.is_dir()] if folder.is_dir() else []
        base = f"{self._base}/{relative}".rstrip("/")
        if not self.remote.exists(base):
            return []
        entries = self.remote.ls(base, detail=True)
        return [
            entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory"
        ]

    def local(self, name: str, number: int) -> Path:
        """The local folder of a run."""
        return self.folder / name / str(number)

    def fetch(self, name: str, number: int) -> Path:
        """The local folder of a run, with what its place has and it lacks."""
        folder = self.local(name, number)
        if self.remote is not None:
            base = f"{self._base}/{name}/{number}"
            for remote_path, info in sorted(self.remote.find(base, detail=True).items()):
                relative = remote_path[remote_path.index(base) + len(base) + 1 :]
                target = folder / relative
                if not target.exists() or target.stat().st_size != info["size"]:
                    with atomic(target) as temporary:
                        self.remote.get_file(remote_path, str(temporary))
        return folder

    def push(self, folder: Path, relative: str) -> None:
        """Makes the place equal to the local folder of a run; nothing to do for a local place.

        Files that say that something is done (stages, run.json) go last, so that a place never claims
        what it does not have.
        """
        if self.remote is None:
            return
        base = f"{self._base}/{relative}"
        there = self.remote.find(base, detail=True) if self.remote.exists(base) else {}
        sizes = {path[path.index(base) + len(base) + 1 :]: info["size"] for path, info in there.items()}
        local = {
            str(path.relative_to(folder)): path
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        }
        for name, path in sorted(local.items(), key=lambda item: (item[0].startswith("stages/"), item[0])):
            if path.suffix in (".json", ".jsonl", ".yaml") or sizes.get(name) != path.stat().st_size:
                self.remote.makedirs(f"{base}/{name}".rpartition("/")[0], exist_ok=True)
                self.remote.put_file(str(path), f"{base}/{name}")
        for name in set(sizes) - set(local):
            self.remote.rm_file(f"{base}/{name}")
