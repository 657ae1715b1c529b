"""Joules of a piece of work, and how they are known: measured by the chip, or estimated.

A chip's counter (RAPL for processors, NVML for NVIDIA GPUs) counts everything that runs on it, so what
the machine takes at rest is measured first and subtracted; other work on the machine is not. Without a
counter there is only a model: the watts in the processor's data sheet (TDP, from codecarbon's table)
shared out by CPU-seconds. It says nothing that CPU-seconds do not say: made only on request.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, MissingExtra
from afina.language import _

MEASURED, ESTIMATED = "measured", "estimated"
IDLE_SECONDS = 5.0
_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """A source of joules.

    Attributes:
        name: RAPL, NVML or codecarbon TDP. method: measured or estimated.
        joules: counts up; only differences mean anything.
        idle_watts: what is taken at rest, to be subtracted; 0 for an estimate, which counts work only.
        note: what else a reader must know.
    """

    name: str
    method: str
    joules: Callable[[], float]
    idle_watts: float
    note: str

    def as_json(self) -> dict[str, Any]:
        """For quantize.json."""
        return {
            "name": self.name,
            "method": self.method,
            "idle_watts": self.idle_watts,
            "note": self.note,
        }


def find_meter(
    device: str, estimate: bool, idle_seconds: float | None = None, root: Path = _POWERCAP
) -> Meter | None:
    """The meter of a device, or None where its energy is not known.

    Args:
        device: cpu or cuda. estimate: whether an estimate from TDP will do.
        idle_seconds: how long the machine is watched at rest. root: where the system keeps RAPL.
    Raises:
        MissingExtra: when an estimate is asked for without codecarbon.
        AfinaError: when its table does not know this processor.
    """
    counter = _nvml() if device == "cuda" else _rapl(root)
    if counter is not None:
        seconds = IDLE_SECONDS if idle_seconds is None else idle_seconds
        name = "NVML" if device == "cuda" else "RAPL"
        note = _("counts everything that runs on the chip; what it takes at rest is subtracted")
        return Meter(name, MEASURED, counter, _idle_watts(counter, seconds), note)
    return _tdp() if estimate and device == "cpu" else None


def _idle_watts(joules: Callable[[], float], seconds: float) -> float:
    before, start = joules(), time.perf_counter()
    time.sleep(seconds)
    return (joules() - before) / (time.perf_counter() - start)


def _rapl(root: Path) -> Callable[[], float] | None:
    """The processor packages' counters together; None where there are none, or they may not be read."""
    packages = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
    counters = []
    for package in packages:
        try:
            limit = int((package / "max_energy_range_uj").read_text())
            int((package / "energy_uj").read_text())
        except (OSError, ValueError):
            return None
        counters.append(_Counter(package / "energy_uj", limit))
    return (lambda: sum(counter.joules() for counter in counters)) if counters else None


class _Counter:
    """A counter of microjoules that begins again at its limit."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit
        self._last, self._total = int(path.read_text()), 0

    def joules(self) -> float:
        """Joules since it was first read."""
        now = int(self._path.read_text())
        self._total += now - self._last if now >= self._last else now + self._limit - self._last
        self._last = now
        return self._total / 1e6


def _nvml() -> Callable[[], float] | None:
    """The first GPU's counter (NVIDIA, from Volta on); None without driver or package."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no package, no driver, no counter: each raises a kind of its own
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


def _tdp() -> Meter:
    if find_spec("codecarbon") is None:
        raise MissingExtra(
            _("an estimate of energy needs codecarbon"),
            where="--estimate",
            fix=_("pip install 'afina[energy]'"),
        )
    import logging

    from codecarbon.core import cpu

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it was set anew by the import
    found = cpu.TDP()
    if not found.tdp:
        raise AfinaError(
            _(
                "codecarbon's table does not know this processor ({model}), so nothing can be estimated"
            ).format(model=found.model),
            where="--estimate",
            fix=_("leave out --estimate: CPU-seconds and bytes are measured all the same"),
        )
    watts, threads = float(found.tdp), os.cpu_count() or 1
    if watts == getattr(cpu, "DEFAULT_POWER_PER_CORE", 4) * threads:
        note = _(
            "codecarbon does not know {model} and takes {watts:.0f} W for {threads} threads, times "
            "CPU-seconds: not a measurement, and hardly an estimate"
        )
    else:
        note = _(
            "{watts:.0f} W of {model}'s data sheet over {threads} threads of this machine, times "
            "CPU-seconds: not a measurement"
        )
    note = note.format(watts=watts, model=found.model, threads=threads)
    return Meter("codecarbon TDP", ESTIMATED, lambda: watts / threads * time.process_time(), 0.0, note)
