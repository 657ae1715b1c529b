"""The decoder of a Llama model on the processor: packed rows through `fast_layer`.

`FastDecoder` walks the modules of the model that transformers loaded and uses their weights; nothing of
it is patched, and whatever it does not cover (quantised bases, biases, DoRA, a GPU) goes the plain way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from afina.models.attention import HeadSizes
from afina.models.dropout import DropoutMasks
from afina.models.fast_layer import FastLayer, LayerFunction, Pass
from afina.models.lora_product import LoraProduct
from afina.models.packed import Packed

# Rotations that depend on the position alone; others, such as `dynamic`, also on the longest row.
ROTATIONS = ("default", "linear", "llama3", "yarn")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class FastDecoder:
    """The layers of one model, stacked for the fast way.

    Args:
        decoder: transformers' LlamaModel, with or without peft's layers in it.
        masks: the dropout of its adapter; None when it has none.
    """

    def __init__(self, decoder: Any, masks: DropoutMasks | None) -> None:
        self._decoder, self._masks = decoder, masks
        self._layers = [_layer(decoder, number) for number in range(len(decoder.layers))]
        self._switch = _first_adapted(decoder)

    @property
    def frozen(self) -> bool:
        """Whether the base is not trained: this way has no gradient for its weights."""
        weight = _projections(self._decoder.layers[0])[0]
        return not getattr(weight, "base_layer", weight).weight.requires_grad

    def unstack(self) -> None:
        """Gives the modules of the model their weights as tensors of their own."""
        for block in self._decoder.layers:
            for layer in _projections(block):
                base = getattr(layer, "base_layer", layer)
                own = base.weight.detach().clone(memory_format=torch.contiguous_format)
                base.weight = torch.nn.Parameter(own, requires_grad=base.weight.requires_grad)

    def states(self, packed: Packed) -> Any:
        """States of the last layer after its norm; [tokens, hidden], or of `packed.wanted` alone."""
        decoder = self._decoder
        x = decoder.embed_tokens(packed.ids)
        longest = max(group.offset + group.length for group in packed.groups)
        cos, sin = decoder.rotary_emb(x[None], torch.arange(longest, device=x.device)[None])
        half = cos.shape[-1] // 2
        training = bool(decoder.training)
        adapted = self._switch is not None and not self._switch.disable_adapters
        again = training and torch.is_grad_enabled() and decoder.gradient_checkpointing
        for number, layer in enumerate(self._layers):
            last = number == len(self._layers) - 1
            now = Pass(
                packed,
                cos[0, :, :half],
                sin[0, :, :half],
                self._masks if training and adapted else None,
                adapted,
                packed.wanted if last else None,
            )
            trained = layer.trained if adapted else []
            if again:
                x = checkpoint(LayerFunction.apply, x, layer, now, *trained, use_reentrant=False)
            else:
                x = LayerFunction.apply(x, layer, now, *trained)  # type: ignore[no-untyped-call]
        return decoder.norm(x)


def covers(decoder: Any) -> bool:
    """Whether `FastDecoder` computes exactly what this model does."""
    from transformers.models.llama.modeling_llama import LlamaModel

    if type(decoder) is not LlamaModel or decoder.embed_tokens.weight.device.type != "cpu":
        return False
    config = decoder.config
    rotation = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if config.hidden_act != "silu" or rotation not in ROTATIONS:
        return False
    dtype = decoder.embed_tokens.weight.dtype
    return all(_covered(layer, dtype) for block in decoder.layers for layer in _projections(block))


def _covered(layer: Any, dtype: Any) -> bool:
    from afina.models.fast_lora import FastLoraLinear

    base = layer
    if isinstance(layer, FastLoraLinear):
        names = layer.active_adapters
        if (
            len(names) != 1
            or layer.merged
            or names[0] in layer.lora_variant
            or layer.lora_bias[names[0]]
        ):
            return False
        base = layer.base_layer
    return (
        type(base) is torch.nn.Linear
        and base.bias is None
        and base.weight.dtype == dtype
        and not base.weight.requires_grad
    )


def _projections(block: Any) -> list[Any]:
    return [
        getattr(block.self_attn if name in _PROJECTIONS[:4] else block.mlp, name)
        for name in _PROJECTIONS
    ]


def _first_adapted(decoder: Any) -> Any:
    """The first layer with an adapter: it says whether adapters are switched off."""
    for block in decoder.layers:
        for layer in _projections(block):
            if hasattr(layer, "base_layer"):
                return layer
    return None


def _layer(decoder: Any, number: int) -> FastLayer:
    block, config = decoder.layers[number], decoder.config
    q, k, v, o, gate, up, down = _projections(block)
    attention = block.self_attn
    size = attention.head_dim
    sizes = HeadSizes(config.num_attention_heads, config.num_key_value_heads, size)
    return FastLayer(
        LoraProduct([q, k, v], f"{number}.qkv"),
        LoraProduct([o], f"{number}.output"),
        LoraProduct([gate, up], f"{number}.gate_up"),
        LoraProduct([down], f"{number}.down"),
        block.input_layernorm.weight,
        block.post_attention_layernorm.weight,
        config.rms_norm_eps,
        sizes,
        float(attention.scaling),
    )
