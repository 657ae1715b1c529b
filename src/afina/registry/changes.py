"""Changes of aliases, in an order that leaves a champion wherever a process is stopped.

MLflow moves one alias at a time. So a change is first written into the journal as begun, then the
aliases are moved one by one, then the entry is done. A change that was stopped in between is settled
before the next one: it is completed when its main alias has moved, and taken back when it has not.
"""

from __future__ import annotations

import getpass
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from afina.registry.store import ALIASES, Aliases, Entry, Model, Registry

# In which order the aliases move. A promotion stopped half way leaves the old champion, or the new one
# with the old one as previous; a rollback the old champion, or the new one.
ORDERS: dict[str, tuple[str, ...]] = {
    "add": ("candidate",),
    "promote": ("previous", "champion", "candidate"),
    "rollback": ("champion", "previous"),
}
MAIN = {"add": "candidate", "promote": "champion", "rollback": "champion"}


def who() -> str:
    """user@host, for the journal."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user: a container with a bare number
        user = "?"
    return f"{user}@{socket.gethostname()}"


def change(
    registry: Registry,
    model: Model,
    action: Literal["add", "promote", "rollback"],
    version: int,
    after: Aliases,
    why: str = "",
) -> Entry:
    """Moves the aliases to `after` and writes it down. Only inside `changing`, of a settled model."""
    entry = Entry(
        number=model.generation + 1,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        who=who(),
        action=action,
        version=version,
        before=model.places(),
        after={**model.places(), **after},
        why=why,
    )
    registry.write_entry(model.name, entry)
    _move(registry, model, entry.after, ORDERS[action])
    done = replace(entry, state="done")
    registry.write_entry(model.name, done)
    return done


def settle(registry: Registry, name: str) -> Model:
    """The registered model, with a change that was stopped in the middle completed or taken back."""
    model = registry.model(name)
    if not model.journal or model.journal[-1].state != "begun":
        return model
    entry = model.journal[-1]
    main = MAIN[entry.action]
    moved = model.aliases.get(main) == entry.after[main]
    others = tuple(alias for alias in ALIASES if alias != main)  # the main one stays where it is
    _move(registry, model, entry.after if moved else entry.before, others)
    registry.write_entry(name, replace(entry, state="done" if moved else "undone"))
    return registry.model(name)


def _move(registry: Registry, model: Model, wanted: Aliases, order: tuple[str, ...]) -> None:
    for alias in order:
        if model.aliases.get(alias) != wanted[alias]:
            registry.set_alias(model.name, alias, wanted[alias])


def before_that(model: Model, champion: int, previous: int) -> int | None:
    """What was previous when `champion` took the place of `previous`; None when nobody knows."""
    for entry in reversed(model.journal):
        turned = entry.action == "promote" and entry.state == "done"
        if turned and entry.after["champion"] == champion and entry.before["champion"] == previous:
            return entry.before["previous"]
    return None
