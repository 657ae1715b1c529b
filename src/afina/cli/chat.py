"""`afina chat RUN`"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from afina.cli.common import Console, LangOption, RunsOption, check_language
from afina.cli.passphrases import ByPassphraseOption, KeyOption, PassphraseFileOption, Passphrases
from afina.language import _


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help=_("Talk to the tuned model; a classifier says its label and probabilities for each text."),
        epilog=_("Example: afina chat phishing"),
    )(chat)


def chat(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help=_("A run: a path, NAME or NAME@2; a folder with a release; a sealed file."),
        ),
    ],
    key: KeyOption = None,
    passphrase: ByPassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
    runs: RunsOption = "runs",
    lang: LangOption = None,
) -> None:
    """Talk to the tuned model; a classifier says its label and probabilities for each text."""
    import afina
    from afina.runs.folder import name_with_model

    check_language(lang)
    console = Console()
    chosen = name_with_model(run, runs)
    if chosen != run:
        console.say(
            _("the newest run of {name} has no model yet: {run} answers").format(name=run, run=chosen)
        )
    secrets = Passphrases(passphrase_file)
    model = afina.open_model(
        chosen,
        runs=runs,
        key=key,
        passphrase=secrets.of_seal(passphrase),
        key_passphrase=secrets.of_key(),
        say=console.say,
    )
    if model.engine.settings.personal == "mask":
        console.say(_("personal data is masked before the model reads it, as in its training"))
    if sys.stdin.isatty():
        print(_("write a text and press Enter; Ctrl-D or an empty line ends"), file=sys.stderr)
    messages: list[dict[str, str]] = []
    while True:
        text = _read_line()
        if not text:
            return
        if model.engine.settings.kind == "classify":
            _print_labels(model.classify([text])[0])
            continue
        messages.append({"role": "user", "content": text})
        pieces = []
        for piece in model.reply(messages):
            print(piece, end="", flush=True)
            pieces.append(piece)
        print()
        messages.append({"role": "assistant", "content": "".join(pieces)})


def _read_line() -> str:
    """The next line without its end; empty at the end of the input."""
    if sys.stdin.isatty():
        try:
            return input("> ").strip()
        except EOFError:
            return ""
    for line in sys.stdin:
        if line.strip():
            return line.strip()
    return ""


def _print_labels(probabilities: dict[str, float]) -> None:
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    print(f"{ranked[0][0]}  ({', '.join(f'{label} {share:.3f}' for label, share in ranked)})")
