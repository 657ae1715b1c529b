"""SIGINT and SIGTERM while work goes on that should save first: noted, then obeyed at a safe point."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from afina.errors import AfinaError, Interrupted, Stopped
from afina.language import _

_notices: list[str] = []


def announce(notice: str) -> None:
    """Notes, from any thread, that the machine is about to be taken; obeyed as a SIGTERM is.

    Where this program has a handler of SIGTERM, the signal is raised too: it ends the parts of the work
    that have no safe points of their own.
    """
    _notices.append(notice)
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)


def forget_notices() -> None:
    """Before new work: what was announced was about the work before."""
    _notices.clear()


class StopSignal:
    """Inside `with`, the first SIGINT or SIGTERM only sets a flag; a second SIGINT ends at once.

    Args:
        limit: asked at every safe point too: the error of a limit that is reached, or None.
    """

    def __init__(self, limit: Callable[[], AfinaError | None] = lambda: None) -> None:
        self.received: int | None = None
        self._limit = limit
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        error = self._asked() if kind is None else None
        if error is not None:
            raise error  # it came after the last safe point: it must not be lost

    def _asked(self) -> AfinaError | None:
        """The error of a signal or a notice that came."""
        if self.received is not None:
            return stop_error(self.received)
        return stop_error(signal.SIGTERM) if _notices else None

    def check(self, save: Callable[[], None] = lambda: None) -> None:
        """Saves and stops when a signal or a notice came, or a limit is reached.

        Raises:
            Interrupted: after SIGINT. Stopped: after SIGTERM or a notice. The limit's own error.
        """
        error = self._asked() or self._limit()
        if error is not None:
            save()
            raise error


def stop_error(number: int) -> Interrupted | Stopped:
    """The error for a signal's number."""
    fix = _("run the same command again: it goes on where it stopped")
    if number == signal.SIGINT:
        return Interrupted(_("interrupted; what was done is kept"), fix=fix)
    if _notices:
        return Stopped(_("{notice}; what was done is kept").format(notice=_notices[-1]), fix=fix)
    return Stopped(_("asked to stop; what was done is kept"), fix=fix)
