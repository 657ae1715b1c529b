"""Which number format pays on this machine: measured in milliseconds, not looked up."""

from __future__ import annotations

import time
from functools import cache

# bf16 must be clearly faster: below this the rounding is not worth it.
WORTHWHILE = 1.5


# Both formats take turns, so that other work on the machine slows both; the best turn of each counts.
TURNS = 12


@cache
def matmul_rates(rows: int = 1024, inner: int = 576, columns: int = 1536) -> dict[str, float]:
    """Measured rates of a matrix product on the CPU by precision, in GFLOP/s: the best of short runs."""
    import torch

    sides = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        sides[name] = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    best = dict.fromkeys(sides, 0.0)
    with torch.no_grad():
        for _turn in range(TURNS):
            for name, (left, right) in sides.items():
                started = time.perf_counter()
                torch.nn.functional.linear(left, right)
                seconds = time.perf_counter() - started
                best[name] = max(best[name], 2 * rows * inner * columns / seconds / 1e9)
    return best


def matmul_gflops(precision: str) -> float:
    """The measured rate of one precision, in GFLOP/s."""
    return matmul_rates()[precision]


def choose_precision(wanted: str) -> str:
    """`bf16` or `fp32`: what was asked, or for `auto` what pays on this machine."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if matmul_gflops("bf16") >= WORTHWHILE * matmul_gflops("fp32") else "fp32"
