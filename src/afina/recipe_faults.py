"""From what pydantic found to faults a person can mend: line, nearest name, what belongs there."""

from __future__ import annotations

import difflib
import reprlib
import types
import typing
from typing import Any

from pydantic import BaseModel

from afina.errors import Problem
from afina.language import _
from afina.recipe import Recipe

Place = tuple[str, ...]
_BRANCHES = ("literal[", "list[", "function-", "constrained-")


def dotted(place: tuple[Any, ...]) -> str:
    """("gate", 0, "max") as `gate.0.max`."""
    return ".".join(str(part) for part in place)


def problems_of(entries: list[Any], lines: dict[Place, int], given: set[Place]) -> list[Problem]:
    """Pydantic's errors as problems.

    Args:
        lines: the line of each place in the file.
        given: places that `--set` gave a value.
    """
    found: list[Problem] = []
    for entry in _without_wrong_branches(entries):
        place = _place(entry)
        if entry["type"] != "value_error":
            found.append(_problem(entry, place, lines, given))
            continue
        for what in entry["msg"].removeprefix("Value error, ").split("\n"):
            inner, colon, rest = what.partition(": ")
            # A rule between sections says itself where its fault is: `gate.1: …`.
            if not place and colon:
                found.append(_placed(tuple(inner.split(".")), rest, None, lines, given))
            else:
                found.append(_placed(place, what, None, lines, given))
    return found


def _placed(
    place: Place, what: str, fix: str | None, lines: dict[Place, int], given: set[Place]
) -> Problem:
    """A problem with its line; the one that `--set` made has none."""
    if any(place[: len(one)] == one or one[: len(place)] == place for one in given if place):
        return Problem(dotted(place), _("{fault} (given by --set)").format(fault=what), fix=fix)
    line = next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), None)
    return Problem(dotted(place) or "recipe", what, line=line, fix=fix)


def _problem(entry: Any, place: Place, lines: dict[Place, int], given: set[Place]) -> Problem:
    if entry["type"] == "extra_forbidden":
        return _placed(place, _("there is no such setting"), _suggest(place), lines, given)
    if entry["type"] == "missing":
        return _placed(place, _("is needed and missing"), explain_line(place), lines, given)
    value = entry.get("input")
    what = _("{fault}; found {found}").format(fault=_in_words(entry), found=_shown(value))
    fix = explain_line(place)
    if entry["type"] == "string_type" and isinstance(value, bool | int | float):
        fix = _("put it in quotes if it is meant as text")
    return _placed(place, what, fix, lines, given)


def _place(entry: Any) -> Place:
    """Where an error is, as a recipe writes it: without the branch of a union that pydantic tried."""
    place = entry["loc"]
    last = place[-1:] if entry["type"] == "extra_forbidden" else ()
    inner = place[: len(place) - len(last)]
    return (*(str(part) for part in inner if not _is_branch(part)), *map(str, last))


def _is_branch(part: Any) -> bool:
    return isinstance(part, str) and part.startswith(_BRANCHES)


def _without_wrong_branches(entries: list[Any]) -> list[Any]:
    """Where a word or a list may stand, only the errors of the form that was meant."""
    lists = {
        _place(e)
        for e in entries
        if _is_branch(e["loc"][-1:][0] if e["loc"] else "") and isinstance(e["input"], list)
    }
    kept = []
    for entry in entries:
        branch = next((part for part in entry["loc"] if _is_branch(part)), None)
        if branch is None:
            kept.append(entry)
            continue
        where = tuple(str(part) for part in entry["loc"][: entry["loc"].index(branch)])
        if (where in lists) == branch.startswith("list["):
            kept.append(entry)
    return kept


def _in_words(entry: Any) -> str:
    """What belongs in a place, for the kinds of errors that a recipe can cause."""
    words = {
        "int_type": _("a whole number belongs here"),
        "int_from_float": _("a whole number belongs here"),
        "int_parsing_size": _("this number is too large"),
        "float_type": _("a number belongs here"),
        "finite_number": _("a finite number belongs here"),
        "string_type": _("text belongs here"),
        "string_too_short": _("this is empty"),
        "bool_type": _("true or false belongs here"),
        "list_type": _("a list belongs here"),
        "model_type": _("settings belong here, as `name: value` lines"),
        "model_attributes_type": _("settings belong here, as `name: value` lines"),
        "dict_type": _("settings belong here, as `name: value` lines"),
        "too_short": _("at least one entry is needed"),
        "invalid_key": _("the name of a setting must be text"),
        "literal_error": _("must be {expected}"),
        "greater_than": _("must be above {gt}"),
        "greater_than_equal": _("must be at least {ge}"),
        "less_than": _("must be below {lt}"),
        "less_than_equal": _("must be at most {le}"),
        "string_pattern_mismatch": _("must be of the form {pattern}"),
    }
    text = words.get(entry["type"])
    return text.format(**entry.get("ctx", {})) if text else str(entry["msg"])


def _shown(value: Any) -> str:
    """A value, however large or deep, in one short phrase with its kind."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxstring, short.maxother = 2, 4, 4, 60, 60
    kinds = {
        str: _("text"),
        bool: _("true or false"),
        int: _("a whole number"),
        float: _("a number"),
        list: _("a list"),
        dict: _("settings"),
        type(None): _("nothing"),
    }
    text = "null" if value is None else short.repr(value)
    return f"{text} ({kinds.get(type(value), type(value).__name__)})"


def model_at(place: tuple[Any, ...]) -> type[BaseModel] | None:
    """The section that holds the setting at `place`."""
    model: type[BaseModel] = Recipe
    for part in place[:-1]:
        if isinstance(part, int) or str(part).isdigit():
            continue
        field = model.model_fields.get(str(part))
        inner = _section_in(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for inner in typing.get_args(annotation):
        found = _section_in(inner)
        if found is not None:
            return found
    return None


def _suggest(place: Place) -> str | None:
    """The nearest name: in the same section, else the same or a like name in another one."""
    model = model_at(place)
    if model is None:
        return None
    wrong = place[-1].lower().replace("-", "_").replace(" ", "_")
    names = list(model.model_fields)
    everywhere = [path for path, _field in all_fields()]
    if wrong in names:
        return _("did you mean `{name}`?").format(name=dotted((*place[:-1], wrong)))
    same = [path for path in everywhere if path.split(".")[-1] == wrong]
    if same:
        return _("did you mean `{name}`?").format(name=same[0])
    ends = {path.split(".")[-1]: path for path in reversed(everywhere)}
    here = dict(zip(names, (dotted((*place[:-1], name)) for name in names), strict=True))
    for known, alike in ((here, 0.7), (ends, 0.75), (here, 0.5)):
        near = difflib.get_close_matches(wrong, known, n=1, cutoff=alike)
        if near:
            return _("did you mean `{name}`?").format(name=known[near[0]])
    return _("known here: {names}").format(names=", ".join(names))


def explain_line(place: tuple[Any, ...]) -> str | None:
    """The description of the setting at `place`."""
    while place and str(place[-1]).isdigit():
        place = place[:-1]
    model = model_at(place)
    field = model.model_fields.get(str(place[-1])) if model and place else None
    return _(field.description) if field and field.description else None


def all_fields() -> list[tuple[str, Any]]:
    """Every setting of a recipe with its dotted name, in order."""
    found: list[tuple[str, Any]] = []

    def visit(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            found.append((f"{prefix}{name}", field))
            inner = _section_in(field.annotation)
            if inner is not None:
                visit(inner, f"{prefix}{name}.")

    visit(Recipe, "")
    return found
