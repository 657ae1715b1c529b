"""The adapters of a release on their base, each with its weight: W + Σ weight · scale · B·A."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from afina.errors import AfinaError
from afina.inference.intact import damaged
from afina.language import _
from afina.models.load import load_adapter, take_fast_way


def load_adapters(model: Any, release: Path, adapters: list[dict[str, Any]]) -> Any:
    """The base model with the adapters that inference.json names, all of them active.

    Args:
        adapters: [{path, weight}]; a weight of 1 is the adapter as it was trained, 0 is none of it.
    Raises:
        AfinaError: for a weight that is no finite number, or one that is not 1 on a DoRA adapter,
            whose magnitudes are no sum with the base. StorageError: for a damaged file.
    """
    names = []
    for number, entry in enumerate(adapters):
        folder, weight = release / entry["path"], entry["weight"]
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise AfinaError(
                _("the weight of an adapter must be a number; found {weight!r}").format(weight=weight),
                where=str(release / "inference.json"),
                fix=_("1 is the adapter as it was trained"),
            )
        names.append("default" if number == 0 else f"adapter_{number}")
        try:
            model = load_adapter(model, folder, names[-1])
        except SafetensorError:
            raise damaged(folder, release) from None
        if weight != 1:
            _weigh(model, names[-1], float(weight), folder)
    if len(names) > 1:
        model.base_model.set_adapter(names)
        model.requires_grad_(False)
    take_fast_way(model)  # with the weights as they are now
    return model


def _weigh(model: Any, name: str, weight: float, folder: Path) -> None:
    """Multiplies what an adapter adds by `weight`."""
    if model.peft_config[name].use_dora:
        raise AfinaError(
            _("a DoRA adapter cannot be given a weight"),
            where=str(folder),
            fix=_("set its weight to 1, or train with adapter.kind: lora"),
        )
    for module in model.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict) and name in scaling:
            scaling[name] *= weight
