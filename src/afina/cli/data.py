"""`afina data …`"""

from __future__ import annotations

from typing import Annotated

import typer

from afina.cli.common import (
    Console,
    JsonOption,
    LangOption,
    RunsOption,
    SetOption,
    check_language,
    print_json,
)
from afina.cli.stages import Target
from afina.language import _

app = typer.Typer(help=_("Read, clean and split data."), no_args_is_help=True)


@app.command(
    help=_("Read the sources, find duplicates, split, and write the audit."),
    epilog=_("Example: afina data build recipes/phishing.yaml"),
)
def build(
    target: Target,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Read the sources, find duplicates, split, and write the audit."""
    import afina

    check_language(lang)
    console = Console()
    result = afina.build_data(
        target, runs=runs, overrides=set_ or [], say=console.say, progress=console.progress
    )
    if json:
        print_json(result.audit)
        return
    if not result.did_work:
        print(_("nothing to do: everything was done already"))
    for name, part in result.audit["splits"].items():
        labels = ", ".join(f"{label} {count:,}" for label, count in part["labels"].items())
        print(
            _("{split}: {rows:,} rows, {tokens:,} tokens; {labels}").format(
                split=name, rows=part["rows"], tokens=part["tokens"], labels=labels or "-"
            )
        )
    print(_("audit: {path}").format(path=result.folder / "data" / "audit.json"))


@app.command(
    help=_("Say what rows hold: personal data, secrets, languages, what gives the label away, leaks."),
    epilog=_("Example: afina data audit mails.csv"),
)
def audit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE-or-RECIPE", help=_("A file, glob or folder with rows, or a recipe file.")
        ),
    ],
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", help=_("Look at so many rows at most."), min=1)
    ] = 50_000,
    names: Annotated[
        str | None,
        typer.Option(
            "--names",
            metavar="MODEL",
            help=_("Look for names of people too, with this spaCy model; needs afina[names]."),
        ),
    ] = None,
    set_: SetOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Say what the rows hold."""
    import afina
    from afina.cli.audit_lines import lines_of

    check_language(lang)
    console = Console()
    found = afina.audit_data(source, overrides=set_ or [], most_rows=rows, names=names, say=console.say)
    if json:
        print_json(found)
        return
    for line in lines_of(found):
        print(line)
