"""Half-done work of a stage, in checkpoints: it goes on where it can, and is never lost silently."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

from filelock import FileLock, Timeout

from afina.errors import AfinaError
from afina.language import _
from afina.runs.folder import Run


def steps_done(run: Run, folder: str) -> int:
    """The steps in the newest checkpoint; 0 when there is none."""
    names = [path.parent.name for path in run.path(folder).glob("step-*/state.json")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def refuse_to_lose(run: Run, folder: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Ends the work when this run has steps that could not go on with what there is now.

    Args:
        before, now: hashes of what the stage was made of then, and is now: settings, inputs, code.
    Raises:
        AfinaError: says what changed, how to go on, and how to begin anew.
    """
    steps = steps_done(run, folder)
    if not steps:
        return
    names = {"settings": _("its settings"), "inputs": _("its data"), "code": _("the code of Afina")}
    changed = [name for part, name in names.items() if before.get(part) != now[part]]
    if before.get("inputs") == now["inputs"]:
        fix = _("`afina run {title}` goes on as it was begun; to begin anew, remove this folder")
    else:
        fix = _("put back what was there to go on with {title}; to begin anew, remove this folder")
    raise AfinaError(
        _("{steps} steps of this training are done, and since then this changed: {what}").format(
            steps=steps, what=", ".join(changed)
        ),
        where=str(run.path(folder)),
        fix=fix.format(title=run.title),
    )


def take_over(run: Run, stage: str, key: str, outputs: tuple[str, ...], folder: str) -> bool:
    """Copies what an earlier run of this name left half-done with the same key; says so.

    Returns:
        Whether there was such a run, with at least one step done and no process working on it.
    """
    for other in _others(run):
        if _begun(other, stage) != key or not steps_done(other, folder):
            continue
        run.store.fetch(other.name, other.number)
        try:
            with FileLock(other.path(".lock"), timeout=0):
                for name in outputs:
                    _copy(other, run, name)
        except Timeout:
            continue
        run.resolve(**{name.replace(".", "__"): value for name, value in other.resolved().items()})
        run.say(
            _("training goes on from what {title} had done: {steps} steps").format(
                title=other.title, steps=steps_done(run, folder)
            )
        )
        return True
    return False


def tell_of_others(run: Run, stage: str, folder: str) -> None:
    """Says which earlier run of this name has half-done work that this one does not go on with."""
    from afina.runs.compare import is_locked

    for other in _others(run):
        steps = steps_done(other, folder)
        if _begun(other, stage) is None or not steps or is_locked(other):
            continue
        shown = ", ".join(_differences(_settings(other), _settings(run))[:5])
        run.say(
            _(
                "{title} stays unfinished after {steps} steps: this recipe has other settings ({what}). "
                "`afina run {title}` goes on with it; this is {here}, and it begins anew"
            ).format(
                title=other.title, steps=steps, what=shown or _("not in the recipe"), here=run.title
            )
        )
        return


def _settings(run: Run) -> Any:
    """The recipe of a run as a JSON value; empty when it cannot be read any more."""
    try:
        return run.recipe().model_dump(mode="json")
    except (AfinaError, OSError):
        return {}


def _differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Each setting that differs, as `train.epochs 3 → 5`."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        found = [_differences(one.get(key), other.get(key), f"{name}.{key}".strip(".")) for key in keys]
        return [line for lines in found for line in lines]
    return [] if one == other else [f"{name} {json.dumps(one)} → {json.dumps(other)}"]


def _others(run: Run) -> list[Run]:
    """The other runs of this name, the newest first."""
    numbers = [number for number in run.store.numbers(run.name) if number != run.number]
    return [
        Run(run.store.fetch(run.name, number, light=True), run.name, number, run.store)
        for number in sorted(numbers, reverse=True)
    ]


def _begun(run: Run, stage: str) -> str | None:
    """The key of a stage that was begun and not ended; None for any other, and for a damaged state."""
    try:
        state = json.loads(run.path(f"stages/{stage}.json").read_text(encoding="utf-8"))
        return str(state["key"]) if state["state"] == "stopped" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _copy(source: Run, target: Run, name: str) -> None:
    """A copy of its own: training appends to some of these files."""
    there, here = source.path(name), target.path(name)
    here.parent.mkdir(parents=True, exist_ok=True)
    if there.is_dir():
        shutil.copytree(there, here, ignore=shutil.ignore_patterns(".*"))
    elif there.exists():
        shutil.copy2(there, here)
