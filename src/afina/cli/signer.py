"""`afina signer …`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from afina.cli.common import JsonOption, LangOption, check_language, print_json
from afina.cli.sign import PassphraseOption, TrustOption
from afina.language import _

if TYPE_CHECKING:
    from afina.signing import SignerEntry

app = typer.Typer(
    help=_("Keys to sign releases with, and whose signatures count."), no_args_is_help=True
)


@app.command(
    help=_("Make keys to sign with; from then on only signed releases are loaded on this machine."),
    epilog=_("Example: afina signer new ana"),
)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help=_("As others will see it."))],
    passphrase_file: PassphraseOption = None,
    no_passphrase: Annotated[
        bool,
        typer.Option("--no-passphrase", help=_("Keep the keys without one, readable by you alone.")),
    ] = False,
    not_trusted: Annotated[
        bool,
        typer.Option(
            "--not-trusted", help=_("Only make the keys: this machine asks for no signature yet.")
        ),
    ] = False,
    trust: TrustOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make keys to sign with; from then on only signed releases are loaded on this machine."""
    import afina

    check_language(lang)
    made = afina.new_signer(
        name,
        passphrase_file=passphrase_file,
        protect=not no_passphrase,
        trusted=not not_trusted,
        trust=trust,
    )
    _say(made, json, [_("keys made for {name}").format(name=made.name), *_for_others(made)])


@app.command(
    "list",
    help=_("Who is trusted or revoked here, and whose keys are here."),
    epilog=_("Example: afina signer list"),
)
def list_(trust: TrustOption = None, json: JsonOption = False, lang: LangOption = None) -> None:
    """Who is trusted or revoked here, and whose keys are here."""
    import afina

    check_language(lang)
    found = afina.list_signers(trust=trust)
    if json:
        print_json([entry.as_json() for entry in found])
        return
    if not found:
        print(_("nobody yet: no signature is asked for on this machine"))
    for entry in found:
        keys = _("keys here") if entry.own else ""
        since = "" if entry.since is None else entry.since[:10]
        parts = [_state(entry.state), since, keys, entry.why]
        print(f"{entry.name}  {entry.id[:16]}  {', '.join(part for part in parts if part)}")


@app.command(
    help=_("Trust a signer by the .json file that they gave you."),
    epilog=_("Example: afina signer trust ana.json"),
)
def trust(
    file: Annotated[str, typer.Argument(metavar="FILE", help=_("The signer's public file."))],
    expected_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help=_("The id that the signer told you; else refuse.")),
    ] = None,
    folder: TrustOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Trust a signer by the .json file that they gave you."""
    import afina

    check_language(lang)
    entry = afina.trust_signer(file, expected_id=expected_id, trust=folder)
    lines = [_("{name} is trusted here; id {id}").format(name=entry.name, id=entry.id)]
    if expected_id is None:
        lines.append(_("compare the id with what the signer tells you in another way"))
    others = [one for one in afina.list_signers(trust=folder) if one.name == entry.name]
    lines += [
        _("take care: another signer is called {name}, with the id {id}").format(
            name=one.name, id=one.id
        )
        for one in others
        if one.id not in (entry.id, *entry.vouched_by)
    ]
    _say(entry, json, lines)


@app.command(
    help=_("Load nothing any more that a signer signed; this is not taken back."),
    epilog=_('Example: afina signer revoke ana --because "the laptop was stolen"'),
)
def revoke(
    name: Annotated[
        str, typer.Argument(metavar="SIGNER", help=_("The name, the beginning of the id, or the file."))
    ],
    because: Annotated[
        str, typer.Option("--because", metavar="TEXT", help=_("Why; those who are refused read it."))
    ] = "",
    trust: TrustOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Load nothing any more that a signer signed; this is not taken back."""
    import afina

    check_language(lang)
    entry = afina.revoke_signer(name, why=because, trust=trust)
    _say(entry, json, [_("{name} is revoked here; id {id}").format(name=entry.name, id=entry.id)])


@app.command(
    help=_("Make new keys of a signer, for which the old ones vouch; the old secret keys are removed."),
    epilog=_("Example: afina signer rotate ana"),
)
def rotate(
    name: Annotated[str, typer.Argument(metavar="NAME", help=_("Whose keys are here."))],
    passphrase_file: PassphraseOption = None,
    new_passphrase_file: Annotated[
        typer.FileText | None,
        typer.Option(
            "--new-passphrase-file",
            metavar="FILE",
            help=_(
                "A file with the passphrase of the new keys; empty: that of the old, or it is asked."
            ),
        ),
    ] = None,
    trust: TrustOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make new keys of a signer, for which the old ones vouch; the old secret keys are removed."""
    import afina
    from afina.trust.passphrase import asked_passphrase, given_passphrase

    check_language(lang)
    fresh = None
    if new_passphrase_file is not None:
        fresh = new_passphrase_file.read().rstrip("\r\n")
    old = None
    if given_passphrase(passphrase_file) is None and sys.stdin.isatty():
        old = asked_passphrase()
        fresh = fresh or asked_passphrase(new=True)
    made = afina.rotate_signer(
        name, passphrase=old, passphrase_file=passphrase_file, new_passphrase=fresh, trust=trust
    )
    _say(made, json, [_("new keys made for {name}").format(name=made.name), *_for_others(made)])


def _for_others(entry: SignerEntry) -> list[str]:
    lines = [
        _("id {id}").format(id=entry.id),
        _("give this file to those who are to trust your models: {file}").format(file=entry.file),
    ]
    if entry.state == "trusted":
        lines.append(_("from now on this machine loads a release only when a trusted signer signed it"))
    return lines


def _state(state: str) -> str:
    return {
        "trusted": _("trusted"),
        "revoked": _("revoked"),
        "unknown": _("not trusted"),
    }[state]


def _say(entry: SignerEntry, as_json: bool, lines: list[str]) -> None:
    if as_json:
        print_json(entry.as_json())
        return
    for line in lines:
        print(line)
