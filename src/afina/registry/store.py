"""MLflow's model registry as Afina uses it: registered models, versions, aliases, a journal of changes.

The journal is kept as tags of the registered model, so that it is where the aliases are, whoever looks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from afina.errors import AfinaError, MissingExtra, StorageError
from afina.language import _
from afina.registry.place import file_of, shown
from afina.registry.version import SCHEMA, Version, version_of

ALIASES = ("champion", "candidate", "previous")
JOURNAL = "afina.journal."
_PAGE = 200
Aliases = dict[str, int | None]


@dataclass(frozen=True)
class Entry:
    """A change of aliases, as the journal keeps it.

    Attributes:
        number: 1, 2, …; the newest one is the model's generation.
        at: ISO 8601, UTC. who: user@host. why: what the person gave as the reason.
        action: add, promote or rollback.
        version: the one that was added, became champion again or for the first time.
        before, after: the aliases, by champion, candidate and previous; None where there was none.
        state: begun (a process was stopped in the middle; the next change settles it), done, undone.
    """

    number: int
    at: str
    who: str
    action: Literal["add", "promote", "rollback"]
    version: int
    before: Aliases
    after: Aliases
    why: str = ""
    state: Literal["begun", "done", "undone"] = "begun"


@dataclass(frozen=True)
class Model:
    """A registered model: its aliases and its journal, oldest entry first."""

    name: str
    aliases: dict[str, int]
    journal: tuple[Entry, ...] = field(default=())

    @property
    def generation(self) -> int:
        """A number that grows with each change of aliases by Afina."""
        return self.journal[-1].number if self.journal else 0

    def places(self) -> Aliases:
        """The three aliases, None where there is none."""
        return {alias: self.aliases.get(alias) for alias in ALIASES}


class Registry:
    """One registry. Raises StorageError where MLflow does not answer, MissingExtra without MLflow."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def client(self) -> Any:
        """MLflow's client; makes the SQLite file when there is none."""
        from afina.tracking.mlflow_store import client_class

        try:
            kind = client_class()
        except MissingExtra as error:
            raise MissingExtra(
                _("the registry needs MLflow: {what}").format(what=error.what),
                fix=_("pip install 'afina[track]'"),
            ) from None
        file = file_of(self.uri)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        with self.answering():
            return kind(self.uri, registry_uri=self.uri)

    def is_there(self) -> bool:
        """Whether anything can be registered here: a SQLite file that was never made holds nothing."""
        file = file_of(self.uri)
        return file is None or file.exists()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """What MLflow and its libraries raise, as a StorageError."""
        try:
            yield
        except AfinaError:
            raise
        except Exception as error:  # mlflow, requests, sqlalchemy: there is no common kind
            lines = str(error).splitlines() or [""]
            raise StorageError(
                _("the registry does not answer as it should: {error}").format(
                    error=f"{type(error).__name__}: {lines[0]}"[:300]
                ),
                where=shown(self.uri),
                fix=_("check the address and that its server is up, then run the same command again"),
            ) from error

    # --- reading ----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The registered models that Afina made."""
        if not self.is_there():
            return []
        wanted = f"tags.`afina.schema` = '{SCHEMA}'"
        return sorted(one.name for one in self._all("search_registered_models", wanted))

    def _all(self, search: str, wanted: str) -> list[Any]:
        """Every answer to a search, page by page."""
        found: list[Any] = []
        token = None
        with self.answering():
            while True:
                page = getattr(self.client, search)(wanted, max_results=_PAGE, page_token=token)
                found += page
                token = page.token
                if not token:
                    return found

    def find(self, name: str) -> Model | None:
        """A registered model; None when there is none.

        Raises:
            AfinaError: when something else than Afina made one of this name.
        """
        found = self._get(name) if self.is_there() else None
        if found is None:
            return None
        tags = dict(found.tags)
        if tags.get("afina.schema") != SCHEMA:
            raise AfinaError(
                _("the registry has a model `{name}` that Afina did not make").format(name=name),
                where=shown(self.uri),
                fix=_("choose another name in the recipe, or another registry"),
            )
        entries = [
            Entry(**json.loads(text)) for key, text in sorted(tags.items()) if key.startswith(JOURNAL)
        ]
        aliases = {str(alias): int(number) for alias, number in dict(found.aliases).items()}
        return Model(name, aliases, tuple(sorted(entries, key=lambda entry: entry.number)))

    def _get(self, name: str) -> Any:
        client = self.client  # says which package is missing
        from mlflow.exceptions import MlflowException

        with self.answering():
            try:
                return client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        return None

    def model(self, name: str) -> Model:
        """A registered model. Raises AfinaError when there is none, and lists those there are."""
        found = self.find(name)
        if found is not None:
            return found
        known = ", ".join(self.names()[:20])
        raise AfinaError(
            _("nothing is registered as `{name}`").format(name=name),
            where=shown(self.uri),
            fix=_("registered: {known}").format(known=known)
            if known
            else _("register a finished run with `afina registry add RUN`"),
        )

    def versions(self, model: Model) -> list[Version]:
        """The versions of a model, newest first."""
        found = self._all("search_model_versions", f"name = '{model.name}'")
        known = [version_of(one, model.aliases) for one in found if "afina.run" in one.tags]
        return sorted(known, key=lambda version: -version.number)

    def version(self, model: Model, number: int) -> Version:
        """One version. Raises AfinaError when there is none of this number."""
        client = self.client
        from mlflow.exceptions import MlflowException

        with self.answering():
            try:
                return version_of(client.get_model_version(model.name, str(number)), model.aliases)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        numbers = ", ".join(f"{model.name}@v{one.number}" for one in self.versions(model)[:20])
        raise AfinaError(
            _("there is no version {title}").format(title=f"{model.name}@v{number}"),
            where=shown(self.uri),
            fix=_("registered: {known}").format(known=numbers),
        )

    # --- writing ----------------------------------------------------------------------------------

    def make_model(self, name: str) -> None:
        """Makes a registered model; another process may have made it at the same moment."""
        client = self.client  # says which package is missing
        from mlflow.exceptions import MlflowException

        with self.answering():
            try:
                client.create_registered_model(name, tags={"afina.schema": SCHEMA})
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def make_version(
        self, name: str, source: str, tags: dict[str, str], artifacts: str | None, about: str
    ) -> int:
        """Makes a version and returns its number. `artifacts`: the MLflow run with a copy, if any."""
        with self.answering():
            made = self.client.create_model_version(
                name, source, run_id=artifacts, tags=tags, description=about
            )
        return int(made.version)

    def tag_version(self, name: str, number: int, tag: str, text: str) -> None:
        """Gives a version a tag."""
        with self.answering():
            self.client.set_model_version_tag(name, str(number), tag, text)

    def set_alias(self, name: str, alias: str, number: int | None) -> None:
        """Moves an alias to a version; None takes it away."""
        with self.answering():
            if number is None:
                self.client.delete_registered_model_alias(name, alias)
            else:
                self.client.set_registered_model_alias(name, alias, str(number))

    def write_entry(self, name: str, entry: Entry) -> None:
        """Writes an entry of the journal, or replaces it."""
        text = json.dumps(asdict(entry), ensure_ascii=False)
        with self.answering():
            self.client.set_registered_model_tag(name, f"{JOURNAL}{entry.number:06d}", text)


def silent(_text: str) -> None:
    """A console for nobody."""


Say = Callable[[str], None]
