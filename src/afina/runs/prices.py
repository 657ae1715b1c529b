"""What an hour of a machine costs: said in the recipe, or looked up in a table that a person can edit.

No price is ever fetched: the table that comes with Afina holds list prices of a date, and says so.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from afina.errors import AfinaError, StorageError
from afina.language import _
from afina.recipe_budget import Budget
from afina.recipe_file import Yaml12Loader
from afina.recipe_section import Section
from afina.runs.files import storage_error, write_text
from afina.runs.store import config_folder

SHIPPED = Path(__file__).parent / "prices.yaml"


class Machine(Section):
    """One machine of the table; prices are of the whole machine, an hour."""

    provider: str
    gpus: int = Field(ge=0)
    gpu: str
    on_demand: float | None = Field(gt=0)
    spot: float | None = Field(gt=0)
    date: str
    note: str


class PriceTable(Section):
    """The whole table."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    machines: dict[str, Machine]


@dataclass(frozen=True)
class Price:
    """What an hour costs.

    Attributes:
        per_hour: in `currency`.
        source: where it is from, for people and in English: `the recipe`, or machine, kind and date.
    """

    per_hour: float
    currency: str
    source: str


def own_table() -> Path:
    """Where a person's own table is."""
    return config_folder() / "prices.yaml"


def table_path(named: str | None = None) -> Path:
    """The table in use: the one named, else a person's own, else the one that comes with Afina."""
    if named is not None:
        return Path(named)
    own = own_table()
    return own if own.exists() else SHIPPED


def read_table(path: Path) -> PriceTable:
    """The table in a YAML file. Raises AfinaError when it cannot be read or is not one."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml12Loader)  # noqa: S506 - a SafeLoader
        return PriceTable.model_validate(value)
    except FileNotFoundError:
        what = _("there is no such price table")
    except OSError as error:
        known = storage_error(error)
        what = (
            known.what if known else _("this file cannot be read: {error}").format(error=error.strerror)
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or _("the file")
        what = _("this price table is wrong at {place}: {fault}").format(place=place, fault=first["msg"])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = _("this is not YAML: {error}").format(error=str(error).splitlines()[0])
    raise AfinaError(
        what, where=str(path), fix=_("compare it with the table that `afina prices list` shows")
    )


def price_of(budget: Budget) -> Price | None:
    """The price that a recipe asks for; None when it names none.

    Raises:
        AfinaError: a machine that the table does not have, or no price of the kind asked for, or another
            currency than the budget's.
    """
    if budget.price_per_hour is not None:
        return Price(budget.price_per_hour, budget.currency, "the recipe")
    if budget.machine is None:
        return None
    path = table_path(budget.prices)
    table = read_table(path)
    machine = table.machines.get(budget.machine)
    if machine is None:
        near = difflib.get_close_matches(budget.machine, table.machines, n=1, cutoff=0.5)
        raise AfinaError(
            _("the price table has no machine `{name}`").format(name=budget.machine),
            where=str(path),
            fix=_("did you mean `{name}`?").format(name=near[0])
            if near
            else _("`afina prices list` shows them; or give price_per_hour"),
        )
    kind = "spot" if budget.spot else "on-demand"
    per_hour = machine.spot if budget.spot else machine.on_demand
    if per_hour is None:
        raise AfinaError(
            _("the price table has no {kind} price for `{name}`").format(kind=kind, name=budget.machine),
            where=str(path),
            fix=_("write it into the table (`afina prices copy`), or give price_per_hour"),
        )
    if table.currency != budget.currency:
        raise AfinaError(
            _("the prices are in {table} and the budget is in {budget}").format(
                table=table.currency, budget=budget.currency
            ),
            where=str(path),
            fix=_("set train.budget.currency to {table}").format(table=table.currency),
        )
    source = f"{budget.machine}, {kind}, {machine.date}; {machine.note}"
    return Price(per_hour, table.currency, source)


def copy_table(replace: bool = False) -> Path:
    """Puts the table that comes with Afina where a person can edit it. Returns its path.

    Raises:
        StorageError: when there is one already and `replace` is not set.
    """
    path = own_table()
    if path.exists() and not replace:
        raise StorageError(
            _("you have a price table already"),
            where=str(path),
            fix=_("edit it, or give --replace to put the one of this version in its place"),
        )
    try:
        write_text(path, SHIPPED.read_text(encoding="utf-8"))
    except OSError as error:
        raise storage_error(error) or error from None
    return path
