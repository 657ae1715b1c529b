"""The kind of a value in words, for messages to people."""

from __future__ import annotations

from datetime import date, time
from typing import Any

from afina.language import _


def in_words(value: Any) -> str:
    """What a value is: "a list", never "list". The value itself is not shown: it may be private."""
    if value is None:
        return _("nothing")
    if isinstance(value, str):
        return _("text")
    if isinstance(value, bool):
        return _("true or false")
    if isinstance(value, int):
        return _("a whole number")
    if isinstance(value, float):
        return _("a number")
    if isinstance(value, list | tuple | set):
        return _("a list")
    if isinstance(value, dict):
        return _("an object")
    if isinstance(value, date | time):
        return _("a date or a time")
    if isinstance(value, bytes | bytearray):
        return _("binary data")
    return _("something else")
