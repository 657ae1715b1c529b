"""`torchrun … -m afina run recipe.yaml`, on one machine or several: the first process does all stages,
the others wait until it trains, get the run's files from it, and train with it. No disk is shared.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from afina.errors import AfinaError, Stopped
from afina.language import _
from afina.models.base import FoundBase, find_base
from afina.models.tokenizer import Tokens, load_tokens
from afina.recipe import Recipe
from afina.runs.folder import Run
from afina.runs.store import Store
from afina.training.distributed.bundle import NEEDED, pack, unpack
from afina.training.distributed.engines import ranks_of
from afina.training.distributed.exchange import Exchange
from afina.training.distributed.together import connect

# The others wait as long as the first needs for its rows and its probe.
WAITING = timedelta(days=14)
_waiting: list[Exchange] = []


def under_torchrun() -> bool:
    """Whether something has started several processes of this program."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def follows() -> bool:
    """Whether this process is one that waits for the first."""
    return under_torchrun() and os.environ["RANK"] != "0"


@contextmanager
def leading() -> Iterator[None]:
    """In the first process: in the end the others may leave, whether anything was trained or not."""
    if not under_torchrun():
        yield
        return
    connect()
    _waiting.append(Exchange(WAITING))
    try:
        with losing():
            yield
    finally:
        while _waiting:
            _waiting.pop().to_all(b"{}")


@contextmanager
def losing() -> Iterator[None]:
    """Inside, a connection that breaks is an error for people: another process has ended."""
    try:
        yield
    except RuntimeError as error:
        if "Connection" not in str(error) and type(error).__name__ != "DistBackendError":
            raise
        raise Stopped(
            _("another process was lost"),
            fix=_("run the same command again: it goes on from the newest checkpoint"),
        ) from None


def refuse_torchrun() -> None:
    """Refuses several processes for a recipe that trains by one."""
    if under_torchrun():
        raise AfinaError(
            _("{count} processes were started, and this recipe trains by one").format(
                count=os.environ["WORLD_SIZE"]
            ),
            where="train.distributed.engine",
            fix=_("set it to ddp, deepspeed or fsdp, or start afina without torchrun"),
        )


def lead(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens) -> None:
    """Calls the others to train, and trains with them."""
    from afina.training.tune import train_rank

    if not _waiting:
        raise AfinaError(
            _("several processes were started, but not by the command line"),
            fix=_("use torchrun … -m afina train RECIPE"),
        )
    talk = _waiting.pop()
    files = pack(run.root, NEEDED)
    job = {"name": run.name, "number": run.number, "base": base.as_json(), "files": list(files)}
    talk.to_all(json.dumps(job).encode())
    for data in files.values():
        talk.to_all(data)
    train_rank(run, recipe, base, tokens, ranks_of(recipe))


def follow() -> None:
    """Waits for the first process and does this one's part of the training."""
    connect()
    with losing():
        _follow(Exchange(WAITING))


def _follow(talk: Exchange) -> None:
    from afina.training.tune import train_rank

    job = json.loads(talk.to_all(None))
    if not job:
        return
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / job["name"] / str(job["number"])
        unpack({name: talk.to_all(None) for name in job["files"]}, root)
        run = Run(root, job["name"], job["number"], Store(place))
        recipe = run.recipe()
        base = base_here(job["base"], recipe)
        train_rank(run, recipe, base, load_tokens(base.folder), ranks_of(recipe))


def base_here(known: dict[str, str], recipe: Recipe) -> FoundBase:
    """The base as the first process found it, or where this machine has it."""
    base = FoundBase(known["id"], known["revision"], Path(known["folder"]), known["sha256"])
    if base.folder.is_dir():
        return base
    found = find_base(recipe.base.model, recipe.base.revision)
    if found.sha256 != base.sha256:
        raise AfinaError(
            _("this machine has another base model than the first one"),
            where=str(found.folder),
            fix=_("copy the first machine's here, or set base.revision"),
        )
    return found
