"""The command line: parses, calls a verb, prints. All work is done elsewhere."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from datetime import UTC, datetime
from types import FrameType

from afina.errors import (
    EXIT_INTERRUPTED,
    EXIT_WRONG_USE,
    AfinaError,
    render,
)
from afina.language import _, choose, from_arguments


def main(arguments: list[str] | None = None) -> None:
    """The program `afina`: leaves with the exit codes of errors.py, never with a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    choose(from_arguments(given))
    signal.signal(signal.SIGTERM, _asked_to_stop)
    raise SystemExit(_guarded(given))


def _asked_to_stop(number: int, _frame: FrameType | None) -> None:
    from afina.runs.signals import stop_error

    raise stop_error(number)


def _guarded(arguments: list[str]) -> int:
    import click

    from afina.cli.app import build_app

    as_json = "--json" in arguments
    try:
        code = build_app()(arguments, standalone_mode=False)
        return int(code or 0)
    except click.exceptions.Abort:
        return _show(_interrupted(), as_json)
    except click.exceptions.Exit as leaving:
        return int(leaving.exit_code)
    except click.ClickException as error:
        error.show()
        return EXIT_WRONG_USE
    except AfinaError as error:
        return _show(error, as_json)
    except KeyboardInterrupt:
        return _show(_interrupted(), as_json)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        from afina.runs.files import storage_error

        known = storage_error(error)
        return _show(known or _unexpected(error), as_json)


def _interrupted() -> AfinaError:
    from afina.errors import Interrupted

    return Interrupted(
        _("interrupted; what was done is kept"), fix=_("run the same command again: it goes on where it stopped")
    )


def _show(error: AfinaError, as_json: bool) -> int:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    if as_json:
        print(json.dumps(error.as_json(), ensure_ascii=False))
    else:
        print(_("error: {error}").format(error=render(error)), file=sys.stderr)
    return error.exit_code if error.exit_code else EXIT_INTERRUPTED


def _unexpected(error: Exception) -> AfinaError:
    """A defect of Afina: one line for the person, the traceback in a file for the developers."""
    from afina.runs.store import cache_folder

    folder = cache_folder() / "errors"
    path = folder / f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        where: str | None = str(path)
    except OSError:
        where = None
    first = str(error).splitlines()[0] if str(error) else ""
    return AfinaError(
        _("something went wrong inside Afina: {kind}: {what}").format(kind=type(error).__name__, what=first[:300]),
        where=where,
        fix=_("please report this with the file above; the run can be resumed with the same command"),
    )
