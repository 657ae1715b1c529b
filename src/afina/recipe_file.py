"""Reads a recipe from YAML: line numbers, YAML 1.2 numbers, nearest names, all faults at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from afina.errors import Problem, RecipeError
from afina.kinds import in_words
from afina.language import _
from afina.recipe import Recipe
from afina.recipe_faults import Place, all_fields, dotted, explain_line, model_at, problems_of
from afina.recipe_prompts import SHORT, as_prompts

__all__ = [
    "all_fields",
    "dotted",
    "dump_recipe",
    "explain_line",
    "model_at",
    "parse_recipe",
    "read_recipe",
]

LONGEST_RECIPE_BYTES = 1024 * 1024
_DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt")


class Yaml12Loader(yaml.SafeLoader):
    """Safe YAML with the 1.2 core schema's scalars: `1e-4` is a number, `no` and `on` are words."""


class Yaml12Dumper(yaml.SafeDumper):
    """Safe YAML that quotes text which a 1.1 or a 1.2 reader would take for something else."""


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
    for _kind in (Yaml12Loader, Yaml12Dumper):
        _kind.add_implicit_resolver(  # type: ignore[no-untyped-call]
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
        )


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    base = {"0x": 16, "0o": 8}.get(digits[:2], 10)
    return sign * int(digits if base == 10 else digits[2:], base)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text; in double quotes, with escapes, where it holds line breaks that single quotes would fold."""
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029\r") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Yaml12Dumper.add_representer(str, _represent_text)
Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe in a YAML file, with `a.b=c` overrides applied.

    Raises:
        RecipeError: with every fault found, each with its field and, where it has one, its line.
    """
    return parse_recipe(_text_of(Path(path)), str(path), overrides)


def _text_of(file: Path) -> str:
    """A recipe's text. Raises RecipeError that says why there is none."""
    what, fix = None, None
    try:
        if file.stat().st_size > LONGEST_RECIPE_BYTES:
            what = _("this is too large for a recipe")
            fix = _("a recipe is a short YAML file; write one with `afina recipe new DATA`")
        elif file.suffix.lower() in _DATA_SUFFIXES:
            what = _("this is a data file, not a recipe")
            fix = _("write a recipe for it with `afina recipe new {file}`").format(file=file)
        else:
            return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        what = _("there is no such file")
        fix = _("check the path, or write a recipe from your data with `afina recipe new DATA`")
    except IsADirectoryError:
        what = _("this is a folder, not a recipe")
    except UnicodeDecodeError as error:
        what, fix = (
            _("byte {position} is not UTF-8").format(position=error.start),
            _("save the file as UTF-8"),
        )
    except OSError as error:
        what = _("this file cannot be read: {error}").format(error=error.strerror)
    raise RecipeError(str(file), [Problem("file", what, fix=fix)])


def parse_recipe(text: str, path: str = "recipe", overrides: list[str] | None = None) -> Recipe:
    """The recipe in a YAML text; `path` is only for messages. Raises RecipeError."""
    settings, lines, problems = _load(text, path)
    given: set[Place] = set()
    for override in overrides or []:
        problem = _override(settings, override)
        if problem:
            problems.append(problem)
        given.add(tuple(override.partition("=")[0].split(".")))
    try:
        recipe = Recipe.model_validate(settings)
    except ValidationError as error:
        problems += problems_of(error.errors(include_url=False), lines, given)
    if problems:
        raise RecipeError(path, problems)
    return recipe


def _load(text: str, path: str) -> tuple[dict[str, Any], dict[Place, int], list[Problem]]:
    try:
        loader = Yaml12Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Place, int] = {}
            problems: list[Problem] = []
            _walk(node, (), lines, problems, set())
            settings = loader.construct_document(node) if node is not None else None  # type: ignore[no-untyped-call]
        finally:
            loader.dispose()  # type: ignore[no-untyped-call]
    except RecursionError:
        raise RecipeError(path, [Problem("yaml", _("this is nested too deeply for a recipe"))]) from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        said = [getattr(error, "context", None), getattr(error, "problem", None)]
        what = ", ".join(part for part in said if part) or str(error).splitlines()[0]
        problem = Problem(
            "yaml",
            what,
            line=mark.line + 1 if mark else None,
            fix=_("check the indentation, the colons and the quotes near this line"),
        )
        raise RecipeError(path, [problem]) from None
    if not isinstance(settings, dict):
        what = _("a recipe is a list of `key: value` lines; this file holds {found}").format(
            found=in_words(settings)
        )
        raise RecipeError(path, [Problem("file", what, fix=_("begin with `afina recipe new DATA`"))])
    return settings, lines, problems


def _walk(
    node: yaml.Node | None,
    place: Place,
    lines: dict[Place, int],
    problems: list[Problem],
    seen: set[int],
) -> None:
    """Notes the line of every key, and keys that are given twice; each node once, also when aliased."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            inner = (*place, str(key.value))
            line = key.start_mark.line + 1
            if inner in lines:
                problems.append(
                    Problem(
                        dotted(inner),
                        _("given twice (first on line {line})").format(line=lines[inner]),
                        line=line,
                        fix=_("keep one of the two"),
                    )
                )
            lines[inner] = line
            _walk(value, inner, lines, problems, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*place, str(index))
            lines[inner] = value.start_mark.line + 1
            _walk(value, inner, lines, problems, seen)


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
    place = field.split(".")
    target: Any = settings
    for depth, name in enumerate(place):
        _write_out(target, place[:depth], name)
        last = depth == len(place) - 1
        if isinstance(target, list):
            if not name.isdigit() or int(name) >= len(target):
                what = _("`{list}` has entries 0 to {last}, not `{name}`")
                if not target:
                    what = _("`{list}` has no entries")
                return Problem(
                    field,
                    what.format(list=dotted(tuple(place[:depth])), last=len(target) - 1, name=name),
                )
            key: Any = int(name)
        elif isinstance(target, dict):
            key = name
            if not last and target.get(key) is None:
                target[key] = {}
        else:
            return Problem(
                field, _("`{name}` has no settings inside").format(name=dotted(tuple(place[:depth])))
            )
        if last:
            target[key] = parsed
        else:
            target = target[key]
    return None


def _write_out(target: Any, place: list[str], name: str) -> None:
    """Replaces the short forms `base: MODEL`, `train: FILE` and `prompts: [plain]` by what they stand
    for, so that a setting inside of them can be given."""
    if not place and name == "base" and isinstance(target.get(name), str):
        target[name] = {"model": target[name]}
    if (
        place == ["data"]
        and name == "train"
        and isinstance(target, dict)
        and isinstance(target.get(name), str | dict)
    ):
        target[name] = [target[name]]
    if place == ["evaluate"] and name == "prompts" and isinstance(target, dict):
        target[name] = as_prompts(target.get(name))
    if place == ["evaluate", "prompts"] and name == "variants" and isinstance(target, dict):
        given = target.get(name)
        if isinstance(given, list):
            short = [isinstance(one, str) and one in SHORT for one in given]
            given[:] = [
                dict(SHORT[one]) if word else one for one, word in zip(given, short, strict=True)
            ]
    if place == ["data", "train"] and isinstance(target, list):
        target[:] = [{"source": entry} if isinstance(entry, str) else entry for entry in target]


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out."""
    return str(
        yaml.dump(
            recipe.model_dump(mode="json"),
            Dumper=Yaml12Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=100,
        )
    )
