"""`afina recipient …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afina.cli.common import JsonOption, LangOption, check_language, print_json
from afina.cli.passphrases import PassphraseFileOption, Passphrases
from afina.language import _

app = typer.Typer(help=_("Keys of those for whom releases are sealed."), no_args_is_help=True)


@app.command(
    help=_("Make a key pair: the public key is for those who seal for you, the private one yours."),
    epilog=_("Example: afina recipient new ana"),
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help=_("What the key is called."))],
    no_passphrase: Annotated[
        bool,
        typer.Option(
            "--no-passphrase",
            help=_("Leave the private key unprotected in its file, for a machine that opens by itself."),
        ),
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make a key pair: the public key is for those who seal for you, the private one yours."""
    import afina

    check_language(lang)
    asked = Passphrases(passphrase_file).ask_new(_("new passphrase of the private key: "))
    made = afina.new_recipient(name, passphrase=None if no_passphrase else asked)
    if json:
        print_json(made.as_json())
        return
    print(_("public key, to give away: {path}").format(path=made.path))
    print(_("private key, yours alone: {path}").format(path=made.private))
    print(_("id, to compare by another way when you give the key away: {id}").format(id=made.id))


@app.command(
    "list",
    help=_("List the keys that are known here."),
    epilog=_("Example: afina recipient list"),
)
def list_(json: JsonOption = False, lang: LangOption = None) -> None:
    """List the keys that are known here."""
    import afina
    from afina.seals.recipients import keys_folder

    check_language(lang)
    found = afina.list_recipients()
    if json:
        print_json([one.as_json() for one in found])
        return
    if not found:
        print(_("there are no keys in {folder}").format(folder=keys_folder()))
        return
    head = (_("NAME"), _("ID"), _("PRIVATE KEY"), _("PUBLIC KEY"))
    rows = [head] + [
        (one.name, one.id, _("here") if one.private else "–", str(one.path)) for one in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command(
    help=_("Keep another person's public key, to seal for them by name."),
    epilog=_("Example: afina recipient add ana.public.json"),
)
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("The file NAME.public.json."))],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help=_("Keep it under another name."))
    ] = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Keep another person's public key, to seal for them by name."""
    import afina

    check_language(lang)
    kept = afina.add_recipient(file, name=name)
    if json:
        print_json(kept.as_json())
        return
    print(_("{name} is kept in {path}").format(name=kept.name, path=kept.path))
    print(_("compare its id with its owner by another way: {id}").format(id=kept.id))
