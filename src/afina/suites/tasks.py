"""Finds what a recipe asks for and loads it as tasks of lm-evaluation-harness, each with its data."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from afina.errors import AfinaError, DataError
from afina.language import _
from afina.recipe import Recipe
from afina.runs.folder import Run
from afina.suites.catalogue import SUITES, TaskEntry, entries_of, full_name, group_of
from afina.suites.definitions import REPAIRS, configuration
from afina.suites.own import own_configuration, own_documents
from afina.suites.quiet import quiet
from afina.suites.rows import Document, read_documents, require_files, task_file


@dataclass(frozen=True)
class SuiteTask:
    """A task that is ready to be asked.

    Attributes:
        name: in reports: `glue/rte`. suite: `glue`; the task itself where it is of none.
        task: the harness' task object. metrics: kind of each metric; empty takes what the task reports.
        group: which rows belong together; None when each stands alone.
    """

    name: str
    suite: str
    task: Any
    metrics: dict[str, str]
    group: Callable[[Document], Hashable] | None = None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.task.eval_docs)


def load_tasks(run: Run, recipe: Recipe) -> list[SuiteTask]:
    """The tasks of `evaluate.suites.tasks`, in that order, each once.

    Raises:
        AfinaError: for a name that nobody knows; DataError: for rows that are missing or faulty.
    """
    asked = recipe.evaluate.suites
    folder = Path(asked.data) if asked.data else None
    if folder is not None:
        known = [entry for name in asked.tasks for entry in entries_of(name)]
        require_files(folder, known)
    found: dict[str, SuiteTask] = {}
    with quiet():
        manager = task_manager()
        for name in asked.tasks:
            entries = entries_of(name)
            if name == "own":
                tasks = _own_tasks(run, recipe, manager)
            elif entries:
                tasks = [_known_task(entry, folder, manager) for entry in entries]
            else:
                tasks = _harness_tasks(name, folder, manager)
            found |= {task.name: task for task in tasks}
    return list(found.values())


@cache
def task_manager() -> Any:
    """The harness' index of its tasks, which takes seconds to read."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _own_tasks(run: Run, recipe: Recipe, manager: Any) -> list[SuiteTask]:
    return [
        SuiteTask(
            name,
            "own",
            _build(
                manager,
                name.replace("/", "_"),
                {**own_configuration(), **_splits(parts["test"], parts["validation"])},
            ),
            {"acc": "mean"},
        )
        for name, parts in own_documents(run, recipe).items()
    ]


def _known_task(entry: TaskEntry, folder: Path | None, manager: Any) -> SuiteTask:
    name = full_name(entry)
    settings = REPAIRS.get(entry.name, {}) if entry.harness else configuration(entry.name)
    if folder is not None:
        train = task_file(folder, entry.suite, entry.name, ".train")
        settings = settings | _splits(
            read_documents(task_file(folder, entry.suite, entry.name), entry.fields),
            read_documents(train, entry.fields) if train.exists() else None,
        )
    elif not entry.harness:
        path, part = entry.hub
        settings = settings | {"dataset_path": path, "dataset_name": part}
        settings |= {f"{entry.split}_split": entry.split}
        settings |= {"training_split": "train"} if entry.split == "validation" else {}
    task = _build(manager, entry.harness or name.replace("/", "_"), settings)
    group = (lambda document: group_of(entry, document)) if entry.group else None
    return SuiteTask(name, entry.suite, task, dict(entry.metrics), group)


def _harness_tasks(name: str, folder: Path | None, manager: Any) -> list[SuiteTask]:
    """Any task, group or tag of the harness."""
    if name not in manager.all_tasks:
        from difflib import get_close_matches

        near = get_close_matches(name, [*SUITES, *manager.all_tasks], n=3)
        raise AfinaError(
            _("there is no suite or task named {name}").format(name=name),
            where="evaluate.suites.tasks",
            fix=_("did you mean {near}?").format(near=", ".join(near))
            if near
            else _("the names are glue, superglue, xnli_es, own and those of lm-evaluation-harness"),
        )
    if folder is None:
        loaded = _offline_told(name, lambda: manager.load([name])["tasks"])
        return [SuiteTask(one, one, task, {}) for one, task in loaded.items()]
    file = task_file(folder, "", name)
    if not file.exists():
        raise DataError(
            _("the task {name} has no file of rows here").format(name=name),
            where=str(file),
            fix=_("put its rows there, or take evaluate.suites.data away to read them from the Hub"),
        )
    train = task_file(folder, "", name, ".train")
    parts = _splits(read_documents(file), read_documents(train) if train.exists() else None)
    return [SuiteTask(name, name, _build(manager, name, {**parts, "fewshot_split": None}), {})]


def _splits(rows: list[Document], examples: list[Document] | None) -> dict[str, Any]:
    """Settings that give a task these rows in place of its own data set."""
    from datasets import Dataset

    parts = {"validation": Dataset.from_list(rows)}
    if examples:
        parts["train"] = Dataset.from_list(examples)
    return {
        "custom_dataset": lambda **_settings: parts,
        "dataset_path": None,
        "dataset_name": None,
        "dataset_kwargs": None,
        "test_split": None,
        "validation_split": "validation",
        "training_split": "train" if examples else None,
    }


def _build(manager: Any, name: str, settings: dict[str, Any]) -> Any:
    """A task of the harness by its name, with settings of ours over its own; or one all of our own."""
    if name not in manager.all_tasks:
        from lm_eval.api.task import ConfigurableTask

        return _offline_told(name, lambda: ConfigurableTask(config={"task": name, **settings}))
    wrapped = {"group": "afina", "task": [{"task": name, **settings}]}
    tasks = _offline_told(name, lambda: manager.load([wrapped])["tasks"])
    return next(iter(tasks.values()))


def _offline_told(name: str, load: Callable[[], Any]) -> Any:
    """Loads; says in plain words that a data set of the Hub cannot be had."""
    from datasets.exceptions import DatasetsError

    try:
        return load()
    except (OSError, DatasetsError, ValueError) as error:
        raise DataError(
            _("the rows of the task {name} cannot be had from the Hub: {error}").format(
                name=name, error=(str(error).splitlines() or [type(error).__name__])[0]
            ),
            where="evaluate.suites",
            fix=_("offline, name a folder with rows: afina suites RUN … --data FOLDER"),
        ) from None


def chosen_rows(task: SuiteTask, most: int | None, seed: int) -> list[int]:
    """The row numbers to ask, sorted: all, or a seeded part of whole groups."""
    count = task.rows
    if most is None or most >= count:
        return list(range(count))
    lot = np.random.default_rng(seed)
    if task.group is None:
        return sorted(int(row) for row in lot.choice(count, most, replace=False))
    members: dict[Hashable, list[int]] = {}
    for row, document in enumerate(task.task.eval_docs):
        members.setdefault(task.group(document), []).append(row)
    groups = list(members.values())
    chosen: list[int] = []
    for place in lot.permutation(len(groups)):
        if len(chosen) >= most:
            break
        chosen += groups[int(place)]
    return sorted(chosen)


def require_harness() -> None:
    """Raises AfinaError with the install hint when the harness is missing; keeps it off the network."""
    from importlib.util import find_spec

    from afina.errors import MissingExtra

    if find_spec("lm_eval") is None:
        raise MissingExtra(
            _("evaluate.suites needs lm-evaluation-harness"),
            where="evaluate.suites",
            fix=_("pip install 'afina[suites]'"),
        )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
