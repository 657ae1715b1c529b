"""An optimizer's states as named tensors, and back: torch's and bitsandbytes' alike, without pickle."""

from __future__ import annotations

from typing import Any

# Tables of numbers that bitsandbytes shares among its states: constants, made anew.
_CONSTANTS = ("qmap1", "qmap2")


def tensors_of(optimizer: Any, names: list[str]) -> dict[str, Any]:
    """The states as `NAME/KEY`, on the CPU, counters too; of divided tensors, this process's part.

    Args:
        names: of the trained tensors, in the order of the optimizer.
    """
    import torch

    found: dict[str, Any] = {}
    for name, parameter in zip(names, _parameters(optimizer), strict=True):
        for key, value in optimizer.state.get(parameter, {}).items():
            if key not in _CONSTANTS:
                own = value.to_local() if hasattr(value, "to_local") else torch.as_tensor(value)
                found[f"{name}/{key}"] = own.detach().cpu().contiguous()
    return found


def put_back(optimizer: Any, names: list[str], tensors: dict[str, Any]) -> None:
    """Gives an optimizer the states that `tensors_of` took."""
    kept: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        owner, _slash, key = name.rpartition("/")
        kept.setdefault(owner, {})[key] = value
    for name, parameter in zip(names, _parameters(optimizer), strict=True):
        if name not in kept:
            continue
        if hasattr(optimizer, "init_state"):
            _fill(optimizer, parameter, kept[name])
        else:
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device)
                for key, value in kept[name].items()
            }


def _fill(optimizer: Any, parameter: Any, kept: dict[str, Any]) -> None:
    """bitsandbytes: its own buffers are filled, for a paged one must stay where it was made."""
    group, index = next(
        (number, place)
        for number, entry in enumerate(optimizer.param_groups)
        for place, other in enumerate(entry["params"])
        if other is parameter
    )
    optimizer.init_state(optimizer.param_groups[group], parameter, group, index)
    state = optimizer.state[parameter]
    for key, value in kept.items():
        if hasattr(state[key], "copy_"):
            state[key].copy_(value)
        else:
            state[key] = int(value)


def _parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
