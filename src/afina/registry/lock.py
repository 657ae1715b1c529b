"""One change of a model's aliases at a time: a file's lock beside SQLite, a marker on a server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from afina.errors import AfinaError
from afina.language import _
from afina.registry.place import file_of, shown
from afina.registry.store import Registry

# Writing the aliases takes a second at most; whoever takes longer than STALE was stopped in the middle.
PATIENCE, PAUSE, STALE = 5.0, 0.2, 120.0


@contextmanager
def changing(registry: Registry, name: str, who: str) -> Iterator[None]:
    """Inside, no other process changes the aliases of this model.

    A file's lock ends with its process. On a server it is a registered model `NAME.lock`: making one is
    what only one process can do; one that is older than two minutes is removed.

    Raises:
        AfinaError: when another process does not end its change within five seconds.
    """
    file = file_of(registry.uri)
    if file is None:
        with _marked(registry, f"{name}.lock", who):
            yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.parent / ".registry.lock")
    try:
        lock.acquire(timeout=PATIENCE, poll_interval=PAUSE)
    except Timeout:
        raise _taken(registry, name, "") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _marked(registry: Registry, marker: str, who: str) -> Iterator[None]:
    """The lock of a server: a registered model that is there while the change lasts."""
    client, until = registry.client, time.monotonic() + PATIENCE
    from mlflow.exceptions import MlflowException

    while True:
        with registry.answering():
            try:
                client.create_registered_model(marker, tags={"afina.lock": who})
                break
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        holder = _holder(registry, marker)
        if time.monotonic() > until and holder is not None:
            raise _taken(registry, marker.removesuffix(".lock"), holder)
        time.sleep(PAUSE)
    try:
        yield
    finally:
        with registry.answering():
            client.delete_registered_model(marker)


def _holder(registry: Registry, marker: str) -> str | None:
    """Who holds the lock; None when nobody does any more. One that was left behind is removed."""
    from mlflow.exceptions import MlflowException

    with registry.answering():
        try:
            found = registry.client.get_registered_model(marker)
            if time.time() - found.creation_timestamp / 1000 > STALE:
                registry.client.delete_registered_model(marker)
                return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
    return str(dict(found.tags).get("afina.lock", ""))


def _taken(registry: Registry, name: str, holder: str) -> AfinaError:
    what = _("another process is changing the aliases of {name}").format(name=name)
    return AfinaError(
        f"{what} ({holder})" if holder else what,
        where=shown(registry.uri),
        fix=_("run the same command again when it has ended"),
    )
