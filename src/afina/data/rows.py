"""The rows of one source, each checked; what is wrong with them is told all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from afina.data.roles import Row, find_roles, make_row
from afina.data.sources import RawRow, read_source
from afina.errors import DataError
from afina.language import _
from afina.recipe import Recipe

_MOST_ERRORS = 20
_LONGEST_LABEL = 60


def read_rows_of(
    recipe: Recipe, source: str, roles_found: dict[str, dict[str, str]], group_by: str | None = None
) -> Iterator[Row]:
    """The rows of one source, checked; the roles of its columns are added to `roles_found`.

    Raises DataError that names every faulty row, up to 20, and every label that is not in task.labels.
    """
    kind = recipe.task.kind
    roles: dict[str, str] | None = None
    columns: tuple[str, ...] = ()
    faults = _Faults(recipe.task.labels)
    for where, raw in _until_unreadable(source, faults):
        if roles is None:
            roles = find_roles(kind, recipe.data.columns, list(raw), _file_of(where))
            _check_group(group_by, roles, list(raw), where)
        if tuple(raw) != columns:
            columns = tuple(raw)
            roles = _with_input(recipe, roles, list(raw), where)
            roles_found[source] = roles
        try:
            row = make_row(kind, roles, raw, where)
            row.source = source
            _check_row(row, where, group_by)
        except DataError as fault:
            faults.add(fault)
            if faults.enough():
                break
            continue
        if faults.knows(row, where) and not faults.count:
            row.make_id()
            yield row
    faults.tell(columns)


def _until_unreadable(source: str, faults: _Faults) -> Iterator[RawRow]:
    """The rows of a source; one that cannot be read ends it, and is told after the faults before it."""
    rows = read_source(source)
    while True:
        try:
            row = next(rows, None)
        except DataError as fault:
            if not faults.count:
                raise
            faults.add(fault)
            return
        if row is None:
            return
        yield row


class _Faults:
    """What is wrong with the rows of a source: the first of them, and every unknown label."""

    def __init__(self, labels: list[str] | None) -> None:
        self.count = 0
        self._labels = labels
        self._shown: list[DataError] = []
        self._unknown: Counter[str] = Counter()

    def add(self, fault: DataError) -> None:
        """Takes a faulty row."""
        self.count += 1
        if len(self._shown) < _MOST_ERRORS:
            self._shown.append(fault)

    def knows(self, row: Row, where: str) -> bool:
        """Whether the row's label is one of task.labels; takes the row as faulty when it is not."""
        if self._labels is None or row.label is None or row.label in self._labels:
            return True
        label = row.label if len(row.label) <= _LONGEST_LABEL else row.label[: _LONGEST_LABEL - 1] + "…"
        self._unknown[label] += 1
        self.add(DataError(_("unknown label {label!r}").format(label=label), where=where))
        return False

    def enough(self) -> bool:
        """Whether reading on would tell nothing more; unknown labels are counted to the end."""
        return self.count >= _MOST_ERRORS and not self._unknown

    def tell(self, columns: tuple[str, ...]) -> None:
        """Raises one DataError with all of it, if there is anything."""
        if not self._shown:
            return
        where = self._shown[0].where if self.count == 1 else None
        lines = []
        if self._unknown:
            lines.append(self._labels_in_words())
            fix = _("correct the label, or add it to task.labels")
        else:
            fix = self._shown[0].fix or _("columns here: {columns}").format(columns=", ".join(columns))
        if self.count > 1:
            lines += [f"{fault.where}: {fault.what}" for fault in self._shown]
        elif not self._unknown:
            lines.append(self._shown[0].what)
        if self.count > len(self._shown) or self.enough():
            lines.append(_("(only the first {count} are shown)").format(count=_MOST_ERRORS))
        raise DataError("\n".join(lines), where=where, fix=fix)

    def _labels_in_words(self) -> str:
        known = ", ".join(self._labels or [])
        if self.count == 1:
            return _("label {label!r} is not one of task.labels ({labels})").format(
                label=next(iter(self._unknown)), labels=known
            )
        found = [f"{label!r} × {count:,}" for label, count in self._unknown.most_common(_MOST_ERRORS)]
        if len(self._unknown) > _MOST_ERRORS:
            found.append("…")
        return _("labels that are not in task.labels ({labels}), and their rows: {found}").format(
            labels=known, found=", ".join(found)
        )


def _check_group(group_by: str | None, roles: dict[str, str], found: list[str], where: str) -> None:
    """Raises DataError when no row of the source can have a value of `group_by`."""
    if group_by is None:
        return
    role = next((role for role, column in roles.items() if column == group_by), None)
    if role is None and (group_by in found or group_by == "source"):
        return
    what = _("there is no column `{column}` (data.split.group_by)").format(column=group_by)
    if role is not None:
        what = _("column `{column}` is the {role} of a row: rows cannot be grouped by it").format(
            column=group_by, role=role
        )
    others = [name for name in found if name not in roles.values() and name != "source"]
    raise DataError(
        what,
        where=where,
        fix=_("columns to group by here: {columns}").format(columns=", ".join([*others, "source"])),
    )


def _file_of(where: str) -> str:
    """The file of `file:line`: columns are a matter of the whole file, not of the row that was met."""
    file, colon, line = where.rpartition(":")
    return file if colon and line.isdigit() else where


def _with_input(recipe: Recipe, roles: dict[str, str], found: list[str], where: str) -> dict[str, str]:
    """The roles, and the optional `input` of an alpaca row where the first rows had none.

    A needed column never changes: a row without it is a fault, not a row with other roles.
    """
    try:
        here = find_roles(recipe.task.kind, recipe.data.columns, found, where)
    except DataError:
        return roles
    return here if {**here, **roles} == here else roles


def _check_row(row: Row, where: str, group_by: str | None) -> None:
    if group_by is not None and group_by not in row.extra and group_by != "source":
        raise DataError(
            _("this row has no value in `{column}` (data.split.group_by)").format(column=group_by),
            where=where,
            fix=_("columns to group by here: {columns}").format(columns=", ".join(row.extra) or "-"),
        )


def group_of(row: Row, column: str) -> str:
    """The value of `group_by`; `source` is the row's source unless the rows have such a column."""
    return str(row.extra.get(column, row.source))
