"""Linear layers with LoRA that read the same input, as one matrix product.

    y = x Wᵀ + s · (x ∘ mask)/(1 − rate) Aᵀ Bᵀ = [x, inner] · [W, s·B]ᵀ
    inner = (x ∘ mask) · (A/(1 − rate))ᵀ

The frozen weights of the layers are stacked (queries, keys and values; gate and up), and the small
matrices B are written beside them, so that neither pass needs a further one over the outputs. The
modules of the model keep their weights as views into the stacked one: nothing is held twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from afina.models.dropout import DropoutMasks, zeroed


@dataclass(frozen=True)
class Part:
    """One layer of a product.

    Attributes:
        rows: its outputs among those of the product. columns: its share of the inner columns; empty
            without an adapter.
        a: [rank, in]. b: [out, rank]. scale: s. All of the adapter; None without one.
    """

    rows: slice
    columns: slice
    a: Any = None
    b: Any = None
    scale: float = 0.0


@dataclass(frozen=True)
class Kept:
    """What the backward pass needs of a product's input."""

    dropped: Any
    mask: Any
    inner: Any


class LoraProduct:
    """Stacked linear layers with their adapters.

    Attributes:
        parts: the layers in order. inputs: width of the input. key: names its dropout.
    """

    def __init__(self, layers: list[Any], key: str) -> None:
        bases = [getattr(layer, "base_layer", layer) for layer in layers]
        self.inputs = int(bases[0].weight.shape[1])
        self.key = key
        self.parts: list[Part] = []
        row = column = 0
        for layer, base in zip(layers, bases, strict=True):
            outputs = int(base.weight.shape[0])
            rank, a, b, scale = 0, None, None, 0.0
            if base is not layer:
                name = layer.active_adapters[0]
                a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
                rank, scale = int(a.shape[0]), float(layer.scaling[name])
            rows, columns = slice(row, row + outputs), slice(column, column + rank)
            self.parts.append(Part(rows, columns, a, b, scale))
            row, column = row + outputs, column + rank
        self.rank = column
        like = bases[0].weight
        self._whole = like.new_zeros(row, self.inputs + column)
        for part, base in zip(self.parts, bases, strict=True):
            self._whole[part.rows, : self.inputs] = base.weight.detach()
            base.weight = torch.nn.Parameter(self._whole[part.rows, : self.inputs], requires_grad=False)

    @property
    def trained(self) -> list[Any]:
        """A and B of each adapted layer, in order."""
        return [tensor for part in self.parts if part.a is not None for tensor in (part.a, part.b)]

    def room(self, tokens: int) -> Any:
        """An empty input with space for the inner columns beside it; [tokens, in + rank]."""
        return self._whole.new_empty(tokens, self.inputs + self.rank)

    def forward(
        self, x: Any, masks: DropoutMasks | None, adapted: bool = True, residual: Any = None
    ) -> tuple[Any, Kept | None]:
        """The product.

        Args:
            x: what `room` gave, its first columns filled; [tokens, in + rank].
            masks: of the dropout; None for none.
            adapted: whether the adapter takes part.
            residual: is added; [tokens, out].
        Returns:
            [tokens, out]; and what `backward` needs, None without an adapter.
        """
        plain = x[:, : self.inputs]
        if not adapted or not self.rank:
            weight = self._whole[:, : self.inputs].T
            return (plain @ weight if residual is None else torch.addmm(residual, plain, weight)), None
        dropped, mask, kept_share = plain, None, 1.0
        if masks is not None and masks.rate:
            mask = masks.mask(self.key, plain.shape, plain.device)
            dropped, kept_share = zeroed(plain, mask), 1 - masks.rate
        inner = dropped @ self._stacked_a(kept_share).T
        x[:, self.inputs :] = inner
        self._write_b()
        whole = self._whole.T
        y = x @ whole if residual is None else torch.addmm(residual, x, whole)
        return y, Kept(dropped, mask, inner)

    def plain_backward(self, grad: Any) -> Any:
        """Gradient by the input of a product without an adapter; [tokens, in]."""
        return grad @ self._whole[:, : self.inputs]

    def backward(
        self, grad: Any, kept: Kept, rate: float, wants_input: bool, rows: RowNorms | None
    ) -> tuple[Any, list[Any]]:
        """Gradients by the input and by each of `trained`.

        Args:
            grad: by the product's output; [tokens, out].
            rate: of the dropout. wants_input: whether the input's gradient is needed.
            rows: adds squared norms by row, for private training; None where it is not asked for.
        Returns:
            [tokens, in], or None when not wanted; and gradients in the order and precision of `trained`.
        """
        self._write_b()
        kept_share = 1.0 if kept.mask is None else 1 - rate
        grad_x = None
        if wants_input:
            both = grad @ self._whole
            grad_x, through = both[:, : self.inputs], both[:, self.inputs :].contiguous()
            low = through @ self._stacked_a(kept_share)
            grad_x += low if kept.mask is None else zeroed(low, kept.mask)
        else:
            through = grad @ self._whole[:, self.inputs :]
        grad_a = through.T @ kept.dropped
        grads = []
        for part in self.parts:
            if part.a is None:
                continue
            out = grad[:, part.rows]
            inner = kept.inner[:, part.columns]
            grads.append(grad_a[part.columns].to(part.a.dtype).div_(kept_share))
            grads.append((out.T @ inner).to(part.b.dtype).mul_(part.scale))
            if rows is not None:
                rows.add(through[:, part.columns] / kept_share, kept.dropped)
                rows.add(out * part.scale, inner)
        return grad_x, grads

    def _stacked_a(self, kept_share: float) -> Any:
        """All A one under another, divided by the share that dropout keeps; [rank, in]."""
        whole = torch.cat([part.a for part in self.parts if part.a is not None]) / kept_share
        return whole.to(self._whole.dtype)

    def _write_b(self) -> None:
        """Puts s · B of each layer beside its weights; other layers' columns stay zero."""
        for part in self.parts:
            if part.b is not None:
                place = slice(self.inputs + part.columns.start, self.inputs + part.columns.stop)
                self._whole[part.rows, place] = part.b.detach() * part.scale


class RowNorms:
    """Adds up the squared norm of each row's own gradient.

    Args:
        spans: the tokens of each row of the batch. totals: where the sums go; [rows].
    """

    def __init__(self, spans: list[slice], totals: Any) -> None:
        self._spans, self._totals = spans, totals

    def add(self, left: Any, right: Any) -> None:
        """Of the gradient leftᵀ · right of one weight; [tokens, m] and [tokens, n]."""
        for row, span in enumerate(self._spans):
            own = left[span].float().T @ right[span].float()
            self._totals[row] += own.square().sum()
