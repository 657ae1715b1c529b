"""`afina seal RUN` and `afina open FILE`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afina.cli.common import (
    Console,
    JsonOption,
    LangOption,
    RunsOption,
    bytes_for_people,
    check_language,
    print_json,
)
from afina.cli.passphrases import ByPassphraseOption, KeyOption, PassphraseFileOption, Passphrases
from afina.errors import AfinaError
from afina.language import _

if TYPE_CHECKING:
    from afina.sealing import SealResult


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        help=_(
            "Encrypt the release of a run into one file, for recipients or with a passphrase; or change "
            "who can open such a file."
        ),
        epilog=_("Example: afina seal phishing --to ana --out phishing.sealed"),
    )(seal)
    app.command(
        "open",
        help=_("Decrypt a sealed file into a new folder, and check the release in it."),
        epilog=_("Example: afina open phishing.sealed --out phishing-release"),
    )(open_)


def seal(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN-or-FILE", help=_("A run, a folder with a release, or a sealed file to change.")
        ),
    ],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="KEY", help=_("A recipient: a name or a file; can be repeated.")),
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help=_("Ask for a new passphrase that opens it, too."))
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help=_("Where to; empty takes NAME-NUMBER.sealed.")),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="KEY", help=_("A further recipient of a sealed file.")),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove", metavar="KEY", help=_("A recipient of a sealed file to leave out: a name or id.")
        ),
    ] = None,
    remove_passphrase: Annotated[
        bool, typer.Option("--remove-passphrase", help=_("Leave out a sealed file's passphrase."))
    ] = False,
    key: KeyOption = None,
    passphrase_file: PassphraseFileOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Encrypt the release of a run into one file, or change who can open such a file."""
    import afina

    check_language(lang)
    console, secrets = Console(), Passphrases(passphrase_file)
    new = secrets.ask_new(_("new passphrase of the sealed file: ")) if passphrase else None
    if Path(run).is_file():
        if to or out:
            raise AfinaError(
                _("{file} is sealed already").format(file=run),
                fix=_("--add KEY and --remove KEY change who can open it"),
            )
        changes: dict[str, Any] = {
            "add": add,
            "remove": remove,
            "new_passphrase": new,
            "remove_passphrase": remove_passphrase,
        }
        result = _changed(run, changes, key, secrets, console)
    elif add or remove or remove_passphrase:
        raise AfinaError(
            _("--add and --remove change a sealed file, and {run} is none").format(run=run),
            fix=_("name recipients of a new one with --to KEY"),
        )
    else:
        result = afina.seal(
            run, to=to, passphrase=new, out=out, runs=runs, say=console.say, progress=console.progress
        )
    if json:
        print_json(result.as_json())
        return
    for line in seal_lines(result):
        print(line)


def _changed(
    file: str, changes: dict[str, Any], key: str | None, secrets: Passphrases, console: Console
) -> SealResult:
    """A sealed file with other recipients; as it is, when no change is asked for."""
    import afina

    if not any(changes.values()):
        return afina.sealed_for(file)
    result = afina.change_recipients(
        file, **changes, key=key, passphrase=secrets.of_seal(), key_passphrase=secrets.of_key()
    )
    if changes["remove"] or changes["remove_passphrase"]:
        console.say(
            _(
                "whoever could open it before may have kept a copy or its key; to shut them "
                "out, seal a new release"
            )
        )
    return result


def seal_lines(result: SealResult) -> list[str]:
    """What a person reads of a sealed file."""
    lines = [f"{result.file}, {bytes_for_people(result.bytes)}"]
    for one in result.recipients:
        name = one["name"] or _("a key that is not known here")
        lines.append(_("opens with: {name} ({id})").format(name=name, id=one["id"]))
    if result.passphrase:
        lines.append(_("opens with: its passphrase"))
    return lines


def open_(
    file: Annotated[str, typer.Argument(metavar="FILE", help=_("A sealed file."))],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help=_("The new folder; empty takes the file's name.")),
    ] = None,
    key: KeyOption = None,
    passphrase: ByPassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Decrypt a sealed file into a new folder, and check the release in it."""
    import afina

    check_language(lang)
    console, secrets = Console(), Passphrases(passphrase_file)
    folder = afina.open_sealed(
        file,
        out=out,
        key=key,
        passphrase=secrets.of_seal(passphrase),
        key_passphrase=secrets.of_key(),
        say=console.say,
        progress=console.progress,
    )
    if json:
        print_json({"folder": str(folder)})
        return
    print(
        _("opened into {folder}: every file is as it was sealed, and as the manifest says").format(
            folder=folder
        )
    )
