"""The rows of one source, each checked; what is wrong with them is told all at once."""

from __future__ import annotations

from collections.abc import Iterator

from afina.data.roles import Row, find_roles, make_row
from afina.data.sources import read_source
from afina.errors import DataError
from afina.language import _
from afina.recipe import Recipe

_MOST_ERRORS = 20


def read_rows_of(
    recipe: Recipe, source: str, roles_found: dict[str, dict[str, str]], group_by: str | None = None
) -> Iterator[Row]:
    """The rows of one source, checked; the roles of its columns are added to `roles_found`.

    Raises DataError that names every faulty row, up to 20.
    """
    kind = recipe.task.kind
    roles: dict[str, str] | None = None
    columns: tuple[str, ...] = ()
    faults: list[DataError] = []
    for where, raw in read_source(source):
        if roles is None:
            roles = find_roles(kind, recipe.data.columns, list(raw), where)
        if tuple(raw) != columns:
            columns = tuple(raw)
            roles = _with_input(recipe, roles, list(raw), where)
            roles_found[source] = roles
        try:
            row = make_row(kind, roles, raw, where)
            row.source = source
            _check_row(recipe, row, where, group_by)
        except DataError as fault:
            faults.append(fault)
            if len(faults) == _MOST_ERRORS:
                break
            continue
        row.make_id()
        if not faults:
            yield row
    if faults:
        _raise_all(faults, columns)


def _with_input(recipe: Recipe, roles: dict[str, str], found: list[str], where: str) -> dict[str, str]:
    """The roles, and the optional `input` of an alpaca row where the first rows had none.

    A needed column never changes: a row without it is a fault, not a row with other roles.
    """
    try:
        here = find_roles(recipe.task.kind, recipe.data.columns, found, where)
    except DataError:
        return roles
    return here if {**here, **roles} == here else roles


def _check_row(recipe: Recipe, row: Row, where: str, group_by: str | None) -> None:
    labels = recipe.task.labels
    if labels is not None and row.label is not None and row.label not in labels:
        raise DataError(
            _("label {label!r} is not one of task.labels ({labels})").format(
                label=row.label, labels=", ".join(labels)
            ),
            where=where,
            fix=_("correct the label, or add it to task.labels"),
        )
    if group_by is not None and group_by not in row.extra and group_by != "source":
        raise DataError(
            _("this row has no value in `{column}` (data.split.group_by)").format(column=group_by),
            where=where,
            fix=_("columns to group by here: {columns}").format(columns=", ".join(row.extra) or "-"),
        )


def _raise_all(faults: list[DataError], columns: tuple[str, ...]) -> None:
    fix = faults[0].fix or _("columns here: {columns}").format(columns=", ".join(columns))
    if len(faults) == 1:
        raise DataError(faults[0].what, where=faults[0].where, fix=fix)
    lines = [f"{fault.where}: {fault.what}" for fault in faults]
    if len(faults) == _MOST_ERRORS:
        lines.append(_("(only the first {count} are shown)").format(count=_MOST_ERRORS))
    raise DataError("\n".join(lines), fix=fix)


def group_of(row: Row, column: str) -> str:
    """The value of `group_by`; `source` is the row's source unless the rows have such a column."""
    return str(row.extra.get(column, row.source))
