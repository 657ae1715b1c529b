"""Tracking of one run: beside the training in a thread of its own, and once more when the work ends.

Everything that is sent is read from the run's files. So training knows nothing of it; a server that does
not answer costs it nothing, and what is missing is sent at the end or by the next `afina run`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from afina.errors import AfinaError, Interrupted, Stopped
from afina.language import _
from afina.recipe import Recipe
from afina.runs.files import sha256_of, sha256_of_value
from afina.runs.folder import Run
from afina.runs.stages import state_of
from afina.tracking.event_file import EventFile, writer_class
from afina.tracking.mlflow_store import STAGES, MlflowStore, client_class
from afina.tracking.note import Note, read_note, write_note
from afina.tracking.places import uri_of

SECONDS_BETWEEN, LONGEST_PAUSE = 5.0, 120.0
# Seconds that the end of training waits for a request under way; less when the work was interrupted.
PATIENCE, HURRY = 20.0, 2.0


class Tracking:
    """What the recipe's `track` asks for, for one run; nothing at all when it asks for nothing."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        self.run, self.recipe = run, recipe
        self._sending = threading.Lock()
        self._stop = threading.Event()
        self._warned = self._failing = False
        self._note = Note()
        self._store: MlflowStore | None = None
        self._events: EventFile | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is to be tracked."""
        return self.recipe.track.mlflow is not None or self.recipe.track.tensorboard

    def require(self) -> None:
        """Refuses at the start what would fail after hours. Raises MissingExtra."""
        if self.recipe.track.mlflow is not None and not all(
            map(find_spec, ("mlflow", "sqlalchemy", "alembic"))
        ):
            client_class()
        if self.recipe.track.tensorboard and not find_spec("tensorboardX"):
            writer_class()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Inside, the course of training is sent every few seconds; at the end, what is left of it."""
        if not self.wanted:
            yield
            return
        self._read_note()
        self._open()
        self._stop.clear()
        worker = threading.Thread(target=self._work, name="afina-tracking", daemon=True)
        worker.start()
        patience = HURRY
        try:
            yield
            patience = PATIENCE
        finally:
            self._stop.set()
            worker.join(patience)

    def finish(self, error: BaseException | None = None, report: bool = False) -> None:
        """Sends what is still missing, and how the work ended; a server's fault is told, never raised.

        Args:
            error: what ended it; None when it was done.
            report: report.html is of this session, with masked rows.
        """
        if not self.wanted or state_of(self.run, "train") is None or (error and self._failing):
            return
        self._read_note()
        status = _status(error)
        if self._note.complete == self._everything(status, report):
            return
        if not self._sending.acquire(timeout=HURRY if error else PATIENCE):
            self._warn(_("the server does not answer"), last=True)
            return
        try:
            self._open()
            self._send_rest(status, report)
            self._note.complete = self._everything(status, report)
            write_note(self.run, self._note)
        except Exception as fault:  # mlflow, requests, sqlalchemy, boto, …: there is no common kind
            self._warn(_first_line(fault), last=True)
        finally:
            self._sending.release()

    def _send_rest(self, status: str, report: bool) -> None:
        if self._events is not None:
            self._events.send_course()
            self._events.close()
        if self._store is not None:
            if status == "FINISHED":
                self._store.send_rest(report)
            else:
                self._store.send_course()
            self._store.end(status)

    def _read_note(self) -> None:
        """Reads what is known of the run's copy; another training or place is another copy."""
        track, state = self.recipe.track, state_of(self.run, "train")
        key = state["key"] if state else None
        uri = None if track.mlflow is None else uri_of(self.run, track.mlflow)
        wanted = (key, uri, track.experiment or self.recipe.name)
        if (self._note.train_key, self._note.uri, self._note.experiment) == wanted:
            return
        note = read_note(self.run)
        if (note.train_key, note.uri, note.experiment) != wanted:
            note = Note(train_key=key, uri=uri, experiment=wanted[2])
        self._note, self._store, self._events = note, None, None

    def _open(self) -> None:
        """Makes what sends, once; nothing is sent yet."""
        note = self._note
        if note.uri is not None and self._store is None:
            client_class()  # imported here: two threads importing at once get in each other's way
            self._store = MlflowStore(self.run, self.recipe, note.uri, note)
            self.run.say(
                _("tracking: {uri}, experiment {name}").format(uri=note.uri, name=note.experiment)
            )
        if self.recipe.track.tensorboard and self._events is None:
            writer_class()
            self._events = EventFile(self.run)

    def _work(self) -> None:
        """The thread: sends, waits, waits longer after a failure; once more when it is told to stop."""
        pause = 0.0
        while True:
            stopping = self._stop.wait(pause)
            with self._sending:
                pause = SECONDS_BETWEEN if self._send_course() else min(LONGEST_PAUSE, 2 * pause + 5)
            if stopping:
                return

    def _send_course(self) -> bool:
        """Whether the new lines arrived."""
        try:
            if self._events is not None:
                self._events.send_course()
            if self._store is not None:
                self._store.send_course()
        except Exception as fault:
            self._failing = True
            self._warn(_first_line(fault))
            return False
        self._failing = False
        return True

    def _warn(self, why: str, last: bool = False) -> None:
        """Says, once while work goes on and once at its end, that not everything could be sent."""
        if last:
            text = _("tracking: not everything was sent ({why}); the next `afina run` sends it")
        elif self._warned:
            return
        else:
            text = _("tracking: {why}; the work goes on, and what is missing is sent later")
        self._warned = True
        self.run.say(text.format(why=why))

    def _everything(self, status: str, report: bool) -> str:
        """Hash of all that there is to send."""
        states = [state_of(self.run, stage) for stage in STAGES]
        course = self.run.path("metrics.jsonl")
        return sha256_of_value(
            {
                "note": [self._note.id, self._note.uri, self.recipe.track.tensorboard],
                "ends": [status, report],
                "stages": [state and (state["state"], state["outputs"]) for state in states],
                "course": sha256_of(course) if course.exists() else None,
            }
        )


def _status(error: BaseException | None) -> str:
    """How MLflow calls such an end."""
    if error is None:
        return "FINISHED"
    stopped = isinstance(error, Interrupted | Stopped | KeyboardInterrupt)
    return "KILLED" if stopped else "FAILED"


def _first_line(error: BaseException) -> str:
    """An error of a library as one line of at most 200 characters."""
    if isinstance(error, AfinaError):
        return error.what
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]
