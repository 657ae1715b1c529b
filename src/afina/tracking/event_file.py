"""The course of training as a TensorBoard event file, in the run's folder `tensorboard/`."""

from __future__ import annotations

import shutil
import time
from typing import Any

from afina.errors import MissingExtra
from afina.language import _
from afina.runs.folder import Run
from afina.tracking.flat import of_line
from afina.tracking.lines import NewLines

FOLDER = "tensorboard"


def writer_class() -> Any:
    """tensorboardX's writer of event files. Raises MissingExtra when it is not installed.

    Not its SummaryWriter: that one writes in a thread, and what its `flush` leaves behind may be lost.
    """
    try:
        from tensorboardX.event_file_writer import EventsWriter
    except ImportError:
        raise MissingExtra(
            _("track.tensorboard needs the package {name}").format(name="tensorboardX"),
            fix=_("pip install 'afina[track]', or set track.tensorboard: false"),
        ) from None
    return EventsWriter


class EventFile:
    """The event file of one run: always begun anew from metrics.jsonl, which is the truth."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._writer: Any = None
        self._lines = NewLines(run.path("metrics.jsonl"))

    def send_course(self) -> None:
        """Appends the new lines of metrics.jsonl: `train/loss`, `validation/perplexity`, …"""
        if self._writer is None:
            folder = self._run.path(FOLDER)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._writer = writer_class()(str(folder / "events"))
            self._lines = NewLines(self._run.path("metrics.jsonl"))
        while True:
            batch = self._lines.waiting()
            for line in batch.lines:
                self._writer.write_event(_event(line))
            self._lines.sent(batch)
            if batch.last:
                break
        self._writer.flush()

    def close(self) -> None:
        """Lets go of the file; it is begun anew when more is sent."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _event(line: dict[str, Any]) -> Any:
    """One line of metrics.jsonl as TensorBoard's event."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    event = Event(wall_time=time.time(), step=line["step"])
    for name, value in of_line(line).items():
        event.summary.MergeFrom(scalar(name.replace(".", "/", 1), value))
    return event
