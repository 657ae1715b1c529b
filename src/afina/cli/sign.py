"""`afina sign RUN`, `afina verify RUN-or-FOLDER`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from afina.errors import EXIT_NO
from afina.language import _

if TYPE_CHECKING:
    from afina.signing import Verification

Target = Annotated[
    str,
    typer.Argument(
        metavar="RUN-or-FOLDER", help=_("A run: a path, NAME or NAME@2; or a folder with a manifest.")
    ),
]
TrustOption = Annotated[
    str | None,
    typer.Option(
        "--trust",
        metavar="FOLDER",
        help=_("The folder with keys and trusted signers; empty: AFINA_TRUST, else your own."),
    ),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=_("A file with the passphrase of the keys; empty: the environment, else it is asked for."),
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        help=_("Sign a release: with ECDSA as OpenSSF Model Signing does, and with ML-DSA-65."),
        epilog=_("Example: afina sign phishing"),
    )(sign)
    app.command(
        help=_("Check every file of a release, and its signatures; exit code 1 when one is wrong."),
        epilog=_("Example: afina verify phishing"),
    )(verify)


def sign(
    run: Target,
    signer: Annotated[
        str | None,
        typer.Option("--signer", metavar="NAME", help=_("Whose keys; empty takes the only ones.")),
    ] = None,
    passphrase_file: PassphraseOption = None,
    trust: TrustOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Sign a release: with ECDSA as OpenSSF Model Signing does, and with ML-DSA-65."""
    import afina

    check_language(lang)
    found = afina.sign(
        run, signer=signer, passphrase_file=passphrase_file, trust=trust, runs=runs, say=Console().say
    )
    if json:
        print_json(found.as_json())
        return
    print(
        _("signed by {name}: {files} files, {size}, in {folder}").format(
            name=found.signer,
            files=found.files,
            size=bytes_for_people(found.bytes),
            folder=found.folder / "signatures",
        )
    )
    if not found.ok:
        print(_("it would not be loaded here: {problem}").format(problem=found.problem))
    print(_("next: afina verify {run}").format(run=run))


def verify(
    run: Target,
    trust: TrustOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> int:
    """Check every file of a release, and its signatures; exit code 1 when one is wrong."""
    import afina

    check_language(lang)
    found = afina.verify(run, trust=trust, runs=runs, say=Console().say)
    if json:
        print_json(found.as_json())
    else:
        for line in verification_lines(found):
            print(line)
    return 0 if found.ok else EXIT_NO


def verification_lines(found: Verification) -> list[str]:
    """What a person reads of a verification."""
    if not found.ok:
        lines = [_("NO: {problem}").format(problem=found.problem)]
        lines += [_("  where: {where}").format(where=found.where)] if found.where else []
        return lines + ([_("  what to do: {fix}").format(fix=found.fix)] if found.fix else [])
    lines = [
        _("files: all {count} are as the manifest says ({size}), and there are no others").format(
            count=found.files, size=bytes_for_people(found.bytes)
        )
    ]
    if found.signer is None:
        lines.append(_("signatures: none, and none is asked for on this machine"))
    else:
        text = (
            _("signatures: both are right, by {name} ({id}), who is trusted here")
            if found.trusted
            else _(
                "signatures: both are right, by {name} ({id}); nobody is trusted here yet, so that this "
                "says only that they are from one signer"
            )
        )
        lines.append(text.format(name=found.signer, id=str(found.signer_id)[:16]))
    return lines
