"""Runs made for another one: in its folder `children/`, kept with it, charged to its budget."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from afina.recipe import Recipe
from afina.recipe_file import dump_recipe
from afina.runs.files import read_json, sha256_of_value, write_json, write_text
from afina.runs.folder import RUN_SCHEMA, Run, recipe_hash
from afina.runs.store import Store

FOLDER = "children"


@dataclass
class ChildRun(Run):
    """A run inside another one's folder: what is copied elsewhere, and when, is the parent's matter."""

    parent: Run | None = None

    def publish(self) -> None:
        """Publishes the run that it belongs to."""
        if self.parent is not None:
            self.parent.publish()


@contextmanager
def child(
    parent: Run, name: str, number: int, recipe: Recipe, made_of: Any = None
) -> Iterator[ChildRun]:
    """The child `children/NAME/NUMBER`, made where it is not there yet, and locked.

    Begins with what every `auto` of the parent became, so that nothing but the rows differs. The meter
    that is running is the parent's: a child is paid from the parent's budget.

    Args:
        made_of: what its work depends on, as a JSON value, where it has no stages that know: a child
            that was made of something else is begun anew.
    """
    place = Store(str(parent.path(FOLDER)))
    root = place.local(name, number)
    run = ChildRun(root, name, number, place, parent.say, parent.progress, parent.meter, parent=parent)
    digest = None if made_of is None else sha256_of_value(made_of)
    marker = run.path("run.json")
    if marker.exists() and read_json(marker).get("made_of_sha256") != digest:
        shutil.rmtree(root)  # the parent is locked: nobody is at work in it
    root.mkdir(parents=True, exist_ok=True)
    run.lock()
    try:
        write_text(root / "recipe.yaml", dump_recipe(recipe))
        if not marker.exists():
            known = {
                "schema": RUN_SCHEMA,
                "name": name,
                "number": number,
                "recipe_sha256": recipe_hash(recipe),
                "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "parent": parent.title,
                "made_of_sha256": digest,
                "resolved": parent.resolved(),
            }
            write_json(marker, known)
        yield run
    finally:
        run.unlock()
