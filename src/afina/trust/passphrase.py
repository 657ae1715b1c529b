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
        found = typed(_("new passphrase: ") if new else _("passphrase: "), new)
    if new:
        require_long(found)
    return found


def require_long(passphrase: str) -> str:
    """The passphrase. Raises AfinaError for one of a few characters, which is guessed soon."""
    if len(passphrase) < FEWEST_CHARACTERS:
        raise AfinaError(
            _("a passphrase of {count} characters is too short").format(count=len(passphrase)),
            fix=_("take {count} or more: some words are easy to remember and hard to guess").format(
                count=FEWEST_CHARACTERS
            ),
        )
    return passphrase


def typed(prompt: str, twice: bool = False) -> str:
    """What a person types without seeing it.

    Args:
        twice: a new one, in which a slip would lock them out.
    Raises:
        AfinaError: when nobody is there to type, nothing was typed, or the two differ.
    """
    from getpass import getpass

    if not sys.stdin.isatty():
        raise AfinaError(
            _("a passphrase is needed, and nobody is there to type it"),
            fix=_("put it into a file and name that with --passphrase-file"),
        )
    try:
        found = getpass(prompt, stream=sys.stderr)
        if twice and getpass(_("once more: "), stream=sys.stderr) != found:
            raise AfinaError(_("the two passphrases differ"), fix=_("run the command again"))
    except EOFError:
        raise AfinaError(_("a passphrase is needed, and none was typed")) from None
    return found
