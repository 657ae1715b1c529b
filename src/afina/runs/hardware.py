"""What a stage was worked on: the machine's processor, memory and GPUs, for the model card."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def hardware() -> dict[str, Any]:
    """{"processor", "cores", "memory_bytes", "gpus": [names]} of this machine.

    `cores` are those that this process may use; `memory_bytes` is the machine's, or its container's
    limit where psutil sees one.
    """
    import psutil
    import torch

    usable = getattr(os, "sched_getaffinity", None)
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": len(usable(0)) if usable else os.cpu_count() or 1,
        "memory_bytes": int(psutil.virtual_memory().total),
        "gpus": gpus,
    }


def _processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _colon, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return f"{value.strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()
