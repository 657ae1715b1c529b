"""What the processes send each other beside gradients: numbers and whole files, over gloo, no pickle."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

# A process that waits longer for the others takes them for lost.
PATIENCE = timedelta(minutes=60)


class Exchange:
    """One group of all processes on the CPU."""

    def __init__(self, patience: timedelta = PATIENCE) -> None:
        import torch.distributed as dist

        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._group = dist.new_group(backend="gloo", timeout=patience)

    def add_up(self, *values: float) -> list[float]:
        """Each value summed over the processes, in float64."""
        return self._reduced(values, "SUM")

    def largest(self, *values: float) -> list[float]:
        """The largest of each value."""
        return self._reduced(values, "MAX")

    def _reduced(self, values: tuple[float, ...], how: str) -> list[float]:
        import torch
        import torch.distributed as dist

        both = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(both, op=getattr(dist.ReduceOp, how), group=self._group)
        return [float(value) for value in both]

    def to_all(self, data: bytes | None) -> bytes:
        """What the first process has, for every process."""
        import torch
        import torch.distributed as dist

        size = torch.tensor([len(data) if data is not None else 0])
        dist.broadcast(size, 0, group=self._group)
        if self.rank == 0:
            assert data is not None
            sent = _tensor(data)
        else:
            sent = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(sent, 0, group=self._group)
        return bytes(sent.numpy().tobytes())

    def to_first(self, data: bytes) -> Iterator[bytes]:
        """For the first process, what each has, one after the other; for the others nothing."""
        import torch
        import torch.distributed as dist

        for rank in range(self.world):
            if rank == 0:
                if self.rank == 0:
                    yield data
            elif self.rank == rank:
                dist.send(torch.tensor([len(data)]), 0, group=self._group)
                dist.send(_tensor(data), 0, group=self._group)
            elif self.rank == 0:
                size = torch.zeros(1, dtype=torch.long)
                dist.recv(size, rank, group=self._group)
                sent = torch.empty(int(size), dtype=torch.uint8)
                dist.recv(sent, rank, group=self._group)
                yield sent.numpy().tobytes()


def _tensor(data: bytes) -> Any:
    import torch

    return torch.frombuffer(bytearray(data or b"\0"), dtype=torch.uint8)[: len(data)]
