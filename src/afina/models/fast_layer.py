"""One Llama decoder layer with LoRA as one autograd function, over packed rows.

The same mathematics as the layer of transformers with peft's adapters, tested to be equal in values and
gradients, with the passes over memory that it needs and no others: frozen weights have no gradient
work, normalised inputs and probabilities are not kept, and the residual is added within the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from afina.models.attention import HeadSizes, attend, attend_backward
from afina.models.dropout import DropoutMasks
from afina.models.lora_product import Kept, LoraProduct, RowNorms
from afina.models.packed import Packed


@dataclass(frozen=True)
class FastLayer:
    """The parts of one decoder layer."""

    qkv: LoraProduct
    output: LoraProduct
    gate_up: LoraProduct
    down: LoraProduct
    norm_before_attention: Any
    norm_before_mlp: Any
    epsilon: float
    sizes: HeadSizes
    scale: float

    @property
    def products(self) -> tuple[LoraProduct, ...]:
        """In the order in which they are used."""
        return self.qkv, self.output, self.gate_up, self.down

    @property
    def trained(self) -> list[Any]:
        """A and B of every adapted linear layer, in the order of `products`."""
        return [tensor for product in self.products for tensor in product.trained]


@dataclass(frozen=True)
class Pass:
    """What one forward pass is about.

    Attributes:
        packed: the rows. cos, sin: rotation by position; [positions, size / 2].
        masks: dropout; None when nothing is dropped. adapted: whether the adapter takes part.
        wanted: packed tokens that are asked for after this layer; None for all.
    """

    packed: Packed
    cos: Any
    sin: Any
    masks: DropoutMasks | None
    adapted: bool
    wanted: Any = None


class LayerFunction(torch.autograd.Function):
    """x [tokens, hidden] to the next layer's input; [tokens or wanted, hidden]."""

    @staticmethod
    def forward(ctx: Any, x: Any, layer: FastLayer, now: Pass, *trained: Any) -> Any:
        """`trained` are `layer.trained`: given, so that autograd asks for their gradients."""
        packed, wanted = now.packed, now.wanted
        qkv, kept_qkv = layer.qkv.forward(_normed(x, layer, layer.qkv), now.masks, now.adapted)
        attended, heads = attend(qkv, packed, layer.sizes, now.cos, now.sin, layer.scale)
        del qkv
        before = x
        if wanted is not None:
            before, attended = x[wanted], attended[wanted]
        middle, kept_output = layer.output.forward(
            _roomy(attended, layer.output), now.masks, now.adapted, before
        )
        gates, kept_gates = layer.gate_up.forward(
            _normed(middle, layer, layer.gate_up), now.masks, now.adapted
        )
        gate, up = gates.chunk(2, dim=1)
        active = layer.down.room(gates.shape[0])
        torch.mul(torch.nn.functional.silu(gate), up, out=active[:, : up.shape[1]])
        result, kept_down = layer.down.forward(active, now.masks, now.adapted, middle)
        if any(ctx.needs_input_grad):
            _keep(ctx, x, middle, gates, heads, [kept_qkv, kept_output, kept_gates, kept_down])
            ctx.layer, ctx.now = layer, now
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        layer, now = ctx.layer, ctx.now
        x, middle, gates, heads, kept = _kept(ctx)
        rate = now.masks.rate if now.masks is not None else 0.0
        norms = _row_norms(now)
        wants_x = ctx.needs_input_grad[0]

        grad_active, down = _backward(layer.down, grad, kept[3], rate, True, norms)
        grad_gates = _gated_backward(grad_active, gates)
        grad_normed, gate_up = _backward(layer.gate_up, grad_gates, kept[2], rate, True, norms)
        grad = _norm_backward(grad_normed, middle, layer.norm_before_mlp, layer.epsilon, grad)

        grad_attended, output = _backward(layer.output, grad, kept[1], rate, True, norms)
        if now.wanted is not None:
            grad_attended = _spread(grad_attended, now.wanted, x.shape[0])
            grad = _spread(grad, now.wanted, x.shape[0])
        grad_qkv = attend_backward(
            grad_attended, heads, now.packed, layer.sizes, now.cos, now.sin, layer.scale
        )
        grad_normed, qkv = _backward(layer.qkv, grad_qkv, kept[0], rate, wants_x, norms)
        if wants_x:
            grad = _norm_backward(grad_normed, x, layer.norm_before_attention, layer.epsilon, grad)
        return (grad if wants_x else None, None, None, *qkv, *output, *gate_up, *down)


def _keep(ctx: Any, x: Any, middle: Any, gates: Any, heads: list[Any], kept: list[Kept | None]) -> None:
    """Saves what the backward pass needs, through autograd, so that it is freed with the graph."""
    flat: list[Any] = []
    for item in kept:
        flat += [None, None, None] if item is None else [item.dropped, item.mask, item.inner]
    ctx.save_for_backward(x, middle, gates, *flat, *heads)


def _kept(ctx: Any) -> tuple[Any, Any, Any, list[Any], list[Kept | None]]:
    x, middle, gates, *rest = ctx.saved_tensors
    kept = [None if rest[start] is None else Kept(*rest[start : start + 3]) for start in range(0, 12, 3)]
    return x, middle, gates, rest[12:], kept


def _backward(
    product: LoraProduct, grad: Any, kept: Kept | None, rate: float, wants: bool, norms: RowNorms | None
) -> tuple[Any, list[Any]]:
    """A product's gradients, also where it has no adapter."""
    if kept is None:
        return product.plain_backward(grad) if wants else None, []
    return product.backward(grad, kept, rate, wants, norms)


def _row_norms(now: Pass) -> RowNorms | None:
    packed = now.packed
    if packed.row_norms is None:
        return None
    spans = [
        slice(start, start + length) for start, length in zip(packed.starts, packed.lengths, strict=True)
    ]
    return RowNorms(spans, packed.row_norms)


def _roomy(x: Any, product: LoraProduct) -> Any:
    room = product.room(x.shape[0])
    room[:, : product.inputs] = x
    return room


def _normed(x: Any, layer: FastLayer, product: LoraProduct) -> Any:
    """RMSNorm (Zhang & Sennrich 2019) of x, in the first columns of the product's input."""
    weight = layer.norm_before_attention if product is layer.qkv else layer.norm_before_mlp
    room = product.room(x.shape[0])
    wide = x.to(_wide(x))
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + layer.epsilon)
    torch.mul(scaled.to(x.dtype), weight, out=room[:, : product.inputs])
    return room


def _norm_backward(grad: Any, x: Any, weight: Any, epsilon: float, residual: Any) -> Any:
    """Gradient of RMSNorm by its input, with the residual's added; [tokens, hidden]."""
    wide = x.to(_wide(x))
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    scaled = wide * inverse
    up = (grad * weight).to(_wide(x))
    up -= scaled * (up * scaled).mean(-1, keepdim=True)
    return up.mul_(inverse).add_(residual).to(x.dtype)


def _gated_backward(grad: Any, gates: Any) -> Any:
    """Gradient of silu(gate) · up by both, side by side; [tokens, 2 · inner]."""
    gate, up = gates.chunk(2, dim=1)
    result = torch.empty_like(gates)
    to_gate, to_up = result.chunk(2, dim=1)
    torch.mul(grad, torch.nn.functional.silu(gate), out=to_up)
    to_gate.copy_(torch.ops.aten.silu_backward(grad * up, gate))
    return result


def _spread(grad: Any, wanted: Any, tokens: int) -> Any:
    """Gradients of some tokens among zeros for the others."""
    result = grad.new_zeros(tokens, grad.shape[1])
    result[wanted] = grad
    return result


def _wide(x: Any) -> Any:
    """The format of sums: fp32, or the input's own where that is wider."""
    return torch.promote_types(x.dtype, torch.float32)
