"""DeepSpeed's ZeRO: stage 2 divides gradients and optimizer state, stage 3 the decoder layers too.

Rajbhandari et al. 2020. The pooled head is small: every process keeps it whole, with its own AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from afina.data.batches import Batch
from afina.models.load import decoder
from afina.training.distributed.fsdp import without_gradients
from afina.training.distributed.ranks import clip
from afina.training.distributed.together import Together, sum_gradients
from afina.training.optimizer_state import put_back, tensors_of


class ZeroTwo(Together):
    """One of several processes that hold the whole model, and each a part of the optimizer's state."""

    engine = "deepspeed-2"
    stage = 2

    def optimizer(self, model: Any, optimizer: Any, head: list[Any]) -> Any:
        """DeepSpeed's optimizer for the adapter and the usual one for the head."""
        import torch

        inside = {id(tensor) for tensor in head}
        groups = [group for group in optimizer.param_groups if group["params"]]
        adapter = [group for group in groups if id(group["params"][0]) not in inside]
        heads = [group for group in groups if id(group["params"][0]) in inside]
        self._adapter = [p for group in adapter for p in group["params"]]
        self._head_count = len(head)
        self._engine = _initialize(self._passing(model), torch.optim.AdamW(adapter), self._config())
        return ZeroOptimizer(self._engine, torch.optim.AdamW(heads) if heads else None)

    def _passing(self, model: Any) -> Any:
        """The module that DeepSpeed is given; it sees the trained tensors alone."""
        import torch

        passing = _passing_module(model)
        passing.trained = torch.nn.ParameterList(self._adapter)
        return passing

    def _config(self) -> dict[str, Any]:
        return {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,  # a step has as many micro-batches as it needs
            "gradient_clipping": self.recipe.train.max_grad_norm,
            "zero_optimization": {"stage": self.stage, "overlap_comm": False},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 1 << 40,
        }

    def loss(self, objective: Any, model: Any, batch: Batch) -> Any:
        """Through DeepSpeed's engine, whose hooks gather and reduce."""
        return self._engine(objective, batch)

    def backward(self, loss: Any) -> None:
        """DeepSpeed takes the mean over the processes; here it is a sum."""
        self._engine.backward(loss * self.world)

    def step(
        self, optimizer: Any, parts: Iterable[list[Any]], rate: float, max_norm: float
    ) -> list[float]:
        """The adapter's step is DeepSpeed's, clipping included; the head's is the usual one."""
        _adapter, head = parts
        sum_gradients(head)
        for tensor in head:
            tensor.grad /= self.world
        norm = clip(head, max_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._engine.step()
        if optimizer.head is not None:
            optimizer.head.step()
            optimizer.head.zero_grad(set_to_none=True)
        return [float(self._engine.get_global_grad_norm()), norm]

    @contextmanager
    def measuring(self, model: Any) -> Iterator[None]:
        """Without gradients, but not in inference mode: tensors gathered in it could not be trained."""
        with without_gradients(self._engine), without_gradients(model):
            yield

    def pack(self, optimizer: Any, names: list[str]) -> dict[str, Any]:
        """This process's part of the adapter's master copy and moments, and the head's moments."""
        packed = {}
        for number, part in enumerate(self._parts()):
            packed[f"zero/{number}/master"] = part.detach().cpu().clone()
            for key, value in self._engine.optimizer.optimizer.state.get(part, {}).items():
                packed[f"zero/{number}/{key}"] = _as_tensor(value).detach().cpu().clone()
        if optimizer.head is not None:
            packed |= tensors_of(optimizer.head, names[-self._head_count :])
        return packed

    def _parts(self) -> list[Any]:
        """This process's flat part of each group of trained tensors."""
        return list(self._engine.optimizer.single_partition_of_fp32_groups)

    def needs(self, made_by: int) -> set[int] | None:
        """Its own shard; DeepSpeed pads its flat parts by the number of processes."""
        return {self.rank} if made_by == self.world else None

    def restore(
        self, kept: dict[int, dict[str, Any]], made_by: int, optimizer: Any, names: list[str]
    ) -> None:
        """Puts master copy and moments in place."""
        import torch

        shard = kept[self.rank]
        for number, part in enumerate(self._parts()):
            found = {
                key.rpartition("/")[2]: value
                for key, value in shard.items()
                if key.startswith(f"zero/{number}/")
            }
            with torch.no_grad():
                part.copy_(found.pop("master"))
            if found:
                self._engine.optimizer.optimizer.state[part] = {
                    key: value if key == "step" else value.to(part.device)
                    for key, value in found.items()
                }
        if optimizer.head is not None:
            put_back(optimizer.head, names[-self._head_count :], shard)


class ZeroThree(ZeroTwo):
    """One of several processes that each hold a part of every decoder layer."""

    engine = "deepspeed-3"
    stage = 3
    divides_base = True

    def _passing(self, model: Any) -> Any:
        """DeepSpeed sees the decoder layers, and gathers each as a whole: our fast layers read their
        weights themselves. Embeddings, last norm and head stay whole, as under FSDP."""
        from deepspeed.utils import set_z3_leaf_modules

        # DeepSpeed takes a layer's gradients when that of its input is there; the first layer's too.
        model.enable_input_require_grads()
        passing = _passing_module(model)
        passing.layers = decoder(model).layers
        set_z3_leaf_modules(passing, [type(passing.layers[0])])
        return passing

    def _parts(self) -> list[Any]:
        return list(self._engine.optimizer.fp32_partitioned_groups_flat)

    def whole(self, weights: dict[str, Any]) -> dict[str, Any]:
        """Gathers the trained tensors."""
        import deepspeed

        with deepspeed.zero.GatheredParameters(self._adapter):
            return {name: tensor.detach().clone() for name, tensor in weights.items()}

    def put(self, whole: dict[str, Any], weights: dict[str, Any]) -> None:
        """Gathers the trained tensors, changes them and divides them again."""
        import deepspeed

        with deepspeed.zero.GatheredParameters(self._adapter, modifier_rank=0):
            super().put(whole, weights)


class ZeroOptimizer:
    """The groups of two optimizers together; each takes its own step."""

    def __init__(self, engine: Any, head: Any) -> None:
        self.engine, self.head = engine, head

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the adapter, then those of the head."""
        return [*self.engine.optimizer.param_groups, *(self.head.param_groups if self.head else [])]


def _initialize(module: Any, optimizer: Any, config: dict[str, Any]) -> Any:
    import os

    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    # DeepSpeed would compile a faster all-reduce in each process; gloo's is there already.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    engine, *_rest = deepspeed.initialize(
        model=module, optimizer=optimizer, config=config, dist_init_required=False
    )
    return engine


def _passing_module(model: Any) -> Any:
    """A module whose forward pass is an objective's loss; it registers nothing of the model."""
    import torch

    class Passing(torch.nn.Module):
        def forward(self, objective: Any, batch: Batch) -> Any:
            return objective.loss(model, batch)

    return Passing()


def _as_tensor(value: Any) -> Any:
    import torch

    return value if isinstance(value, torch.Tensor) else torch.tensor(float(value))
