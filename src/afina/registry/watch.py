"""Which version is in use now: cheap to ask again and again, for a server that follows the champion."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from afina.errors import AfinaError
from afina.registry.finding import named_version
from afina.registry.place import file_of
from afina.registry.store import Registry
from afina.registry.version import Version

# A file that was written so short a time ago may be written once more in the same tick of its clock.
_TICK_SECONDS = 1.0
# So often the registry is asked even though nothing told of a change.
_AT_LEAST_SECONDS = 30.0


@dataclass(frozen=True)
class Current:
    """The version that an alias means.

    Attributes:
        generation: grows with each change that Afina made; not with those made in MLflow by hand.
        run: `phishing@2`. folder: its path, or its URI.
    """

    name: str
    alias: str
    version: int
    run: str
    folder: str
    manifest_sha256: str
    generation: int

    @property
    def title(self) -> str:
        """`phishing@v3`."""
        return f"{self.name}@v{self.version}"

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"title": self.title, **asdict(self)}


def current(registry: Registry, name: str, alias: str = "champion") -> Current:
    """What an alias means now: two questions to the registry. Raises AfinaError when it has no such."""
    found = named_version(registry, name, alias)
    return _current(found, alias, registry.model(name).generation)


def _current(version: Version, alias: str, generation: int) -> Current:
    return Current(
        name=version.name,
        alias=alias,
        version=version.number,
        run=version.run,
        folder=version.folder,
        manifest_sha256=version.manifest_sha256,
        generation=generation,
    )


class Watch:
    """Tells when an alias moves to another version, whoever moved it.

    With SQLite, `changed` looks at the file's time and size, in microseconds, and asks only when they
    differ. A server is asked at most every `seconds`. A registry that does not answer changes nothing.

    Attributes:
        current: the version in use; None while there is none.
        fault: why the registry did not answer the last time; None when it did.
    """

    def __init__(
        self, registry: Registry, name: str, alias: str = "champion", seconds: float = 2.0
    ) -> None:
        self._registry, self._name, self._alias, self._seconds = registry, name, alias, seconds
        self._seen: tuple[int, int] | None = None
        self._settled = False
        self._asked = -_AT_LEAST_SECONDS
        self.current: Current | None = None
        self.fault: str | None = None
        self.changed()

    def changed(self) -> Current | None:
        """The version that the alias means now, if that is another one than before; else None."""
        if not self._is_due():
            return None
        self._asked = time.monotonic()
        try:
            found = self._look()
        except AfinaError as error:
            self.fault = error.what
            return None
        self.fault = None
        if found is None or (self.current is not None and found.version == self.current.version):
            return None
        self.current = found
        return found

    def _look(self) -> Current | None:
        """The version in use, asked only for what may have changed."""
        model = self._registry.find(self._name)
        number = model.aliases.get(self._alias) if model is not None else None
        if model is None or number is None:
            return None
        if self.current is not None and number == self.current.version:
            return self.current
        return _current(self._registry.version(model, number), self._alias, model.generation)

    def _is_due(self) -> bool:
        """Whether the registry has to be asked."""
        since = time.monotonic() - self._asked
        file = file_of(self._registry.uri)
        if file is None:
            return since >= self._seconds
        try:
            state = file.stat()
        except OSError:
            return False
        mark = (state.st_mtime_ns, state.st_size)
        if mark == self._seen and self._settled and since < _AT_LEAST_SECONDS:
            return False
        self._settled = time.time() - state.st_mtime > _TICK_SECONDS
        self._seen = mark
        return True
