"""Passphrases at the command line: asked for without showing them, or read from a file. Never options:
what stands on a command line can be read by every user of the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from afina.errors import SealError
from afina.language import _
from afina.trust.passphrase import typed

KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help=_("Your private key: a name or its file.")),
]
ByPassphraseOption = Annotated[
    bool,
    typer.Option("--passphrase", help=_("Open a sealed file with its passphrase, not with a key.")),
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=_("Passphrases, one a line, in the order in which they would be asked for."),
    ),
]


class Passphrases:
    """Asks a person, or takes the next line of a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lines: list[str] | None = None

    def of_seal(self, at_once: bool = False) -> Callable[[], str] | str:
        """The passphrase of a sealed file: what asks for it, or the text, which goes before keys."""
        ask = self._ask(_("passphrase of the sealed file: "))
        return ask() if at_once else ask

    def of_key(self) -> Callable[[], str]:
        """What asks for the passphrase of a private key."""
        return self._ask(_("passphrase of your private key: "))

    def _ask(self, prompt: str, twice: bool = False) -> Callable[[], str]:
        return lambda: self._next() if self._path is not None else typed(prompt, twice)

    def ask_new(self, prompt: str) -> Callable[[], str]:
        """What asks for a new passphrase, twice."""

        return self._ask(prompt, twice=True)

    def _next(self) -> str:
        assert self._path is not None
        if self._lines is None:
            self._lines = self._read(self._path)
        if not self._lines:
            raise SealError(
                _("there is no further passphrase in this file"),
                where=str(self._path),
                fix=_("write one a line, in the order in which they would be asked for"),
            )
        return self._lines.pop(0)

    @staticmethod
    def _read(path: Path) -> list[str]:
        try:
            return [line for line in path.read_text(encoding="utf-8").splitlines() if line]
        except (OSError, UnicodeDecodeError) as error:
            raise SealError(
                _("this file of passphrases cannot be read: {error}").format(error=error),
                where=str(path),
            ) from None
