"""`afina recipe …`"""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afina.cli.common import (
    Console,
    JsonOption,
    LangOption,
    SetOption,
    check_language,
    print_json,
)
from afina.language import _

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

app = typer.Typer(help=_("Write, check and understand recipes."), no_args_is_help=True)


@app.command(
    help=_("Say what a recipe would do, without training anything."),
    epilog=_("Example: afina recipe check recipe.yaml --set train.epochs=5"),
)
def check(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=_("A recipe file."))],
    set_: SetOption = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Say what a recipe would do, without training anything."""
    import afina

    check_language(lang)
    found = afina.check_recipe(recipe, overrides=set_ or [], say=Console().say)
    if json:
        print_json(found.as_json())
        return
    for line in found.lines():
        print(line)


@app.command(
    help=_("Foretell memory, time and cost on this machine, from a short rehearsal of the real parts."),
    epilog=_("Example: afina recipe estimate recipe.yaml --set train.budget.machine=g5.xlarge"),
)
def estimate(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=_("A recipe file."))],
    set_: SetOption = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="N", help=_("How long training steps are tried.")),
    ] = 60.0,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Foretell memory, time and cost on this machine, from a short rehearsal of the real parts."""
    import afina

    check_language(lang)
    found = afina.estimate_recipe(recipe, overrides=set_ or [], seconds=seconds, say=Console().say)
    if json:
        print_json(found.as_json())
        return
    for line in found.lines():
        print(line)


@app.command(
    help=_("Write a commented recipe for your own data: a file, a glob or a folder."),
    epilog=_("Example: afina recipe new mails.csv --output mails.yaml"),
)
def new(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help=_("A file, glob or folder, or hf:DATASET."))
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help=_("The recipe to write."))
    ] = "recipe.yaml",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help=_("The name of its runs."))
    ] = None,
    lang: LangOption = None,
) -> None:
    """Write a commented recipe for your own data."""
    import shlex
    from pathlib import Path

    from afina.recipe_file import read_recipe
    from afina.recipe_writer import new_recipe

    check_language(lang)
    path = new_recipe(source, Path(output), name)
    recipe = read_recipe(path)
    print(
        _("wrote {path}: kind {kind}, name {name}").format(
            path=path, kind=recipe.task.kind, name=recipe.name
        )
    )
    if recipe.task.positive:
        print(_("alarm label: {label}").format(label=recipe.task.positive))
    if recipe.data.split.group_by:
        print(
            _("kept together when split: equal values of {column}").format(
                column=recipe.data.split.group_by
            )
        )
    print(_("next: afina recipe check {path}").format(path=shlex.quote(str(path))))


@app.command(
    help=_("Explain the settings of a recipe: all of them, a section, or one."),
    epilog=_("Example: afina recipe explain train.learning_rate"),
)
def explain(
    field: Annotated[
        str | None,
        typer.Argument(
            metavar="FIELD", help=_("A setting or a section, such as train.learning_rate or train.")
        ),
    ] = None,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Explain the settings of a recipe: all of them, a section, or one."""
    check_language(lang)
    chosen = _chosen(field)
    if json:
        values = [_as_json(name, info) for name, info in chosen]
        print_json(values[0] if len(values) == 1 else values)
        return
    for name, info in chosen:
        for line in _lines(name, info):
            print(line)


def _chosen(field: str | None) -> list[tuple[str, FieldInfo]]:
    """The setting of this name, or the section with its settings. Raises AfinaError with the nearest."""
    import difflib

    from afina.errors import AfinaError
    from afina.recipe_file import all_fields

    known: dict[str, FieldInfo] = dict(all_fields())
    if field is None:
        return list(known.items())
    name = ".".join(part for part in field.strip(".").split(".") if not part.isdigit())
    found = [(path, info) for path, info in known.items() if path == name or path.startswith(f"{name}.")]
    if found:
        return found
    last = name.rpartition(".")[2]
    near = [path for path in known if path.rpartition(".")[2] == last]
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if not near:
        ends = {path.rpartition(".")[2]: path for path in reversed(known)}
        near = [ends[end] for end in difflib.get_close_matches(last, ends, n=3, cutoff=0.5)]
    fix = (
        _("did you mean `{name}`?").format(name=near[0])
        if near
        else _("`afina recipe explain` lists them all")
    )
    raise AfinaError(_("there is no such setting"), where=field, fix=fix)


def _section(info: FieldInfo) -> type[Any] | None:
    """The class of a section, or of the entries of a list of sections."""
    from afina.recipe import Section

    pending = [info.annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
            if issubclass(annotation, Section):
                return annotation
        else:
            pending += typing.get_args(annotation)
    return None


def _description(info: FieldInfo) -> str:
    """What a setting means; a section without a description has its class's sentence."""
    section = _section(info)
    text = info.description or (section.__doc__ if section else None) or ""
    return _(" ".join(text.split()))


def _default(info: FieldInfo) -> Any:
    if info.default_factory is not None:
        return info.default_factory()  # type: ignore[call-arg]
    return info.default


def _is_plain_section(info: FieldInfo) -> bool:
    """Whether this is a section itself, not a list of them: it has no value of its own."""
    return typing.get_origin(info.annotation) is None and _section(info) is not None


def _lines(name: str, info: FieldInfo) -> list[str]:
    """One setting or section as lines of at most 80 columns."""
    import textwrap

    from afina.recipe_writer import quoted

    depth = "  " * name.count(".")
    if _is_plain_section(info):
        title = f"{name}:"
    elif info.is_required():
        title = _("{name} (needed): {type}").format(name=name, type=type_in_words(info.annotation))
    else:
        default = _yaml(_default(info), quoted)
        title = _("{name} = {default}: {type}").format(
            name=name, default=default, type=type_in_words(info.annotation)
        )
    limits = limits_of(info)
    if limits:
        title += ", " + ", ".join(limits)
    lines = [""] if "." not in name else []
    lines += textwrap.wrap(title, 80, initial_indent=depth, subsequent_indent=depth + "    ")
    inner = depth + "    "
    return lines + textwrap.wrap(_description(info), 80, initial_indent=inner, subsequent_indent=inner)


def _yaml(value: Any, quoted: typing.Callable[[str], str]) -> str:
    """A default as a recipe would write it."""
    import json

    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(_yaml(one, quoted) for one in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value)


def type_in_words(annotation: Any) -> str:
    """The type of a setting as a person says it."""
    words = _alternatives(annotation)
    if len(words) == 1:
        return words[0]
    return _("{first} or {last}").format(first=", ".join(words[:-1]), last=words[-1])


def _alternatives(annotation: Any) -> list[str]:
    """The values of a Literal and the members of a union, each in words."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return [str(one).lower() if isinstance(one, bool) else str(one) for one in arguments]
    if origin in (typing.Union, types.UnionType):
        return [word for one in arguments for word in _alternatives(one)]
    if origin is typing.Annotated:
        return _alternatives(arguments[0])
    if origin is list:
        return [_("a list ({type})").format(type=type_in_words(arguments[0]))]
    words_of = {
        str: _("text"),
        int: _("a whole number"),
        float: _("a number"),
        bool: _("true or false"),
        type(None): "null",
    }
    return [words_of.get(annotation, _("settings"))]


def limits_of(info: FieldInfo) -> list[str]:
    """The limits of a setting: `at least 0`, `below 1`."""
    words = {
        "gt": _("above {limit}"),
        "ge": _("at least {limit}"),
        "lt": _("below {limit}"),
        "le": _("at most {limit}"),
    }
    found = []
    for one in info.metadata:
        for name, text in words.items():
            limit = getattr(one, name, None)
            if limit is not None:
                found.append(text.format(limit=f"{limit:g}" if limit < 10_000 else f"{limit:,}"))
        pattern = getattr(one, "pattern", None)
        if pattern:
            found.append(_("of the form {pattern}").format(pattern=pattern))
    return found


def _as_json(name: str, info: FieldInfo) -> dict[str, Any]:
    section = _is_plain_section(info)
    given = info.is_required() or section
    return {
        "field": name,
        "type": _("settings") if section else type_in_words(info.annotation),
        "required": info.is_required(),
        "default": None if given else _default(info),
        "limits": limits_of(info),
        "description": _description(info),
    }
