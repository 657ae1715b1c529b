"""Which number format pays on this machine: measured in milliseconds, not looked up."""

from __future__ import annotations

import time
from functools import cache

# bf16 must be clearly faster: below this the rounding is not worth it.
WORTHWHILE = 1.5


@cache
def matmul_gflops(precision: str, rows: int = 1024, inner: int = 576, columns: int = 1536) -> float:
    """Measured rate of a matrix product on the CPU, in GFLOP/s: the best of several short runs."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left = torch.randn(rows, inner).to(dtype)
    right = torch.randn(columns, inner).to(dtype)
    best = 0.0
    with torch.no_grad():
        for _repeat in range(5):
            started = time.perf_counter()
            torch.nn.functional.linear(left, right)
            seconds = time.perf_counter() - started
            best = max(best, 2 * rows * inner * columns / seconds / 1e9)
    return best


def choose_precision(wanted: str) -> str:
    """`bf16` or `fp32`: what was asked, or for `auto` what pays on this machine."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if matmul_gflops("bf16") >= WORTHWHILE * matmul_gflops("fp32") else "fp32"
