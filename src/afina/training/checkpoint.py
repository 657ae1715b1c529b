"""Checkpoints: everything needed to go on, as safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from afina.runs.files import atomic_folder, read_json, write_json
from afina.training.optimizer_state import put_back, tensors_of

CHECKPOINT_SCHEMA = "afina/checkpoint/1"
RANDOM = "random/"


def save_checkpoint(
    folder: Path,
    weights: dict[str, Any],
    optimizer: Any,
    names: list[str],
    state: dict[str, Any],
    shards: Iterable[bytes] | None = None,
) -> None:
    """Writes one checkpoint.

    Args:
        weights: trained tensors by name.
        optimizer: AdamW over those tensors, in the order of `names`.
        state: JSON values: step, epoch, position, best loss and the like.
        shards: of several processes, what each has of optimizer and random numbers, as safetensors;
            `optimizer` is not asked then.
    """
    from safetensors.torch import save_file

    with atomic_folder(folder) as temporary:
        save_file(_plain(weights), str(temporary / "trained.safetensors"))
        if shards is None:
            save_file(tensors_of(optimizer, names), str(temporary / "optimizer.safetensors"))
            save_file(
                {key.removeprefix(RANDOM): value for key, value in random_state().items()},
                str(temporary / "random.safetensors"),
            )
        else:
            for number, shard in enumerate(shards):
                name = shard_name(number, int(state["processes"]))
                (temporary / name).write_bytes(shard)
        write_json(temporary / "state.json", {"schema": CHECKPOINT_SCHEMA, **state})


def load_checkpoint(
    folder: Path, weights: dict[str, Any], optimizer: Any, names: list[str]
) -> dict[str, Any]:
    """Puts a checkpoint's tensors in place and returns its state."""
    from safetensors.torch import load_file

    load_weights(folder, weights)
    put_back(optimizer, names, load_file(str(folder / "optimizer.safetensors")))
    random = load_file(str(folder / "random.safetensors"))
    put_random_state({RANDOM + key: value for key, value in random.items()})
    return dict(read_json(folder / "state.json"))


def shard_name(number: int, processes: int) -> str:
    """The file of one process's shard."""
    return f"rank-{number}-of-{processes}.safetensors"


def random_state() -> dict[str, Any]:
    """The states of torch's random generators."""
    import torch

    random = {f"{RANDOM}cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random[f"{RANDOM}cuda"] = torch.cuda.get_rng_state()
    return random


def put_random_state(random: dict[str, Any]) -> None:
    """Puts what `random_state` gave."""
    import torch

    torch.set_rng_state(random[f"{RANDOM}cpu"])
    if f"{RANDOM}cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random[f"{RANDOM}cuda"])


def save_weights(folder: Path, weights: dict[str, Any]) -> None:
    """Writes the trained tensors alone: the best so far."""
    from safetensors.torch import save_file

    with atomic_folder(folder) as temporary:
        save_file(_plain(weights), str(temporary / "trained.safetensors"))


def load_weights(folder: Path, weights: dict[str, Any]) -> None:
    """Puts saved tensors into the given ones. Raises KeyError when the names differ."""
    from safetensors.torch import load_file

    put_weights(load_file(str(folder / "trained.safetensors")), weights)


def put_weights(saved: dict[str, Any], weights: dict[str, Any]) -> None:
    """Copies tensors into others of the same names. Raises KeyError when the names differ."""
    import torch

    if set(saved) != set(weights):
        raise KeyError(f"the checkpoint holds other tensors: {sorted(set(saved) ^ set(weights))[:5]}")
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(saved[name])


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps, or None."""
    found = [path for path in folder.glob("step-*") if (path / "state.json").exists()]
    return max(found, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def drop_older(folder: Path, keep: int = 1) -> None:
    """Removes all but the newest checkpoints."""
    found = sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    for path in found[:-keep]:
        shutil.rmtree(path, ignore_errors=True)


def _plain(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
