"""Reads a recipe from YAML: line numbers, YAML 1.2 numbers, nearest names, all faults at once."""

from __future__ import annotations

import difflib
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from afina.errors import Problem, RecipeError
from afina.language import _
from afina.recipe import Recipe


class Yaml12Loader(yaml.SafeLoader):
    """Safe YAML with the 1.2 core schema's scalars: `1e-4` is a number, `no` and `on` are words."""


Yaml12Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    Yaml12Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    base = {"0x": 16, "0o": 8}.get(digits[:2], 10)
    return sign * int(digits if base == 10 else digits[2:], base)


Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in a YAML file, with `a.b=c` overrides applied.

    Raises:
        RecipeError: with every fault found, each with its field and, where it has one, its line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(str(path), [Problem("file", _("there is no such file"))]) from None
    except IsADirectoryError:
        raise RecipeError(str(path), [Problem("file", _("this is a folder, not a recipe"))]) from None
    except UnicodeDecodeError as error:
        what = _("byte {position} is not UTF-8").format(position=error.start)
        raise RecipeError(
            str(path), [Problem("file", what, fix=_("save the file as UTF-8"))]
        ) from None
    return parse_recipe(text, str(path), overrides)


def parse_recipe(text: str, path: str = "recipe", overrides: list[str] | None = None) -> Recipe:
    """The recipe in a YAML text; `path` is only for messages. Raises RecipeError."""
    settings, lines, problems = _load(text, path)
    for override in overrides or []:
        problem = _override(settings, override)
        if problem:
            problems.append(problem)
    try:
        recipe = Recipe.model_validate(settings)
    except ValidationError as error:
        problems += [_problem(entry, lines) for entry in error.errors()]
    if problems:
        raise RecipeError(path, problems)
    return recipe


def _load(text: str, path: str) -> tuple[dict[str, Any], dict[tuple[Any, ...], int], list[Problem]]:
    try:
        loader = Yaml12Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[tuple[Any, ...], int] = {}
            problems: list[Problem] = []
            _walk(node, (), lines, problems)
            settings = loader.construct_document(node) if node is not None else None  # type: ignore[no-untyped-call]
        finally:
            loader.dispose()  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        problem = Problem(
            "yaml",
            what,
            line=mark.line + 1 if mark else None,
            fix=_("check the indentation, the colons and the quotes near this line"),
        )
        raise RecipeError(path, [problem]) from None
    if not isinstance(settings, dict):
        what = _("a recipe is a list of `key: value` lines; this file holds {found}").format(
            found=_("nothing") if settings is None else type(settings).__name__
        )
        raise RecipeError(path, [Problem("file", what, fix=_("begin with `afina recipe new DATA`"))])
    return settings, lines, problems


def _walk(
    node: yaml.Node | None,
    place: tuple[Any, ...],
    lines: dict[tuple[Any, ...], int],
    problems: list[Problem],
) -> None:
    """Notes the line of every key, and keys that are given twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, key.value)
            line = key.start_mark.line + 1
            if inner in lines:
                problems.append(
                    Problem(
                        dotted(inner),
                        _("given twice (first on line {line})").format(line=lines[inner]),
                        line=line,
                    )
                )
            lines[inner] = line
            _walk(value, inner, lines, problems)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            _walk(value, (*place, index), lines, problems)


def _override(settings: dict[str, Any], override: str) -> Problem | None:
    """Applies `a.b=c` to the settings; a list is addressed by its index, as in `gate.0.max=0.1`."""
    field, equals, value = override.partition("=")
    if not equals or not field:
        what = _("`--set {override}` is not of the form field=value").format(override=override)
        return Problem("--set", what)
    try:
        parsed = yaml.load(value, Loader=Yaml12Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        return Problem(field, _("`{value}` is not a YAML value").format(value=value))
    *parents, last = field.split(".")
    target: Any = settings
    for name in parents:
        if isinstance(target, list) and name.isdigit() and int(name) < len(target):
            target = target[int(name)]
            continue
        if not isinstance(target, dict):
            return Problem(field, _("`{name}` has no settings inside").format(name=name))
        if name == "base" and isinstance(target.get(name), str):
            target[name] = {"model": target[name]}
        target = target.setdefault(name, {})
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = parsed
    elif isinstance(target, dict):
        target[last] = parsed
    else:
        return Problem(field, _("`{name}` has no settings inside").format(name=".".join(parents)))
    return None


def dotted(place: tuple[Any, ...]) -> str:
    """("gate", 0, "max") as `gate.0.max`."""
    return ".".join(str(part) for part in place)


def _problem(entry: Any, lines: dict[tuple[Any, ...], int]) -> Problem:
    """One pydantic error as a problem with a line and what to do."""
    place = tuple(part for part in entry["loc"] if not _is_branch(part))
    line = next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), None)
    kind, what, fix = entry["type"], entry["msg"], None
    if kind == "extra_forbidden":
        what, fix = _("there is no such setting"), _suggest(place)
    elif kind == "missing":
        what = _("is needed and missing")
        fix = explain_line(place)
    elif kind == "value_error":
        what = what.removeprefix("Value error, ")
    else:
        found = _shown(entry.get("input"))
        what = _("{fault}; found {found}").format(fault=what, found=found)
        fix = explain_line(place)
    return Problem(dotted(place) or "recipe", what, line=line, fix=fix)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _is_branch(part: Any) -> bool:
    """Whether a part of pydantic's place names a branch of a union, which no recipe writes."""
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "float", "bool"))


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


def _suggest(place: tuple[Any, ...]) -> str | None:
    model = model_at(place)
    if model is None:
        return None
    names = list(model.model_fields)
    elsewhere = [path for path, _field in all_fields() if path.split(".")[-1] == str(place[-1])]
    if elsewhere:
        return _("did you mean `{name}`?").format(name=elsewhere[0])
    near = difflib.get_close_matches(str(place[-1]), names, n=1, cutoff=0.5)
    if near:
        return _("did you mean `{name}`?").format(name=dotted((*place[:-1], near[0])))
    return _("known here: {names}").format(names=", ".join(names))


def explain_line(place: tuple[Any, ...]) -> str | None:
    """The description of the setting at `place`."""
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


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out."""
    return yaml.safe_dump(
        recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
