"""Options that commands share, and how results are printed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import Annotated, Any

import typer

from afina.language import _

RunsOption = Annotated[
    str,
    typer.Option("--runs", metavar="FOLDER-or-URI", help=_("Where the runs are."), show_default=True),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help=_("Change one setting, as in --set train.epochs=5.")
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help=_("Print one JSON value for machines."))]
LangOption = Annotated[
    str | None, typer.Option("--lang", metavar="en|es", help=_("Language of messages and reports."))
]


def check_language(language: str | None) -> None:
    """Refuses a language that there is not."""
    if language not in (None, "en", "es"):
        raise typer.BadParameter(_("choose en or es"), param_hint="--lang")


def asked_language() -> str | None:
    """The language in `afina --lang es …`, before the command; None when none was named there."""
    import click

    root = click.get_current_context().find_root()
    return root.params.get("lang") or None


class Console:
    """Prints lines to the standard error, and keeps one progress line at the bottom of a terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = 0.0
        self._began = False

    def say(self, text: str) -> None:
        """One line."""
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def progress(self, text: str) -> None:
        """The state of the work at hand: replaced in a terminal, every 20 seconds in a log."""
        now = time.monotonic()
        if self._live:
            if now - self._last > 0.2:
                width = shutil.get_terminal_size().columns - 1
                self._clear()
                sys.stderr.write(f"  {text}"[:width])
                sys.stderr.flush()
                self._began, self._last = True, now
        elif now - self._last > 20:
            print(f"  {text}", file=sys.stderr, flush=True)
            self._last = now

    def _clear(self) -> None:
        if self._began:
            sys.stderr.write("\r\033[K")
            self._began = False


def print_json(value: Any) -> None:
    """One JSON value on the standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def bytes_for_people(count: float) -> str:
    """1536 as `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""
