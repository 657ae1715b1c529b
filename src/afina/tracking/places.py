"""Where a run is tracked: what `track.mlflow` means, and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from afina.runs.folder import Run
from afina.runs.store import Store, cache_folder

SQLITE = "sqlite:///"


def uri_of(run: Run, chosen: str) -> str:
    """The tracking URI that `track.mlflow` means for a run; SQLite paths become absolute."""
    if chosen == "local":
        return f"{SQLITE}{local_folder(run) / 'mlflow.db'}"
    if chosen.startswith(SQLITE):
        return f"{SQLITE}{Path(chosen.removeprefix(SQLITE)).resolve()}"
    return chosen


def local_folder(run: Run) -> Path:
    """`tracking/` beside the folder with the runs; in Afina's cache for runs at a URI."""
    return beside(run.store)


def beside(store: Store) -> Path:
    """The same, known from the place of the runs."""
    above = cache_folder() if store.remote is not None else store.folder.resolve().parent
    return above / "tracking"


def artifacts_of(uri: str) -> str | None:
    """Where a SQLite store's artifacts go: `artifacts/` beside it. None: the server knows."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).parent / "artifacts").as_uri()


def folder_of(path_or_uri: str) -> Path:
    """The local path of a file: URI."""
    return Path(unquote(urlsplit(path_or_uri).path))
