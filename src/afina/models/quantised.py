"""Bases of 4 and 8 bits through bitsandbytes: how they are loaded, multiplied with, and undone.

On a CPU each layer's weights are dequantised for its product and forgotten after it, in both directions.
bitsandbytes' own CPU layers are left alone: on processors with AVX-512 bf16 the 4-bit one packs its
weights anew at the first evaluation, after which no gradient flows through it; the 8-bit one rounds
activations in evaluation but not in training.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch

from afina.errors import BaseModelError, MissingExtra
from afina.language import _

# Weights that share one scale in NF4, as bitsandbytes and the paper have it.
BLOCK = 64


def quantisation(bits: int, dtype: Any) -> Any:
    """How transformers loads a base of 8 or 4 bits: int8 by rows, or NF4 with double quantisation.

    Raises:
        MissingExtra: without bitsandbytes.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise MissingExtra(
            _("a base of {bits} bits needs bitsandbytes").format(bits=bits),
            fix=_("pip install 'afina[quantize]', or set base.bits: 16"),
        ) from None
    from transformers import BitsAndBytesConfig

    if bits == 4:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True)


def quantised_layers(model: Any) -> dict[str, Any]:
    """The layers of a model whose weights bitsandbytes holds, by name; not peft's layers around them."""
    return {
        name: module
        for name, module in model.named_modules()
        if not hasattr(module, "base_layer")
        and type(getattr(module, "weight", None)).__name__ in ("Params4bit", "Int8Params")
    }


def dequantised(layer: Any, dtype: Any) -> Any:
    """The weights that a quantised layer stands for; [out, in].

    NF4: code × block scale (Dettmers et al. 2023); int8: code × row scale / 127 (Dettmers et al. 2022).
    """
    import bitsandbytes

    weight = layer.weight
    if type(weight).__name__ == "Params4bit":
        return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state).to(dtype)
    scales = weight.SCB if weight.SCB is not None else layer.state.SCB
    return (weight.data.float() * (scales.float() / 127)[:, None]).to(dtype)


def use_plain_products(model: Any, bits: int) -> None:
    """From here on, the quantised layers of a model on a CPU are dequantised for each product.

    Raises:
        BaseModelError: for a 4-bit layer whose rows are not whole blocks: bitsandbytes' CPU kernel then
            takes the scales of the wrong blocks, without a word.
    """
    for name, layer in quantised_layers(model).items():
        if bits == 4 and layer.in_features % BLOCK:
            raise BaseModelError(
                _("this base cannot be held in 4 bits: {layer} has {columns} columns").format(
                    layer=name, columns=layer.in_features
                ),
                fix=_("set base.bits to 8 or 16; 4 bits need columns in blocks of {block}").format(
                    block=BLOCK
                ),
            )
        if layer.weight.device.type == "cpu":
            layer.forward = MethodType(_forward, layer)


def _forward(layer: Any, x: Any) -> Any:
    """[..., in] to [..., out]."""
    result = _Product.apply(x, layer)  # type: ignore[no-untyped-call]
    return result if layer.bias is None else result + layer.bias.to(result.dtype)


class _Product(torch.autograd.Function):
    """x · Wᵀ of a frozen quantised layer; nothing is kept for the backward pass but the layer."""

    @staticmethod
    def forward(ctx: Any, x: Any, layer: Any) -> Any:
        """[..., in] to [..., out]."""
        ctx.layer = layer
        return x @ dequantised(layer, x.dtype).T

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """[..., out] to [..., in]."""
        (grad,) = grads
        return grad @ dequantised(ctx.layer, grad.dtype), None
