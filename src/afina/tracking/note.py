"""`tracking.json` of a run: which run of the tracking server it is, and what that server has of it."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

TRACKING_SCHEMA = "afina/tracking/1"
NAME = "tracking.json"


@dataclass
class Note:
    """What is known of a run's copy on a tracking server.

    Attributes:
        id: of this run, chosen here and sent as a tag, so that a run that was made there just before a
            crash is found again.
        train_key: of the training that was sent; another training is another run there.
        uri, experiment: where it is.
        run_id: the server's name for it.
        artifacts: SHA-256 of each file that was sent.
        figures: SHA-256 of the evaluation that was sent.
        complete: SHA-256 of everything that was there to send when all of it had been sent.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    train_key: str | None = None
    uri: str | None = None
    experiment: str | None = None
    run_id: str | None = None
    artifacts: dict[str, str] = field(default_factory=dict)
    figures: str | None = None
    complete: str | None = None


def read_note(run: Run) -> Note:
    """The note of a run; a new one when there is none."""
    path = run.path(NAME)
    if not path.exists():
        return Note()
    kept: dict[str, Any] = read_json(path)
    return Note(**{name: value for name, value in kept.items() if name in Note.__annotations__})


def write_note(run: Run, note: Note) -> None:
    """Keeps the note in the run, whole or not at all."""
    write_json(run.path(NAME), {"schema": TRACKING_SCHEMA, **asdict(note)})
