"""SIGINT and SIGTERM while work goes on that should save first: noted, then obeyed at a safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from afina.errors import Interrupted, Stopped
from afina.language import _


class StopSignal:
    """Inside `with`, the first SIGINT or SIGTERM only sets a flag; a second SIGINT ends at once."""

    def __init__(self) -> None:
        self.received: int | None = None
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
        if kind is None:
            self.check()  # it came after the last safe point: it must not be lost

    def check(self, save: Callable[[], None] = lambda: None) -> None:
        """Saves and stops when a signal came.

        Raises:
            Interrupted: after SIGINT. Stopped: after SIGTERM.
        """
        if self.received is None:
            return
        save()
        raise stop_error(self.received)


def stop_error(number: int) -> Interrupted | Stopped:
    """The error for a signal's number."""
    fix = _("run the same command again: it goes on where it stopped")
    if number == signal.SIGINT:
        return Interrupted(_("interrupted; what was done is kept"), fix=fix)
    return Stopped(_("asked to stop; what was done is kept"), fix=fix)
