"""Checkpoints: everything needed to go on, as safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from afina.runs.files import atomic_folder, read_json, write_json
from afina.training.optimizer_state import put_back, tensors_of

CHECKPOINT_SCHEMA = "afina/checkpoint/1"


def save_checkpoint(
    folder: Path, weights: dict[str, Any], optimizer: Any, names: list[str], state: dict[str, Any]
) -> None:
    """Writes one checkpoint.

    Args:
        weights: trained tensors by name.
        optimizer: AdamW over those tensors, in the order of `names`.
        state: JSON values: step, epoch, position, best loss and the like.
    """
    from safetensors.torch import save_file

    moments = tensors_of(optimizer, names)
    random = dict(zip(("cpu", "cuda"), random_state(), strict=False))
    with atomic_folder(folder) as temporary:
        save_file(_plain(weights), str(temporary / "trained.safetensors"))
        save_file(moments, str(temporary / "optimizer.safetensors"))
        save_file(random, str(temporary / "random.safetensors"))
        write_json(temporary / "state.json", {"schema": CHECKPOINT_SCHEMA, **state})


def random_state() -> list[Any]:
    """torch's generators as they are: of the CPU and, where there is one, of the GPU."""
    import torch

    found = [torch.get_rng_state()]
    return [*found, torch.cuda.get_rng_state()] if torch.cuda.is_available() else found


def set_random_state(state: list[Any]) -> None:
    """Puts torch's generators back to what `random_state` gave."""
    import torch

    torch.set_rng_state(state[0])
    if len(state) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(state[1])


def load_checkpoint(
    folder: Path, weights: dict[str, Any], optimizer: Any, names: list[str]
) -> dict[str, Any]:
    """Puts a checkpoint's tensors in place and returns its state."""
    from safetensors.torch import load_file

    load_weights(folder, weights)
    put_back(optimizer, names, load_file(str(folder / "optimizer.safetensors")))
    random = load_file(str(folder / "random.safetensors"))
    set_random_state([random[name] for name in ("cpu", "cuda") if name in random])
    return dict(read_json(folder / "state.json"))


def save_weights(folder: Path, weights: dict[str, Any]) -> None:
    """Writes the trained tensors alone: the best so far."""
    from safetensors.torch import save_file

    with atomic_folder(folder) as temporary:
        save_file(_plain(weights), str(temporary / "trained.safetensors"))


def load_weights(folder: Path, weights: dict[str, Any]) -> None:
    """Puts saved tensors into the given ones. Raises KeyError when the names differ."""
    import torch
    from safetensors.torch import load_file

    saved = load_file(str(folder / "trained.safetensors"))
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
