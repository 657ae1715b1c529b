"""Stages: what is done, with which inputs; done again only when its section, inputs or code changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from afina.errors import StorageError
from afina.language import _
from afina.runs.files import read_json, sha256_of, sha256_of_value, write_json
from afina.runs.folder import Run
from afina.runs.half_done import refuse_to_lose, take_over, tell_of_others
from afina.runs.signed import require_unsigned

STAGE_SCHEMA = "afina/stage/1"
_PACKAGE = Path(__file__).parents[1]
_CODE_SUFFIXES = (".py", ".html", ".css", ".js", ".json")


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: as on the command line.
        after: the stages whose outputs it reads.
        code: packages of afina whose source is part of the key.
        settings: the part of the recipe and other inputs that it reads, as a JSON value.
        outputs: files or folders it writes, relative to the run.
        work: does it.
        half_done: the folder with the checkpoints that it can go on from, for a stage that takes long.
    """

    name: str
    after: tuple[str, ...]
    code: tuple[str, ...]
    settings: Callable[[], Any]
    outputs: tuple[str, ...]
    work: Callable[[], None]
    half_done: str = ""


def _nobody() -> None:
    """Nobody to tell."""


def do(run: Run, stage: Stage, begin: Callable[[], None] = _nobody, trust: bool = False) -> bool:
    """Does a stage unless it is done already, here or in an earlier run of the same name.

    Args:
        begin: called when the stage is not done yet.
        trust: go on with half-done work also when only Afina's code has changed since.
    Returns:
        Whether any work was done.
    Raises:
        AfinaError: when half-done work of this run cannot go on.
        StorageError: when it would change a release that is signed.
    """
    parts = _made_of(run, stage)
    key = sha256_of_value(parts)
    if is_done(run, stage.name, key):
        return False
    require_unsigned(run, stage.name)
    begin()
    if _reuse(run, stage, key):
        run.event("stage reused", stage=stage.name, key=key)
        run.publish()
        return True
    if not _was_stopped(run, stage, key):
        _begin_or_go_on(run, stage, key, parts, trust)
    begun = {
        "schema": STAGE_SCHEMA,
        "state": "stopped",
        "key": key,
        "made_of": {name: sha256_of_value(part) for name, part in parts.items()},
        "outputs": {},
        "seconds": 0.0,
    }
    write_json(state_path(run, stage.name), begun)
    run.event("stage started", stage=stage.name, key=key)
    started = time.monotonic()
    stage.work()
    seconds = round(time.monotonic() - started, 3)
    finish(run, stage, key, seconds)
    run.event("stage done", stage=stage.name, seconds=seconds)
    run.publish()
    return True


def _begin_or_go_on(run: Run, stage: Stage, key: str, parts: dict[str, Any], trust: bool) -> None:
    """Clears the place for a stage, unless half-done work of this run or an earlier one can go on."""
    if stage.half_done:
        state = state_of(run, stage.name)
        if state is not None and state["state"] == "stopped":
            before = state.get("made_of", {})
            now = {name: sha256_of_value(part) for name, part in parts.items()}
            if trust and all(before.get(name) == now[name] for name in ("settings", "inputs")):
                return
            refuse_to_lose(run, stage.half_done, before, now)
    forget(run, stage)
    if stage.half_done and not take_over(run, stage.name, key, stage.outputs, stage.half_done):
        tell_of_others(run, stage.name, stage.half_done)


def finish(run: Run, stage: Stage, key: str, seconds: float) -> None:
    """Writes the file that says that the stage is done, with the hash of each of its outputs."""
    write_json(
        state_path(run, stage.name),
        {
            "schema": STAGE_SCHEMA,
            "state": "done",
            "key": key,
            "outputs": {name: sha256_of(run.path(name)) for name in output_files(run, stage.outputs)},
            "seconds": seconds,
            "resolved": run.resolved(),
        },
    )


def output_files(run: Run, outputs: tuple[str, ...]) -> list[str]:
    """The files under the given names, relative to the run."""
    found = []
    for output in outputs:
        path = run.path(output)
        if path.is_dir():
            found += [
                str(file.relative_to(run.root)) for file in sorted(path.rglob("*")) if file.is_file()
            ]
        elif path.exists():
            found.append(output)
    return sorted(set(found))


def state_path(run: Run, stage: str) -> Path:
    """Where the state of a stage is kept."""
    return run.path(f"stages/{stage}.json")


def state_of(run: Run, stage: str) -> dict[str, Any] | None:
    """The state of a stage, or None when it was never begun. Raises StorageError when it is damaged."""
    path = state_path(run, stage)
    if not path.exists():
        return None
    state = read_json(path)
    if not isinstance(state, dict) or not {"state", "key", "outputs"} <= set(state):
        raise StorageError(
            _("this file is damaged: it does not hold the state of a stage"),
            where=str(path),
            fix=_("remove the file and run the same command again: the stage is done again"),
        )
    return state


def is_done(run: Run, stage: str, key: str | None = None) -> bool:
    """Whether a stage is done, with this key when one is given, and its outputs are still there.

    With a key, those of its outputs that leave the machine must be as they were written, by their hash.
    """
    state = state_of(run, stage)
    if not state or state["state"] != "done" or (key is not None and state["key"] != key):
        return False
    return all(
        run.path(name).exists()
        and (key is None or not name.startswith("release/") or sha256_of(run.path(name)) == digest)
        for name, digest in state["outputs"].items()
    )


def stage_key(run: Run, stage: Stage) -> str:
    """Hash of what the stage depends on."""
    return sha256_of_value(_made_of(run, stage))


def _made_of(run: Run, stage: Stage) -> dict[str, Any]:
    """What the stage depends on: its settings, the outputs of earlier stages, its code."""
    inputs = {}
    for earlier in stage.after:
        state = state_of(run, earlier)
        inputs[earlier] = state["outputs"] if state else None
    return {"settings": stage.settings(), "inputs": inputs, "code": code_hash(stage.code)}


@cache
def code_hash(packages: tuple[str, ...]) -> str:
    """SHA-256 over the source files of the named parts of afina, as they were when first asked for."""
    digest = hashlib.sha256()
    for package in sorted(packages):
        place = _PACKAGE / package
        inside = [path for path in place.rglob("*") if path.suffix in _CODE_SUFFIXES]
        files = sorted(inside) if place.is_dir() else [place.with_suffix(".py")]
        if not files:
            raise ValueError(f"there is no code in {place}")
        for file in files:
            digest.update(str(file.relative_to(_PACKAGE)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _reuse(run: Run, stage: Stage, key: str) -> bool:
    """Takes the outputs of an earlier run of this name that did the same stage with the same key."""
    for number in sorted(run.store.numbers(run.name), reverse=True):
        if number == run.number:
            continue
        earlier = Run(run.store.fetch(run.name, number, light=True), run.name, number, run.store)
        state = _sound_state(earlier, stage.name)
        if state is None or state["state"] != "done" or state["key"] != key:
            continue
        run.store.fetch(run.name, number)
        if any(
            not earlier.path(name).is_file() or sha256_of(earlier.path(name)) != digest
            for name, digest in state["outputs"].items()
        ):
            continue
        forget(run, stage)
        for name in state["outputs"]:
            target = run.path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _link_or_copy(earlier.path(name), target)
        if state.get("resolved"):
            run.resolve(**{name.replace(".", "__"): value for name, value in state["resolved"].items()})
        write_json(state_path(run, stage.name), {**state, "reused_from": earlier.title})
        return True
    return False


def _sound_state(run: Run, stage: str) -> dict[str, Any] | None:
    """The state of another run's stage; None when it has none that can be read."""
    try:
        return state_of(run, stage)
    except StorageError:
        return None


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a finished file (they are replaced, never edited), or a copy elsewhere."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _was_stopped(run: Run, stage: Stage, key: str) -> bool:
    """Whether this stage was begun with this key and can go on from what it left."""
    state = state_of(run, stage.name)
    return state is not None and state["key"] == key and state["state"] == "stopped"


def forget(run: Run, stage: Stage) -> None:
    """Removes what a stage wrote, and that it was done."""
    state_path(run, stage.name).unlink(missing_ok=True)
    for output in stage.outputs:
        path = run.path(output)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
