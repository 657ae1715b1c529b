"""Which kind of process a recipe asks for, and what it needs that may be missing."""

from __future__ import annotations

from importlib.util import find_spec

from afina.errors import AfinaError, MissingExtra
from afina.language import _
from afina.recipe import Recipe
from afina.recipe_distributed import divides_base
from afina.training.distributed.together import Together


def ranks_of(recipe: Recipe) -> Together:
    """This process's part in training; the processes are connected already."""
    wanted = recipe.train.distributed
    if wanted.engine == "fsdp":
        from afina.training.distributed.fsdp import FullySharded

        return FullySharded(recipe)
    if wanted.engine == "deepspeed":
        from afina.training.distributed.zero import ZeroThree, ZeroTwo

        return ZeroThree(recipe) if wanted.stage == 3 else ZeroTwo(recipe)
    return Together(recipe)


def check_engine(recipe: Recipe, bits: int) -> None:
    """Refuses, before any process is started, what would fail in each of them.

    Raises:
        MissingExtra: when DeepSpeed or Ray is not installed.
        AfinaError: when the base is quantised and would have to be divided.
    """
    wanted = recipe.train.distributed
    needed = {"deepspeed": ("deepspeed", "distributed"), "ray": ("ray", "ray")}.get(wanted.engine)
    if needed is not None and find_spec(needed[0]) is None:
        raise MissingExtra(
            _("train.distributed.engine: {engine} needs the package {package}").format(
                engine=wanted.engine, package=needed[0]
            ),
            fix=_("pip install 'afina[{extra}]', or take engine ddp").format(extra=needed[1]),
        )
    if bits != 16 and divides_base(wanted):
        raise AfinaError(
            _(
                "a base of {bits} bits cannot be divided among processes; set base.bits: 16, or take "
                "engine ddp or deepspeed with stage 2"
            ).format(bits=bits),
            where="train.distributed.engine",
        )


def how_many(recipe: Recipe) -> int:
    """The processes to start on this machine. Raises AfinaError when it is left to GPUs that are not."""
    import torch

    wanted = recipe.train.distributed.processes
    if wanted != "auto":
        return wanted
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise AfinaError(
            _("there is no GPU here to count, so say how many processes train"),
            where="train.distributed.processes",
            fix=_("set train.distributed.processes: 2, or train.distributed.engine: none"),
        )
    return found
