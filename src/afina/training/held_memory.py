"""Memory that training holds beside the weights: gradients and optimizer states, counted in bytes."""

from __future__ import annotations

from typing import Any


class HeldMemory:
    """Counts the tensors of an optimizer at each of its steps, when gradients and states are both there.

    Attributes:
        gradients, states: the most there were, in bytes.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self.gradients = 0
        optimizer.register_step_post_hook(self._count)

    def _count(self, *_given: Any) -> None:
        tensors = [p.grad for group in self._optimizer.param_groups for p in group["params"]]
        self.gradients = max(self.gradients, sum(_bytes(tensor) for tensor in tensors))

    @property
    def states(self) -> int:
        """What the optimizer keeps from step to step."""
        parts = {
            tensor.data_ptr(): _bytes(tensor)
            for state in self._optimizer.state.values()
            for tensor in state.values()
            if hasattr(tensor, "data_ptr")
        }
        return sum(parts.values())

    def against_full(self, trained: int, everything: int) -> dict[str, Any]:
        """This run's bytes, and those that training all weights would hold in the same way.

        Args:
            trained: tensors' elements trained here; everything: parameters of the base.
        Returns:
            gradient_bytes, optimizer_bytes: measured (a run that went on after its last step counts
            the gradients by the trained tensors; of several processes both are AdamW's in fp32,
            undivided); full_bytes: fp32 gradients and as much state for each parameter of the base;
            saved: 1 − measured / full_bytes.
        """
        gradients = self.gradients or 4 * trained
        states = self.states or 8 * trained
        held = gradients + states
        full = round(everything * (4 + states / max(trained, 1)))
        return {
            "gradient_bytes": gradients,
            "optimizer_bytes": states,
            "full_bytes": full,
            "saved": round(1 - held / full, 4),
        }


def _bytes(tensor: Any) -> int:
    return 0 if tensor is None else int(tensor.numel() * tensor.element_size())
