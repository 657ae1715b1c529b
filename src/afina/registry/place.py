"""Where the registry is: beside the runs, in a SQLite file, or on an MLflow server."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from afina.errors import AfinaError
from afina.language import _
from afina.runs.store import Store
from afina.tracking.places import SQLITE, beside

VARIABLE = "AFINA_REGISTRY"


def registry_uri(runs: str, chosen: str | None = None) -> str:
    """The registry's address: `chosen`, else $AFINA_REGISTRY, else the one beside the runs.

    Args:
        runs: the folder or URI with the runs; `local` means `tracking/mlflow.db` beside it, the store
            that `track.mlflow: local` writes too.
    Raises:
        AfinaError: for what is no address.
    """
    named = chosen or os.environ.get(VARIABLE) or "local"
    if named == "local":
        return f"{SQLITE}{beside(Store(runs)) / 'mlflow.db'}"
    if named.startswith(SQLITE) and len(named) > len(SQLITE):
        return f"{SQLITE}{Path(named.removeprefix(SQLITE)).resolve()}"
    parts = urlsplit(named)
    if named != "databricks" and ("://" not in named or not parts.netloc or parts.scheme == "file"):
        raise AfinaError(
            _("`{place}` is no place of a registry").format(place=shown(named)),
            fix=_("give local, or an address such as http://127.0.0.1:5000 or sqlite:///mlflow.db"),
        )
    return named


def shown(uri: str) -> str:
    """An address for people: without user and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def file_of(uri: str) -> Path | None:
    """The SQLite file of an address; None for a server."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def is_server(uri: str) -> bool:
    """Whether other machines read this registry, and files can be sent to it."""
    return uri == "databricks" or urlsplit(uri).scheme in ("http", "https", "databricks")
