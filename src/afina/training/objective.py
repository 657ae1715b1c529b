"""What is minimised: label cross-entropy of a pooled head, or cross-entropy of trained tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from afina.data.batches import Batch
from afina.data.chat import Encoded
from afina.inference.pooled import PooledHead
from afina.inference.states import mean_states, token_losses
from afina.training.robust import GroupWeights


class Objective(Protocol):
    """The loss of a batch as a sum, and what the sum is divided by."""

    def loss(self, model: Any, batch: Batch) -> Any:
        """Summed loss in nats of the batch, with its gradient."""

    def units(self, encoded: Sequence[Encoded], rows: list[int]) -> int:
        """How many terms the loss of these rows has: trained tokens, or rows."""

    def parameters(self) -> dict[str, Any]:
        """Trained tensors beside the adapter, by name."""

    has_perplexity: bool
    groups: GroupWeights | None


@dataclass
class TokenObjective:
    """Cross-entropy of the trained tokens."""

    has_perplexity: bool = True
    groups: GroupWeights | None = None

    def loss(self, model: Any, batch: Batch) -> Any:
        """Summed over the trained tokens."""
        return token_losses(model, batch).sum()

    def units(self, encoded: Sequence[Encoded], rows: list[int]) -> int:
        """Trained tokens of these rows."""
        return sum(sum(encoded[row].trained) for row in rows)

    def parameters(self) -> dict[str, Any]:
        """None."""
        return {}


class PooledObjective:
    """Cross-entropy of the label, by a linear head on the mean state that starts from the probe."""

    has_perplexity = False

    def __init__(self, head: PooledHead, truth: np.ndarray[Any, np.dtype[Any]], device: str) -> None:
        import torch

        self._truth = truth
        self._mean = torch.tensor(head.mean, device=device)
        self._scale = torch.tensor(head.scale, device=device)
        self.groups: GroupWeights | None = None
        self.weight = torch.tensor(head.weight, device=device, requires_grad=True)
        self.bias = torch.tensor(head.bias, device=device, requires_grad=True)

    def logits(self, model: Any, batch: Batch) -> Any:
        """Label logits; [rows, labels]."""
        states = (mean_states(model, batch) - self._mean) / self._scale
        return states @ self.weight.T + self.bias

    def loss(self, model: Any, batch: Batch) -> Any:
        """Summed over the rows, each as much as its group counts where groups are weighed."""
        import torch

        goal = torch.tensor(self._truth[batch.rows], device=self.weight.device)
        logits = self.logits(model, batch)
        if self.groups is None:
            return torch.nn.functional.cross_entropy(logits, goal, reduction="sum")
        losses = torch.nn.functional.cross_entropy(logits, goal, reduction="none")
        self.groups.saw(batch.rows, losses.detach().double().cpu().numpy())
        return (losses * torch.tensor(self.groups.of(batch.rows), device=losses.device).float()).sum()

    def units(self, encoded: Sequence[Encoded], rows: list[int]) -> int:
        """Rows."""
        return len(rows)

    def parameters(self) -> dict[str, Any]:
        """The head's weight and bias."""
        return {"head.weight": self.weight, "head.bias": self.bias}

    def with_truth(self, truth: np.ndarray[Any, np.dtype[Any]]) -> PooledObjective:
        """The same head for other rows, those of the validation split, which count all the same."""
        other = object.__new__(PooledObjective)
        other.__dict__ = {**self.__dict__, "_truth": truth, "groups": None}
        return other

    def head(self) -> PooledHead:
        """The head as it is now."""
        parts = (self.weight, self.bias, self._mean, self._scale)
        return PooledHead(*(part.detach().cpu().numpy().copy() for part in parts))
