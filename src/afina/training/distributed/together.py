"""Data parallelism written out: every process has the whole model, gradients are summed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.language import _
from afina.recipe import Recipe
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.training.checkpoint import (
    newest_checkpoint,
    put_random_state,
    put_weights,
    random_state,
    save_checkpoint,
    save_weights,
    shard_name,
)
from afina.training.distributed.exchange import PATIENCE, Exchange
from afina.training.distributed.ranks import Alone, Part
from afina.training.optimizer_state import put_back, tensors_of


def connect(method: str = "env://") -> None:
    """Joins the processes that the environment tells of (RANK, WORLD_SIZE, LOCAL_RANK)."""
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if not dist.is_initialized():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            init_method=method,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=PATIENCE,
        )


class Together(Alone):
    """One of several processes that hold the same model."""

    engine = "ddp"

    def __init__(self, recipe: Recipe) -> None:
        self.talk = Exchange()
        self.rank, self.world = self.talk.rank, self.talk.world
        self.first = self.rank == 0
        self.recipe = recipe

    def warn_of_idle(self, run: Run, trainer: Any) -> None:
        """Says so when most steps have fewer micro-batches than there are processes."""
        batch_rows, budget = self.recipe.train.batch_rows, self.recipe.train.micro_batch_tokens
        lengths = sorted(len(item.ids) for item in trainer.train.encoded)
        usual = lengths[len(lengths) // 2] * min(batch_rows, len(lengths))
        if self.world > 1 and math.ceil(usual / budget) < self.world:
            run.say(
                _(
                    "a step has about {tokens:,} tokens, so that some of the {world} processes have "
                    "nothing to do in most steps: set train.micro_batch_tokens near {wanted}, or raise "
                    "train.batch_rows"
                ).format(tokens=usual, world=self.world, wanted=max(16, usual // self.world))
            )

    def share(self, groups: list[list[int]]) -> Iterator[Part]:
        """Every `world`-th micro-batch. All processes do as many passes: one that has none in the last
        round works a row of the first, at weight 0."""
        for start in range(0, len(groups), self.world):
            number = start + self.rank
            if number < len(groups):
                yield Part(number, groups[number])
            else:
                yield Part(number, groups[0][:1], 0)

    def step(
        self, optimizer: Any, parts: Iterable[list[Any]], rate: float, max_norm: float
    ) -> list[float]:
        """Sums the gradients over the processes before the step."""
        parts = [list(part) for part in parts]
        sum_gradients([tensor for part in parts for tensor in part])
        return super().step(optimizer, parts, rate, max_norm)

    def add_up(self, *values: float) -> list[float]:
        """Each value summed over the processes."""
        return self.talk.add_up(*values)

    def agree(self, stop: StopSignal) -> None:
        """The signal with the highest number wins."""
        (received,) = self.talk.largest(stop.received or 0)
        stop.received = int(received) or None

    def newest(self, folder: Path) -> Path | None:
        """The first process's newest checkpoint; only that process reads it."""
        found = newest_checkpoint(folder) if self.first else None
        name = self.talk.to_all((found.name if found else "").encode() if self.first else None)
        return folder / name.decode() if name else None

    def save(
        self,
        folder: Path,
        weights: dict[str, Any],
        optimizer: Any,
        names: list[str],
        state: dict[str, Any],
    ) -> None:
        """Each process makes its shard; the first writes them all, so that the folder is whole or not
        there, and no disk need be shared."""
        from safetensors.torch import save

        whole = self.whole(weights)
        shards = self.talk.to_first(save({**self.pack(optimizer, names), **random_state()}))
        if self.first:
            about = {"engine": self.engine, "processes": self.world}
            save_checkpoint(folder, whole, None, names, {**state, **about}, shards)
        else:
            for _nothing in shards:
                pass

    def load(
        self, folder: Path, weights: dict[str, Any], optimizer: Any, names: list[str]
    ) -> dict[str, Any]:
        """The first process reads; each keeps what it needs.

        Raises:
            AfinaError: when the checkpoint is of another engine, or of a number of processes that
                cannot be taken over.
        """
        import torch
        from safetensors.torch import load

        state: dict[str, Any] = json.loads(self._sent(folder / "state.json"))
        engine, made_by = state.get("engine", "none"), int(state.get("processes", 1))
        needed = self.needs(made_by) if engine == self.engine else None
        if needed is None:
            raise self._of_others(folder, engine, made_by)
        self.put(load(self._sent(folder / "trained.safetensors")), weights)
        kept = {}
        for number in range(made_by):
            data = self._sent(folder / shard_name(number, made_by))
            if number in needed:
                kept[number] = load(data)
        self.restore(kept, made_by, optimizer, names)
        if made_by == self.world:
            put_random_state(kept[self.rank])
        else:  # the same on every going on with as many
            torch.manual_seed(self.recipe.seed + 7919 * int(state["step"]) + self.rank)
        return state

    def _sent(self, path: Path) -> bytes:
        return self.talk.to_all(path.read_bytes() if self.first else None)

    def _of_others(self, folder: Path, engine: str, made_by: int) -> AfinaError:
        return AfinaError(
            _(
                "this checkpoint was made by {made_by} processes with engine {engine}, and it cannot go "
                "on with {world} and engine {wanted}"
            ).format(made_by=made_by, engine=engine, world=self.world, wanted=self.engine),
            where=str(folder),
            fix=_("take {made_by} processes, or remove the folder checkpoints to begin again").format(
                made_by=made_by
            ),
        )

    def keep_best(self, folder: Path, weights: dict[str, Any]) -> None:
        """Written by the first process."""
        whole = self.whole(weights)
        if self.first:
            save_weights(folder, whole)

    def whole(self, weights: dict[str, Any]) -> dict[str, Any]:
        """The trained tensors, none divided. Called by all processes."""
        return weights

    def put(self, whole: dict[str, Any], weights: dict[str, Any]) -> None:
        """Puts whole tensors into the trained ones."""
        put_weights(whole, weights)

    def pack(self, optimizer: Any, names: list[str]) -> dict[str, Any]:
        """What of the optimizer this process keeps in its shard: all of it is in the first one's."""
        return tensors_of(optimizer, names) if self.first else {}

    def needs(self, made_by: int) -> set[int] | None:
        """The shards that this process reads; None when it cannot go on from so many."""
        return {0, self.rank}

    def restore(
        self, kept: dict[int, dict[str, Any]], made_by: int, optimizer: Any, names: list[str]
    ) -> None:
        """Puts the optimizer's state in place."""
        put_back(optimizer, names, kept[0])


def sum_gradients(tensors: list[Any]) -> None:
    """Sums the gradients of whole tensors over the processes, in one message; without one it is 0."""
    import torch
    import torch.distributed as dist

    if not tensors:
        return
    gradients = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
    together = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(together)
    for tensor, part in zip(tensors, torch.split(together, [t.numel() for t in tensors]), strict=True):
        tensor.grad = part.view_as(tensor)
