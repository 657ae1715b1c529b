"""Where a passphrase comes from: a file, the environment, or a person at the keyboard."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from afina.errors import AfinaError
from afina.language import _

VARIABLE = "AFINA_SIGNER_PASSPHRASE"
FILE_VARIABLE = "AFINA_SIGNER_PASSPHRASE_FILE"
FEWEST_CHARACTERS = 8


def given_passphrase(file: Path | None = None) -> str | None:
    """The passphrase from a file, else from the environment; None when neither has one.

    The end of the file's last line is no part of it. Raises AfinaError when the file cannot be read.
    """
    named = file or (Path(os.environ[FILE_VARIABLE]) if os.environ.get(FILE_VARIABLE) else None)
    if named is None:
        return os.environ.get(VARIABLE) or None
    try:
        return named.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AfinaError(
            _("the passphrase cannot be read: {error}").format(error=error), where=str(named)
        ) from None


def asked_passphrase(file: Path | None = None, new: bool = False) -> str:
    """The passphrase that was given, else what a person types.

    Args:
        new: it is to protect new keys: typed twice, and not too short.
    Raises:
        AfinaError: when nobody is there to type, the two differ, or it is too short.
    """
    found = given_passphrase(file)
    if found is None:
        if not sys.stdin.isatty():
            raise AfinaError(
                _("these keys need a passphrase, and nobody is there to type it"),
                fix=_("put it into a file and name that with --passphrase-file or {variable}").format(
                    variable=FILE_VARIABLE
                ),
            )
        found = _typed(new)
    if new:
        require_long(found)
    return found


def require_long(passphrase: str) -> None:
    """Raises AfinaError for a passphrase of a few characters, which is guessed soon."""
    if len(passphrase) < FEWEST_CHARACTERS:
        raise AfinaError(
            _("a passphrase of {count} characters is too short").format(count=len(passphrase)),
            fix=_("take {count} or more: some words are easy to remember and hard to guess").format(
                count=FEWEST_CHARACTERS
            ),
        )


def _typed(new: bool) -> str:
    from getpass import getpass

    found = getpass(_("new passphrase: ") if new else _("passphrase: "))
    if new and getpass(_("once more: ")) != found:
        raise AfinaError(_("the two passphrases differ"), fix=_("run the command again"))
    return found
