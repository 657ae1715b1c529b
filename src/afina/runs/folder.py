"""The run: `runs/NAME/1`, `2`, …; which run a recipe goes on in, and how a person names one."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from afina.errors import AfinaError, StorageError
from afina.language import _
from afina.recipe import Recipe
from afina.recipe_file import dump_recipe, parse_recipe
from afina.runs.files import (
    name_file,
    read_json,
    remove_leftovers,
    sha256_of_value,
    storage_error,
    write_json,
    write_text,
)
from afina.runs.store import Store

RUN_SCHEMA = "afina/run/1"
# Settings of `train` that say how it is run and change nothing of what is learned.
RUNNING = {"budget", "spot"}
# What stands after @ when the registry knows the run: an alias, or the number of a version.
NAMED = re.compile(r"champion|candidate|previous|v[1-9][0-9]*")
# Set by afina.registry, which this layer does not know: called with the name, what stands after @, the
# place of the runs, and the console; returns the path or URI of the run.
find_named: Callable[[str, str, str, Callable[[str], None]], str] | None = None
# Sections that say where figures are sent and what a card says.
BESIDE = ("track", "release")


def _silent(text: str) -> None:
    """A console for nobody."""


@dataclass
class Run:
    """One model's folder.

    Attributes:
        root: the local folder; for a URI, its local copy.
        name: the recipe's name.
        number: 1, 2, …
        store: where the run lives; a remote one is kept equal to `root` after every stage.
        say: called with a line for people.
        progress: called with the state of the work at hand; each one replaces the one before.
        meter: the Meter of the stage at work (runs/spending.py).
    """

    root: Path
    name: str
    number: int
    store: Store
    say: Callable[[str], None] = field(default=_silent)
    progress: Callable[[str], None] = field(default=_silent)
    meter: Any = None
    _lock: FileLock | None = None

    def path(self, relative: str) -> Path:
        """The local path of one of the run's files."""
        return self.root / relative

    @property
    def title(self) -> str:
        """How a person names this run: `phishing@2`."""
        return f"{self.name}@{self.number}"

    def event(self, name: str, /, **details: Any) -> None:
        """Appends one line to events.jsonl."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(
            {"schema": "afina/event/1", "time": now, "event": name, **details}, ensure_ascii=False
        )
        path = self.path("events.jsonl")
        try:
            with path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a full disk cut the line before
                        file.write(b"\n")
                file.write(line.encode() + b"\n")
        except OSError as error:
            name_file(error, path)
            raise

    def recipe(self) -> Recipe:
        """The recipe of this run, as given, with all defaults."""
        return parse_recipe(
            self.path("recipe.yaml").read_text(encoding="utf-8"), str(self.path("recipe.yaml"))
        )

    def resolved(self) -> dict[str, Any]:
        """What each `auto` became on this machine, by dotted name: {"train.precision": "bf16"}."""
        path = self.path("run.json")
        return dict(read_json(path).get("resolved", {})) if path.exists() else {}

    def resolve(self, **settings: Any) -> None:
        """Keeps what an `auto` became; double underscores stand for dots in names."""
        known = read_json(self.path("run.json"))
        named = {name.replace("__", "."): value for name, value in settings.items()}
        known["resolved"] = {**known.get("resolved", {}), **named}
        write_json(self.path("run.json"), known)

    def lock(self) -> None:
        """Keeps other processes off this run until `unlock`. Raises StorageError when one has it."""
        self._lock = FileLock(self.path(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StorageError(
                _("another process is working on this run"),
                where=str(self.root),
                fix=_("wait for it to end, or stop it"),
            ) from None
        remove_leftovers(self.root)

    def unlock(self) -> None:
        """Lets go of the run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def publish(self) -> None:
        """Notes what was spent, and copies what changed to the run's own place, when that is not this
        machine's disk."""
        if self.meter is not None:
            self.meter.note()
        self.store.push(self.root, f"{self.name}/{self.number}")


def open_run(recipe: Recipe, runs: str, say: Callable[[str], None] = _silent) -> Run:
    """The run that this recipe goes on in: the newest one made from an equal recipe, else a new one.

    Recipes are equal that differ in RUNNING and BESIDE only; the run keeps the newest of those.
    """
    store = Store(runs)
    wanted = recipe_hash(recipe)
    numbers = store.numbers(recipe.name)
    for number in reversed(numbers):
        marker = store.fetch(recipe.name, number, light=True) / "run.json"
        if marker.exists() and read_json(marker).get("recipe_sha256") == wanted:
            return _with_running(
                Run(store.fetch(recipe.name, number), recipe.name, number, store, say), recipe
            )
    number = _make_folder(recipe, store, max(numbers, default=0) + 1, wanted)
    run = Run(store.local(recipe.name, number), recipe.name, number, store, say)
    run.event("run made", python=sys.version.split()[0], seconds_since_epoch=int(time.time()))
    return run


def _make_folder(recipe: Recipe, store: Store, number: int, recipe_sha256: str) -> int:
    """Makes the folder of a new run, whole or not at all; takes the next number when another process
    took this one. Returns the number. Raises StorageError when nothing can be written there."""
    above = store.local(recipe.name, number).parent
    try:
        above.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=above, prefix=".new.", suffix=".part"))
    except OSError as error:
        known = storage_error(error)
        raise StorageError(
            known.what
            if known
            else _("runs cannot be written here: {error}").format(error=error.strerror),
            where=str(above),
            fix=known.fix if known else _("choose another folder with --runs FOLDER"),
        ) from None
    try:
        write_text(temporary / "recipe.yaml", dump_recipe(recipe))
        temporary.chmod(0o755)
        while True:
            marker = {
                "schema": RUN_SCHEMA,
                "name": recipe.name,
                "number": number,
                "recipe_sha256": recipe_sha256,
                "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "resolved": {},
            }
            write_json(temporary / "run.json", marker)
            try:
                temporary.rename(above / str(number))  # refused by a folder that holds anything
                return number
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                number += 1
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _with_running(run: Run, recipe: Recipe) -> Run:
    """The run with this recipe's RUNNING settings and BESIDE sections in its recipe.yaml."""
    path, wanted = run.path("recipe.yaml"), dump_recipe(recipe)
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        write_text(path, wanted)
    return run


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe with all its defaults, but what changes no result: RUNNING and BESIDE."""
    beside = dict.fromkeys(BESIDE, True)
    return sha256_of_value(recipe.model_dump(mode="json", exclude={"train": RUNNING, **beside}))


def find_run(name: str, runs: str, say: Callable[[str], None] = _silent) -> Run:
    """The run that a person means: a path (of a run, or of the folder with the runs of one name),
    `NAME` (its newest), `NAME@2`, `NAME@champion` and the like (the registry), or a URI.

    Raises:
        AfinaError: when there is no such run; lists those there are.
    """
    path = _newest(Path(name))
    if (path / "run.json").exists():
        marker = read_json(path / "run.json")
        return Run(path, marker["name"], marker["number"], Store(str(path.resolve().parent.parent)), say)
    if "://" in name:
        base, _slash, last = name.rstrip("/").rpartition("/")
        if last.isdigit():
            runs, _slash, title = base.rpartition("/")
            name = f"{title}@{last}"
        else:
            runs, name = base, last
    title, _at, wanted = name.partition("@")
    store = Store(runs)
    numbers = store.numbers(title) if title else []
    if find_named is not None and title and NAMED.fullmatch(wanted):
        return find_run(find_named(title, wanted, runs, say), runs, say)
    if wanted and not wanted.isdigit():
        raise AfinaError(
            _("`{name}` is not a run: after @ comes its number").format(name=name),
            fix=_("for example {example}").format(example=f"{title}@1"),
        )
    if numbers and (not wanted or int(wanted) in numbers):
        number = int(wanted) if wanted else numbers[-1]
        return Run(store.fetch(title, number), title, number, store, say)
    known = [f"{run_name}@{n}" for run_name in store.names() for n in store.numbers(run_name)]
    raise AfinaError(
        _("there is no run `{name}` in {runs}").format(name=name, runs=runs),
        fix=_("known runs: {known}").format(known=", ".join(known[:20]))
        if known
        else _("make one with `afina run RECIPE.yaml`"),
    )


def name_with_model(name: str, runs: str) -> str:
    """`NAME@2` for a bare NAME whose newest run has no model but an earlier one has; else `name`."""
    store = Store(runs)
    if "@" in name or "/" in name or Path(name).exists():
        return name
    numbers = store.numbers(name)
    for number in reversed(numbers):
        if (store.fetch(name, number, light=True) / "release" / "inference.json").exists():
            return name if number == numbers[-1] else f"{name}@{number}"
    return name


def _newest(path: Path) -> Path:
    """A folder with the runs of one name as the newest of them; any other path as it is."""
    if (path / "run.json").exists() or not path.is_dir():
        return path
    numbers = [
        int(child.name)
        for child in path.iterdir()
        if child.name.isdigit() and (child / "run.json").exists()
    ]
    return path / str(max(numbers)) if numbers else path


def list_runs(runs: str) -> list[Run]:
    """Every run in a place, by name and number; of a URI only what tells of a run, not its weights."""
    store = Store(runs)
    return [
        Run(store.fetch(name, number, light=True), name, number, store)
        for name in store.names()
        for number in store.numbers(name)
    ]
