"""`NAME@champion`, `NAME@candidate`, `NAME@previous` and `NAME@v3` as runs."""

from __future__ import annotations

from pathlib import Path

from afina.errors import AfinaError, StorageError
from afina.language import _
from afina.registry.copies import fetch_copy
from afina.registry.place import registry_uri, shown
from afina.registry.store import ALIASES, Registry, Say, silent
from afina.registry.version import Version, standing, standing_in_words
from afina.runs.folder import NAMED, Run, find_run


def run_named(name: str, wanted: str, runs: str, say: Say) -> str:
    """The path or URI of the run whose release has this alias or version number.

    Raises:
        AfinaError: when there is none.
        StorageError: when the release was moved, deleted or changed since.
    """
    registry = Registry(registry_uri(runs))
    return folder_of_version(registry, named_version(registry, name, wanted), say)


def named_version(registry: Registry, name: str, wanted: str) -> Version:
    """The version that `champion` or `v3` of a model means. Raises AfinaError when there is none."""
    model = registry.model(name)
    if wanted not in ALIASES and wanted.startswith("v"):
        return registry.version(model, int(wanted[1:]))
    number = model.aliases.get(wanted)
    if number is None:
        has = ", ".join(f"{name}@{alias}" for alias in ALIASES if alias in model.aliases)
        raise AfinaError(
            _("{name} has no {alias}").format(name=name, alias=wanted),
            where=shown(registry.uri),
            fix=_("it has {known}").format(known=has)
            if has
            else _("`afina registry promote` makes one"),
        )
    return registry.version(model, number)


def folder_of_version(registry: Registry, version: Version, say: Say = silent) -> str:
    """Where the release of a version can be used: its run, or the registry's copy of it.

    Raises:
        StorageError: when it was moved or deleted and there is no copy, or was changed.
    """
    state = standing(version)
    if state == "intact":
        return version.folder
    if state == "copy":
        return str(fetch_copy(registry, version, say))
    fix = _("put it back, or take another version: `afina registry show {name}`")
    if state == "changed":
        fix = _("register the new release with `afina registry add`, or take another version")
    elif state == "gone":
        fix = _("put it back, or say where it is now: `afina registry add FOLDER`")
    raise StorageError(
        f"{version.title}: {standing_in_words(version, state)}",
        where=version.folder,
        fix=fix.format(name=version.name),
    )


def split(name: str) -> tuple[str, str] | None:
    """`phishing@champion` as its two parts; None for what names no alias and no version."""
    title, _at, wanted = name.partition("@")
    return (title, wanted) if title and NAMED.fullmatch(wanted) and not Path(name).exists() else None


def run_of(registry: Registry, version: Version, runs: str, say: Say) -> Run:
    """The run of a version. Raises like `folder_of_version`."""
    return find_run(folder_of_version(registry, version, say), runs, say)
