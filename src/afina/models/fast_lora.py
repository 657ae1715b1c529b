"""A LoRA linear layer in one autograd function, where a whole layer in one (`fast_layer`) cannot be.

The same mathematics as peft's own layer, tested to be equal, with fewer passes over memory: no fp32
copy of the activations for a bf16 base, one mask for the layers that read the same input. peft saves
and loads the adapter as ever.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as PeftLinear

from afina.models.dropout import DropoutMasks

# Layers that read the same tensor share a mask: q, k and v; gate and up.
_SHARED_INPUT = {
    "q_proj": "attention",
    "k_proj": "attention",
    "v_proj": "attention",
    "gate_proj": "mlp",
    "up_proj": "mlp",
}


class _LoraFunction(torch.autograd.Function):
    """y = x Wᵀ + scale · (x ∘ mask) Aᵀ Bᵀ, W frozen.

    Shapes: x [rows, in], A [rank, in], B [out, rank].
    """

    @staticmethod
    def forward(
        ctx: Any, x: Any, dropped: Any, mask: Any, weight: Any, a: Any, b: Any, scale: float
    ) -> Any:
        low_a, low_b = a.to(x.dtype), b.to(x.dtype)
        inner = dropped @ low_a.T
        result = torch.addmm(x @ weight.T, inner, low_b.T, alpha=scale)
        ctx.save_for_backward(dropped, mask, weight, low_a, low_b, inner)
        ctx.scale = scale
        ctx.dtype = a.dtype
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        dropped, mask, weight, low_a, low_b, inner = ctx.saved_tensors
        through = (grad @ low_b).mul_(ctx.scale)
        grad_a = (through.T @ dropped).to(ctx.dtype)
        grad_b = (grad.T @ inner).to(ctx.dtype).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            low = through @ low_a
            grad_x.addcmul_(low, mask.to(low.dtype)) if mask is not None else grad_x.add_(low)
        return grad_x, None, None, None, grad_a, grad_b, None


class FastLoraLinear(PeftLinear):  # type: ignore[misc]
    """peft's LoRA linear layer; training one adapter of plain LoRA takes the fast way."""

    masks: DropoutMasks | None = None
    mask_key = ""

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """[..., in] to [..., out]."""
        weight = self.base_layer.weight
        plain = (
            self.training
            and self.masks is not None
            and not self.disable_adapters
            and not self.merged
            and len(self.active_adapters) == 1
            and self.active_adapters[0] not in self.lora_variant
            and self.base_layer.bias is None
            and x.dtype == weight.dtype
            and not weight.requires_grad
        )
        if not plain:
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        flat = x.reshape(-1, x.shape[-1])
        scale = float(self.scaling[name])
        dropped, mask = flat.detach(), None
        assert self.masks is not None
        if self.masks.rate:
            dropped, mask = self.masks.drop(self.mask_key, x)
            dropped, mask = dropped.view(flat.shape), mask.view(flat.shape)
            scale /= 1 - self.masks.rate
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        result = _LoraFunction.apply(  # type: ignore[no-untyped-call]
            flat, dropped, mask, weight, a, b, scale
        )
        return result.view(*x.shape[:-1], result.shape[-1])


def give_masks(model: Any, masks: DropoutMasks) -> None:
    """Tells every fast layer of a model where its dropout comes from."""
    for name, module in model.named_modules():
        if isinstance(module, FastLoraLinear):
            module.masks = masks
            parent, _dot, last = name.rpartition(".")
            module.mask_key = f"{parent}.{_SHARED_INPUT.get(last, last)}"
