"""The recipe's part about training by more than one process, and what cannot work there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from afina.language import _
from afina.recipe_section import Section

if TYPE_CHECKING:
    from afina.recipe import Recipe


class Distributed(Section):
    """Training by more than one process."""

    engine: Literal["none", "ddp", "deepspeed", "fsdp", "ray"] = Field(
        "none",
        description="none: one process. ddp: every process holds the whole model and works a share of "
        "each step's rows. deepspeed: ZeRO. fsdp: the base and the adapter are divided among the "
        "processes. ray: ddp as a job of a Ray cluster.",
    )
    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = Field(
        "auto",
        description="How many processes; auto: one for each GPU of this machine (ray: of the cluster). "
        "Under torchrun its own number holds.",
    )
    stage: Literal[2, 3] | None = Field(
        None,
        description="deepspeed: 2 (the default there) divides gradients and the optimizer's state, 3 "
        "the base too.",
    )
    restarts: int = Field(
        1,
        ge=0,
        le=100,
        description="How often training begins again, from its newest checkpoint, after a process was "
        "lost. Under torchrun its own --max-restarts holds.",
    )
    address: str | None = Field(
        None,
        description="ray: the cluster's address, such as ray://head:10001 or auto; empty starts Ray on "
        "this machine.",
    )
    storage: str | None = Field(
        None,
        description="ray: a folder or URI that every machine of the cluster can write, for checkpoints; "
        "empty takes the run's own folder.",
    )


def distributed_faults(recipe: Recipe) -> list[str]:
    """Every combination that cannot work, as `place: what is wrong`."""
    wanted = recipe.train.distributed
    faults = []

    def fault(field: str, what: str) -> None:
        faults.append(f"train.distributed.{field}: {what}")

    if wanted.engine == "none" and wanted.processes not in ("auto", 1):
        fault("engine", _("several processes need an engine: ddp, deepspeed, fsdp or ray"))
    if wanted.stage is not None and wanted.engine != "deepspeed":
        fault("stage", _("belongs to engine deepspeed, not to {engine}").format(engine=wanted.engine))
    for name in ("address", "storage"):
        if getattr(wanted, name) is not None and wanted.engine != "ray":
            fault(name, _("belongs to engine ray, not to {engine}").format(engine=wanted.engine))
    if divides_base(wanted):
        if recipe.base.bits in (4, 8):
            fault(
                "engine",
                _(
                    "a base of {bits} bits cannot be divided among processes; set base.bits: 16, or "
                    "take engine ddp or deepspeed with stage 2"
                ).format(bits=recipe.base.bits),
            )
        if recipe.adapter.kind == "dora":
            fault(
                "engine",
                _(
                    "dora reads the base's weights outside its layers, and here they are divided; set "
                    "adapter.kind: lora, or take engine ddp or deepspeed with stage 2"
                ),
            )
    return faults


def divides_base(wanted: Distributed) -> bool:
    """Whether each process holds only a part of the base model."""
    return wanted.engine == "fsdp" or (wanted.engine == "deepspeed" and wanted.stage == 3)
