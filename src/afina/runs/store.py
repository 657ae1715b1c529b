"""Where runs live: a local folder, or any URI that fsspec knows (s3://, gs://, sftp://, memory://…).

Work is always done in a local folder. For a URI that folder is a copy in the cache: fetched when the
run is opened, and pushed after every stage and every checkpoint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, StorageError
from afina.language import _
from afina.runs.files import atomic, read_json, storage_error, write_json

_MARKS = ".place.json"


def cache_folder() -> Path:
    """Afina's cache: $AFINA_CACHE, else the user's cache folder."""
    chosen = os.environ.get("AFINA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "afina"


def config_folder() -> Path:
    """What a person has chosen or made: $AFINA_CONFIG, else the user's config folder."""
    chosen = os.environ.get("AFINA_CONFIG")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "afina"


@contextmanager
def writing_cache() -> Iterator[None]:
    """Inside, a fault of the disk is told as one of Afina's cache. Raises StorageError."""
    try:
        yield
    except OSError as error:
        known = storage_error(error)
        raise StorageError(
            _("Afina's cache cannot be written: {error}").format(
                error=known.what if known else error.strerror or error
            ),
            where=str(cache_folder()),
            fix=_("set AFINA_CACHE to a folder that can be written and has room"),
        ) from None


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
            return (
                [child.name for child in folder.iterdir() if child.is_dir()] if folder.is_dir() else []
            )
        base = f"{self._base}/{relative}".rstrip("/")
        with self._answering():
            self.remote.invalidate_cache()
            if not self.remote.exists(base):
                return []
            entries = self.remote.ls(base, detail=True)
        return [
            entry["name"].rstrip("/").rsplit("/", 1)[-1]
            for entry in entries
            if entry["type"] == "directory"
        ]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What a place's library raises, as a StorageError."""
        try:
            yield
        except AfinaError:
            raise
        except Exception as error:  # each library behind fsspec has its own kinds
            known = storage_error(error) if isinstance(error, OSError) and error.filename else None
            raise known or StorageError(
                _("this place does not answer as it should: {error}").format(
                    error=f"{type(error).__name__}: {error}".splitlines()[0]
                ),
                where=self.place,
                fix=_(
                    "check the address, the account and the connection, then run the same command again"
                ),
            ) from error

    def local(self, name: str, number: int) -> Path:
        """The local folder of a run."""
        return self.folder / name / str(number)

    def fetch(self, name: str, number: int, light: bool = False) -> Path:
        """The local folder of a run, brought up to date with its place.

        A file is taken when the place's copy is not the one that was last sent or taken; what only the
        local copy has (a crash came before it was sent) stays.

        Args:
            light: only the small files that tell of a run, without weights and tables.
        """
        folder = self.local(name, number)
        if self.remote is None:
            return folder
        with self._answering():
            there = self._listed(f"{name}/{number}")
            known = self._known(folder)
            for relative, mark in sorted(there.items()):
                if light and not _is_light(relative):
                    continue
                target = folder / relative
                if known.get(relative, [""])[0] != mark or not target.exists():
                    with atomic(target) as temporary:
                        self.remote.get_file(f"{self._base}/{name}/{number}/{relative}", str(temporary))
                    known[relative] = [mark, _local_mark(target)]
            for relative in set(known) - set(there):
                (folder / relative).unlink(missing_ok=True)
                del known[relative]
            self._remember(folder, known)
        return folder

    def push(self, folder: Path, relative: str) -> None:
        """Makes the place equal to the local folder of a run; nothing to do for a local place.

        Files that say that something is done (stages/) go last, so that a place never claims what it
        does not have.
        """
        if self.remote is None:
            return
        base = f"{self._base}/{relative}"
        with self._answering():
            there, known = self._listed(relative), self._known(folder)
            local = {
                str(path.relative_to(folder)): _local_mark(path)
                for path in folder.rglob("*")
                if path.is_file()
                and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            }
            for name, mark in sorted(
                local.items(), key=lambda item: (item[0].startswith("stages/"), item[0])
            ):
                if known.get(name) != [there.get(name), mark]:
                    self.remote.makedirs(f"{base}/{name}".rpartition("/")[0], exist_ok=True)
                    self.remote.put_file(str(folder / name), f"{base}/{name}")
            for name in set(there) - set(local):
                self.remote.rm_file(f"{base}/{name}")
            sent = self._listed(relative)
            self._remember(
                folder, {name: [sent[name], mark] for name, mark in local.items() if name in sent}
            )

    def _listed(self, relative: str) -> dict[str, str]:
        """The files of a run in its place, each with a mark that changes when the file does."""
        base = f"{self._base}/{relative}"
        self.remote.invalidate_cache()
        if not self.remote.exists(base):
            return {}
        found = self.remote.find(base, detail=True)
        return {path[path.index(base) + len(base) + 1 :]: _mark(info) for path, info in found.items()}

    def _known(self, folder: Path) -> dict[str, list[str]]:
        """The marks of the files, in the place and here, when they were last sent or taken."""
        path = folder / _MARKS
        return dict(read_json(path)) if path.exists() else {}

    def _remember(self, folder: Path, marks: dict[str, list[str]]) -> None:
        if marks:
            write_json(folder / _MARKS, marks)


def _mark(info: dict[str, Any]) -> str:
    """Size, and whatever else this kind of place knows that changes with a file."""
    names = (
        "ETag",
        "etag",
        "md5Hash",
        "content_md5",
        "mtime",
        "LastModified",
        "last_modified",
        "updated",
        "created",
    )
    return "|".join([str(info["size"]), *(str(info[name]) for name in names if name in info)])


def _local_mark(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size}|{state.st_mtime_ns}"


def _is_light(relative: str) -> bool:
    """Whether a file tells of a run, and is not of its model."""
    return Path(relative).suffix in (".json", ".jsonl", ".yaml") and not relative.startswith(
        ("release/adapter/", "release/model/")
    )
