"""The rows of a task from a folder of the user's: TASK.jsonl, and TASK.train.jsonl for examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from afina.data.sources import read_source
from afina.errors import DataError
from afina.language import _
from afina.recipe_suites import Suites
from afina.runs.files import sha256_of
from afina.suites.catalogue import TaskEntry, entries_of, full_name

Document = dict[str, Any]


def task_file(folder: Path, suite: str, name: str, part: str = "") -> Path:
    """Where a task's rows are: in FOLDER/SUITE, in FOLDER itself, or in its one folder that has them."""
    file = f"{name}{part}.jsonl"
    places = [folder / suite / file, folder / file]
    below = list(folder.glob(f"*/{file}"))
    places += below if len(below) == 1 else []
    return next((place for place in places if place.exists()), folder / file)


def require_files(folder: Path, entries: list[TaskEntry]) -> None:
    """Raises DataError that names every file that is missing, before anything is asked."""
    if not folder.is_dir():
        raise DataError(
            _("there is no such folder with the rows of test suites"),
            where=str(folder),
            fix=_("name the folder that holds TASK.jsonl, or the folders glue and superglue"),
        )
    missing = [
        full_name(entry) for entry in entries if not task_file(folder, entry.suite, entry.name).exists()
    ]
    if missing:
        raise DataError(
            _("{count} tasks have no file of rows here: {names}").format(
                count=len(missing), names=", ".join(missing)
            ),
            where=str(folder),
            fix=_("put {file} there, or ask for the tasks that are there").format(
                file=task_file(folder, "", missing[0].split("/")[-1]).name
            ),
        )


def read_documents(path: Path, fields: tuple[str, ...] = ()) -> list[Document]:
    """The rows of a file, each with the fields that its task needs; raises DataError with the line."""
    found = []
    for where, row in read_source(str(path)):
        missing = [name for name in fields if name not in row]
        if missing:
            raise DataError(
                _("a row has no field {names}").format(names=", ".join(missing)),
                where=str(where),
                fix=_("rows of this task need {fields}").format(fields=", ".join(fields)),
            )
        found.append(dict(row))
    if not found:
        raise DataError(_("this file has no rows"), where=str(path))
    return found


def files_hash(settings: Suites) -> dict[str, str]:
    """SHA-256 of the files of rows that these settings read, by task and part."""
    if settings.data is None:
        return {}
    folder, found = Path(settings.data), {}
    places = [(entry.suite, entry.name) for name in settings.tasks for entry in entries_of(name)]
    places += [("", name) for name in settings.tasks if not entries_of(name)]
    for suite, name in places:
        for part in ("", ".train"):
            path = task_file(folder, suite, name, part)
            if path.exists():
                found[f"{suite}/{name}{part}"] = sha256_of(path)
    return found
