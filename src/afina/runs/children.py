"""Runs that are made for another one, in its folder `children/`: the same stages on other rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from afina.recipe import Recipe
from afina.recipe_file import dump_recipe
from afina.runs.files import write_json, write_text
from afina.runs.folder import RUN_SCHEMA, Run, recipe_hash
from afina.runs.store import Store

FOLDER = "children"


@dataclass
class ChildRun(Run):
    """A run in the folder of another: its time is on that run's meter, its place is that run's."""

    parent: Run | None = None

    def publish(self) -> None:
        """Brings the parent's place up to date, this run's files among them."""
        assert self.parent is not None
        self.parent.publish()


@contextmanager
def child(parent: Run, name: str, number: int, recipe: Recipe) -> Iterator[ChildRun]:
    """The child `children/NAME/NUMBER`, made where it is not there yet, and locked.

    Begins with what every `auto` of the parent became, so that nothing but the rows differs. The meter
    that is running is the parent's: a child is paid from the parent's budget.
    """
    place = Store(str(parent.path(FOLDER)))
    root = place.local(name, number)
    run = ChildRun(root, name, number, place, parent.say, parent.progress, parent.meter, parent=parent)
    root.mkdir(parents=True, exist_ok=True)
    run.lock()
    try:
        write_text(root / "recipe.yaml", dump_recipe(recipe))
        if not run.path("run.json").exists():
            marker = {
                "schema": RUN_SCHEMA,
                "name": name,
                "number": number,
                "recipe_sha256": recipe_hash(recipe),
                "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "parent": parent.title,
                "resolved": parent.resolved(),
            }
            write_json(run.path("run.json"), marker)
        yield run
    finally:
        run.unlock()
