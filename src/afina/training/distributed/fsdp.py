"""FSDP: base, adapter and optimizer state divided among the processes, gathered a layer at a time.

torch's fully_shard: https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from afina.models.load import decoder
from afina.training.distributed.ranks import Alone
from afina.training.distributed.together import Together, sum_gradients


class FullySharded(Together):
    """One of several processes that each hold a part of every decoder layer."""

    engine = "fsdp"
    divides_base = True

    def place(self, model: Any) -> Any:
        """Divides the decoder layers. Embeddings, last norm and output head stay whole: the head is
        asked as often as a batch has blocks of trained tokens, which differs between processes, and a
        divided one would make them wait for each other for ever."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        self._mesh = init_device_mesh(model.device.type, (self.world,))
        inner = decoder(model)
        for layer in inner.layers:
            fully_shard(layer, mesh=self._mesh)
        divided = {id(p) for layer in inner.layers for p in layer.parameters()}
        fully_shard(
            inner,
            mesh=self._mesh,
            ignored_params={p for p in inner.parameters() if id(p) not in divided},
        )
        for module in model.modules():
            # Sums, not means: the loss is divided by all units already.
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        return model

    def step(
        self, optimizer: Any, parts: Iterable[list[Any]], rate: float, max_norm: float
    ) -> list[float]:
        """Divided gradients were summed in the backward pass; the whole ones are summed here."""
        parts = [list(part) for part in parts]
        sum_gradients([tensor for part in parts for tensor in part if not _is_divided(tensor)])
        return Alone.step(self, optimizer, parts, rate, max_norm)

    @contextmanager
    def measuring(self, model: Any) -> Iterator[None]:
        """Without gradients, but not in inference mode: layers gathered in it could not be trained."""
        with without_gradients(model):
            yield

    def whole(self, weights: dict[str, Any]) -> dict[str, Any]:
        """Gathers each trained tensor."""
        return {
            name: tensor.detach().full_tensor() if _is_divided(tensor) else tensor
            for name, tensor in weights.items()
        }

    def put(self, whole: dict[str, Any], weights: dict[str, Any]) -> None:
        """Takes this process's part of each tensor."""
        import torch

        with torch.no_grad():
            for name, tensor in weights.items():
                if _is_divided(tensor):
                    tensor.to_local().copy_(own_part(whole[name], self.rank, self.world))
                else:
                    tensor.copy_(whole[name])

    def pack(self, optimizer: Any, names: list[str]) -> dict[str, Any]:
        """This process's part of the optimizer's state."""
        from afina.training.optimizer_state import tensors_of

        return tensors_of(optimizer, names)

    def needs(self, made_by: int) -> set[int] | None:
        """Its own shard; all of them when another number of processes made them."""
        return {self.rank} if made_by == self.world else set(range(made_by))

    def restore(
        self, kept: dict[int, dict[str, Any]], made_by: int, optimizer: Any, names: list[str]
    ) -> None:
        """Puts the optimizer's state in place, divided anew when there were more or fewer processes."""
        from torch.distributed.tensor import DTensor

        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for name, parameter in zip(names, parameters, strict=True):
            shards = [kept[number] for number in sorted(kept)]
            for key in sorted(key for key in shards[0] if key.rpartition("/")[0] == name):
                values = [shard[key] for shard in shards]
                value, kind = values[0], key.rpartition("/")[2]
                if _is_divided(parameter) and value.ndim:
                    if made_by != self.world:
                        value = own_part(_joined(values), self.rank, self.world)
                    value = DTensor.from_local(
                        value.to(parameter.device),
                        self._mesh,
                        parameter.placements,
                        run_check=False,
                        shape=parameter.shape,
                        stride=parameter.stride(),
                    )
                elif kind != "step":
                    value = value.to(parameter.device)
                optimizer.state[parameter][kind] = value


@contextmanager
def without_gradients(model: Any) -> Iterator[None]:
    """Inside, no gradients and no dropout."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def own_part(whole: Any, rank: int, world: int) -> Any:
    """The rows of a tensor that are one process's, as FSDP divides them; the last may have none."""
    parts = whole.chunk(world)
    return parts[rank] if rank < len(parts) else whole[:0]


def _joined(parts: list[Any]) -> Any:
    import torch

    return torch.cat(parts)


def _is_divided(tensor: Any) -> bool:
    return hasattr(tensor, "to_local")
