"""The adapter's part added into the base's weights, in fp32: a plain model that needs no adapter."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from afina.models.load import leave_fast_way
from afina.models.quantised import dequantised, quantised_layers


def merged_model(model: Any, precision: str, bits: int) -> Any:
    """A LlamaForCausalLM with the adapter in its weights; takes the given model apart on the way.

    A base of 4 or 8 bits is dequantised first, to the numbers that it was trained with.

    Args:
        model: base and adapter, or a model whose weights were all trained.
        precision: in which the base computes. bits: 16 keeps bf16 numbers, 32 keeps fp32.
    """
    import torch
    from transformers import LlamaForCausalLM

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    leave_fast_way(model)
    target = torch.float32 if bits == 32 else torch.bfloat16
    computed = torch.bfloat16 if precision == "bf16" else torch.float32
    state: dict[str, Any] = {}
    with torch.no_grad():
        quantised = quantised_layers(inner)
        for name, layer in inner.named_modules():
            if hasattr(layer, "lora_A") and hasattr(layer, "base_layer"):
                place = f"{name}.base_layer"
                base = dequantised(quantised.pop(place), computed) if place in quantised else None
                weight = layer.base_layer.weight if base is None else base
                state[f"{name}.weight"] = with_adapter(layer, weight.float()).to(target)
                if layer.base_layer.bias is not None:
                    state[f"{name}.bias"] = layer.base_layer.bias.to(target)
                layer.base_layer.weight = None  # its memory is wanted
        for name, layer in quantised.items():
            state[f"{name}.weight"] = dequantised(layer, computed).to(target)
        for name, tensor in inner.named_parameters():
            plain = name.replace(".base_layer.", ".")
            if plain not in state and ".lora_" not in name:
                state[plain] = tensor.detach().to(target)
    config = deepcopy(inner.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = target
    with torch.device("meta"):
        plain_model = LlamaForCausalLM(config)
    missing, unexpected = plain_model.load_state_dict(state, strict=False, assign=True)
    plain_model.tie_weights()
    plain_model.model.rotary_emb = inner.model.rotary_emb  # not in the state: it is computed
    if unexpected or [name for name in missing if name != "lm_head.weight"]:
        raise KeyError(f"the merged model has other tensors: {[*missing, *unexpected][:5]}")
    return plain_model.eval()


def with_adapter(layer: Any, weight: Any) -> Any:
    """A LoRA layer's weight with its adapter's part, in fp32; [out, in].

    LoRA: W + s·B·A (Hu et al. 2021); s is alpha/rank, for rsLoRA alpha/√rank (Kalajdzievski 2023). DoRA:
    m · (W + s·B·A) / ‖W + s·B·A‖, the norm of each row (Liu et al. 2024).
    """
    import torch

    (name,) = layer.active_adapters
    low, high = layer.lora_A[name].weight.float(), layer.lora_B[name].weight.float()
    moved = weight + layer.scaling[name] * (high @ low)
    if name not in layer.lora_variant:
        return moved
    magnitude = layer.lora_magnitude_vector[name].weight.float()
    return moved * (magnitude / torch.linalg.norm(moved, dim=1))[:, None]
