"""Puts the commands together."""

from __future__ import annotations

from typing import Any

import typer

from afina.cli import (
    base,
    chat,
    data,
    doctor,
    export,
    prices,
    publish,
    quantize,
    recipe,
    recipient,
    registry,
    runs,
    seal,
    sign,
    signer,
    stages,
    suites,
)
from afina.cli.usage import translate_help
from afina.language import _


def build_app() -> Any:
    """The whole command line, in the language in use."""
    app = typer.Typer(
        name="afina",
        help=_(
            "From your own data to your own Llama 3, with proof: fine-tune, evaluate, gate and "
            "explain, offline."
        ),
        epilog=_("Example: afina run recipes/phishing.yaml --lang es"),
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global)
    stages.add_to(app)
    suites.add_to(app)
    chat.add_to(app)
    export.add_to(app)
    sign.add_to(app)
    seal.add_to(app)
    publish.add_to(app)
    quantize.add_to(app)
    doctor.add_to(app)
    app.add_typer(data.app, name="data")
    app.add_typer(recipe.app, name="recipe")
    app.add_typer(runs.app, name="runs")
    app.add_typer(registry.app, name="registry")
    app.add_typer(base.app, name="base")
    app.add_typer(recipient.app, name="recipient")
    app.add_typer(prices.app, name="prices")
    app.add_typer(signer.app, name="signer")
    command = typer.main.get_command(app)
    translate_help(command)
    return command


def _version(wanted: bool) -> None:
    if wanted:
        import afina

        print(f"afina {afina.__version__}")
        raise typer.Exit


def _global(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help=_("Print the version.")
    ),
    lang: str = typer.Option("", "--lang", metavar="en|es", help=_("Language of messages and reports.")),
) -> None:
    from afina.cli.common import check_language

    check_language(lang or None)
