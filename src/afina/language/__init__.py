"""The language of the interface: English, or Spanish when asked or when the locale says so.

English text is the key; `es.json` holds the Spanish for it. A text that has no entry is shown in
English, and a test keeps the catalogue complete.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "es")
_chosen = "en"


def choose(language: str) -> None:
    """Speak this language from here on ("en" or "es")."""
    global _chosen
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {LANGUAGES}, not {language!r}")
    _chosen = language


def current() -> str:
    """The language in use."""
    return _chosen


def from_environment() -> str:
    """The language that the locale asks for; English for any locale but a Spanish one."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return "es" if value.lower().startswith("es") else "en"
    return "en"


def from_arguments(arguments: list[str]) -> str:
    """The language of a command line: `--lang es`, `--lang=es`, else the locale's."""
    for position, argument in enumerate(arguments):
        value = None
        if argument == "--lang" and position + 1 < len(arguments):
            value = arguments[position + 1]
        elif argument.startswith("--lang="):
            value = argument.removeprefix("--lang=")
        if value in LANGUAGES:
            return value
    return from_environment()


@cache
def _catalogue() -> dict[str, str]:
    entries = json.loads((Path(__file__).parent / "es.json").read_text(encoding="utf-8"))
    return {str(key): str(value) for key, value in entries.items()}


def _(text: str, language: str | None = None) -> str:
    """`text` in the language in use, or in `language`."""
    if (language or _chosen) == "es":
        return _catalogue().get(text, text)
    return text
