"""The command line: parses, calls a verb, prints. All work is done elsewhere."""

from __future__ import annotations

import os
import signal
import sys

_PROGRAM = sys.argv[0] if sys.argv else ""
if os.path.basename(_PROGRAM) in ("afina", "afina.exe"):
    # Ctrl-C while Python still reads code: nothing is begun, and nothing needs saying.
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))

# ruff: noqa: E402
import io
import json
import traceback
import warnings
from datetime import UTC, datetime
from types import FrameType

from afina.errors import EXIT_INTERRUPTED, EXIT_WRONG_USE, AfinaError, StorageError, render
from afina.language import _, choose, from_arguments


def main(arguments: list[str] | None = None) -> None:
    """The program `afina`: leaves with the exit codes of errors.py, never with a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    choose(from_arguments(given))
    _silence_libraries()
    _open_closed()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without arrows still shows the rest, and input that is no text is read.
            stream.reconfigure(errors="replace")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _note_signal)
    try:
        code = _guarded(given)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done: nothing left to interrupt
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = _show(_interrupted(), "--json" in given)
    raise SystemExit(code)


def _open_closed() -> None:
    """Gives closed standard streams a place: the next file opened would take their number.

    Leaves with an error when it is the output, which is what a person asked for.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if sys.stderr is None:
            sys.stderr = sys.stdout
        raise SystemExit(_show(_no_output(_("it is closed")), as_json=False))
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _no_output(why: str) -> AfinaError:
    return StorageError(
        _("the standard output takes nothing: {why}").format(why=why),
        fix=_("send the output to a terminal, or to a file on a disk with room"),
    )


_signals: list[int] = []


class Unwound(KeyboardInterrupt):
    """A signal, as a kind of its own.

    Where KeyboardInterrupt itself passes through code that a library gives to PyRun_String, Python notes
    it, and `python -m afina` ends by SIGINT in the end, whatever code it was to leave with.
    """


def _note_signal(number: int, _frame: FrameType | None) -> None:
    """Unwinds as Ctrl-C does. The number is kept: libraries turn the exception into others at times."""
    _signals.append(number)
    raise Unwound


def _silence_libraries() -> None:
    """The terminal is Afina's: no warnings, notes or progress bars of the libraries underneath."""
    warnings.simplefilter("ignore")
    for name, value in (
        ("PYTHONWARNINGS", "ignore"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_VERBOSITY", "error"),
        ("TQDM_DISABLE", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)


def _guarded(arguments: list[str]) -> int:
    try:
        code = _answer(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _forget_output()  # the reader of a pipe has seen enough
        return 0
    except OSError as error:
        _forget_output()
        return _show(_no_output(error.strerror or str(error)), as_json=False)


def _forget_output() -> None:
    """What is still to be written goes nowhere: Python would complain of it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_fails() -> bool:
    """Whether the standard output takes nothing more: an end of line, which harms none, is tried."""
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), b"\n")
    except io.UnsupportedOperation:  # not a file
        return False
    except OSError:
        return True
    return False


def _answer(arguments: list[str]) -> int:
    import click

    from afina.cli.app import build_app
    from afina.cli.usage import usage_error

    as_json = "--json" in arguments
    try:
        code = build_app()(arguments, prog_name="afina", standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # typer's answer to Ctrl-C, without a word
            return _show(_interrupted(), as_json)
        return int(code or 0)
    except click.exceptions.Abort:
        return _show(_interrupted(), as_json)
    except click.exceptions.Exit as leaving:
        return int(leaving.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_WRONG_USE
    except click.ClickException as error:
        return _show(usage_error(error), as_json)
    except AfinaError as error:
        return _show(error, as_json)
    except KeyboardInterrupt:
        return _show(_interrupted(), as_json)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # click has noticed it first
            raise leaving.__context__ from None
        raise
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and _output_fails():
            raise
        return _show(_known(error), as_json)


def _known(error: Exception) -> AfinaError:
    """An error of a library as what a person can do about it, where it is one of the usual ones."""
    from afina.runs.files import storage_error

    if _signals:
        return _interrupted()
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or _NO_MEMORY in str(error)
    ):
        return AfinaError(
            _("there is not enough memory"),
            fix=_(
                "lower train.micro_batch_tokens or data.max_length, set base.bits: 4, or take a "
                "smaller base"
            ),
        )
    return storage_error(error) or _unexpected(error)


_NO_MEMORY = "can't allocate memory"


def _interrupted() -> AfinaError:
    from afina.runs.signals import stop_error

    return stop_error(_signals[0] if _signals else signal.SIGINT)


def _show(error: AfinaError, as_json: bool) -> int:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    if as_json:
        print(json.dumps(error.as_json(), ensure_ascii=False))
    else:
        print(_("error: {error}").format(error=render(error)), file=sys.stderr, flush=True)
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
        _("something went wrong inside Afina: {kind}: {what}").format(
            kind=type(error).__name__, what=first[:300]
        ),
        where=where,
        fix=_("please report this with the file above; the run can be resumed with the same command"),
    )
