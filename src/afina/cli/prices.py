"""`afina prices …`"""

from __future__ import annotations

from typing import Annotated

import typer

from afina.cli.common import JsonOption, LangOption, check_language, print_json
from afina.language import _

app = typer.Typer(help=_("The table of prices that budgets are counted with."), no_args_is_help=True)


@app.command(
    "list",
    help=_("Show the price table in use, and where it is."),
    epilog=_("Example: afina prices list"),
)
def list_(
    table: Annotated[
        str | None, typer.Option("--prices", metavar="FILE", help=_("A price table of your own."))
    ] = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Show the price table in use, and where it is."""
    from afina.runs.prices import read_table, table_path

    check_language(lang)
    path = table_path(table)
    found = read_table(path)
    if json:
        print_json({"path": str(path), **found.model_dump()})
        return
    print(_("{path}, in {currency} an hour").format(path=path, currency=found.currency))
    head = (_("MACHINE"), _("GPU"), _("ON DEMAND"), _("SPOT"), _("DATE"))
    rows = [head] + [
        (
            name,
            f"{one.gpus} × {one.gpu}" if one.gpus else "–",
            "–" if one.on_demand is None else f"{one.on_demand:g}",
            "–" if one.spot is None else f"{one.spot:g}",
            one.date,
        )
        for name, one in found.machines.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(_("these are list prices, check yours: they differ by region, contract and day"))


@app.command(
    help=_("Put the price table where you can edit it; runs take it from there."),
    epilog=_("Example: afina prices copy"),
)
def copy(
    replace: Annotated[
        bool, typer.Option("--replace", help=_("Write over the table that you have."))
    ] = False,
    lang: LangOption = None,
) -> None:
    """Put the price table where you can edit it; runs take it from there."""
    from afina.runs.prices import copy_table

    check_language(lang)
    print(_("your price table: {path}").format(path=copy_table(replace)))
