"""What the loop asks of the processes that train together; here the answers of one process alone.

A step's rows are divided into micro-batches as one process would divide them, and micro-batch m is
worked by process m mod `world`. So rows, dropout masks and the sum of the loss are those of one process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afina.data.batches import Batch
from afina.inference.states import measuring
from afina.runs.signals import StopSignal
from afina.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint, save_weights


@dataclass(frozen=True)
class Part:
    """A micro-batch to work.

    Attributes:
        number: its number in the step, which the dropout masks depend on; rows: its rows.
        weight: 1; or 0 for one that is worked only because all processes must do as many passes.
    """

    number: int
    rows: list[int]
    weight: int = 1


class Alone:
    """One process: all work is its own, and there is nobody to tell.

    Attributes:
        rank: number of this process; world: how many there are; first: whether this one writes files.
        divides_base: whether it holds only a part of the base, so that all must do the same passes.
    """

    rank, world, first = 0, 1, True
    divides_base = False

    def place(self, model: Any) -> Any:
        """The model as it is trained here, before its trained tensors are listed."""
        return model

    def optimizer(self, model: Any, optimizer: Any, head: list[Any]) -> Any:
        """The optimizer that takes the steps, made from the usual one. `head`: the tensors beside the
        adapter, whole in every process."""
        return optimizer

    def share(self, groups: list[list[int]]) -> Iterable[Part]:
        """The micro-batches that this process works."""
        return [Part(number, rows) for number, rows in enumerate(groups)]

    def loss(self, objective: Any, model: Any, batch: Batch) -> Any:
        """The summed loss of a batch, with its gradient."""
        return objective.loss(model, batch)

    def backward(self, loss: Any) -> None:
        """Adds the gradient of a micro-batch's loss."""
        loss.backward()

    def step(
        self, optimizer: Any, parts: Iterable[list[Any]], rate: float, max_norm: float
    ) -> list[float]:
        """Clips the gradient of each part, then takes the optimizer's step, if the gradient is finite.

        Returns:
            The norm of each part's gradient before it was clipped.
        """
        norms = [clip(part, max_norm) for part in parts]
        if all(map(math.isfinite, norms)):
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norms

    def add_up(self, *values: float) -> list[float]:
        """Each value summed over the processes."""
        return list(values)

    def agree(self, stop: StopSignal) -> None:
        """A signal that one process received is received by all."""

    def measuring(self, model: Any) -> AbstractContextManager[None]:
        """Inside, no gradients and no dropout."""
        return measuring(model)

    def newest(self, folder: Path) -> Path | None:
        """The checkpoint to go on from."""
        return newest_checkpoint(folder)

    def save(
        self,
        folder: Path,
        weights: dict[str, Any],
        optimizer: Any,
        names: list[str],
        state: dict[str, Any],
    ) -> None:
        """Writes a checkpoint."""
        save_checkpoint(folder, weights, optimizer, names, state)

    def load(
        self, folder: Path, weights: dict[str, Any], optimizer: Any, names: list[str]
    ) -> dict[str, Any]:
        """Puts a checkpoint's tensors in place and returns its state."""
        return load_checkpoint(folder, weights, optimizer, names)

    def keep_best(self, folder: Path, weights: dict[str, Any]) -> None:
        """Writes the trained tensors alone."""
        save_weights(folder, weights)


def clip(part: list[Any], max_norm: float) -> float:
    """Scales gradients down to a norm. Returns the norm before; 0 of nothing."""
    import torch

    norm = torch.nn.utils.clip_grad_norm_(part, max_norm)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
