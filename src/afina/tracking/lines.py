"""New lines of metrics.jsonl, while training appends to it and may take lines back on going on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_TAIL = 256


@dataclass(frozen=True)
class Batch:
    """Lines to send, and where reading goes on once they were sent."""

    lines: list[dict[str, Any]]
    reached: dict[str, int]
    place: int
    tail: bytes
    last: bool


class NewLines:
    """The lines that were not sent yet, each (split, step) once.

    Training that goes on from a checkpoint takes back the lines after it and writes them again, with the
    same values. Such a step is not handed out twice.

    Args:
        after: the last step of each split that was sent in an earlier process.
    """

    def __init__(self, path: Path, after: dict[str, int] | None = None) -> None:
        self._path = path
        self._reached = dict(after or {})
        self._place, self._tail = 0, b""

    def waiting(self, most: int = 1000) -> Batch:
        """What is new, at most so many lines; a half-written line waits for its end."""
        if not self._path.exists():
            return Batch([], {}, 0, b"", True)
        reached = dict(self._reached)
        fresh: list[dict[str, Any]] = []
        with self._path.open("rb") as file:
            place = self._place if self._unchanged_before(file) else 0
            file.seek(place)
            ended = True
            for text in file:
                if not text.endswith(b"\n"):
                    break
                if len(fresh) == most:
                    ended = False
                    break
                place += len(text)
                line = _parsed(text)
                if line and line["step"] > reached.get(line["split"], -1):
                    reached[line["split"]] = line["step"]
                    fresh.append(line)
            file.seek(max(0, place - _TAIL))
            return Batch(fresh, reached, place, file.read(min(_TAIL, place)), ended)

    def sent(self, batch: Batch) -> None:
        """These lines arrived: they are not handed out again."""
        self._reached |= batch.reached
        self._place, self._tail = batch.place, batch.tail

    def _unchanged_before(self, file: BinaryIO) -> bool:
        """Whether what was read before is still there."""
        file.seek(max(0, self._place - _TAIL))
        return file.read(len(self._tail)) == self._tail


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    known = isinstance(line, dict) and isinstance(line.get("step"), int) and "split" in line
    return line if known else None
