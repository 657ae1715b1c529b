"""What the machine says of itself: parsers with known answers, sums with known sizes."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from afina.machine import GIB, KNOWN_MODELS, cpu_flags, examine, what_fits
from afina.models.memory import parameter_count

X86 = """processor\t: 0
model name\t: Some processor
flags\t\t: fpu sse2 avx2 avx512f avx512_bf16 avx512_vnni amx_bf16 amx_tile
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes bf16\nCPU implementer\t: 0x41\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return examine(str(tmp_path_factory.mktemp("place") / "not" / "yet"))


def test_flags_of_x86_and_arm() -> None:
    assert cpu_flags(X86) == ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")
    assert cpu_flags(ARM) == ("neon", "bf16")
    assert cpu_flags("flags : sse2 avx\n") == ()
    assert cpu_flags("") == ()


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("embedded", 134_515_008),
        ("meta-llama/Llama-3.2-1B", 1_235_814_400),
        ("meta-llama/Llama-3.2-3B", 3_212_749_824),
        ("meta-llama/Llama-3.1-8B", 8_030_261_248),
    ],
)
def test_the_table_of_models_gives_their_published_sizes(model: str, parameters: int) -> None:
    assert sum(parameter_count(KNOWN_MODELS[model])) == parameters


def test_more_memory_fits_more() -> None:
    def fitting(gib: float, precision: str = "bf16") -> set[tuple[str, int]]:
        return {(fit.model, fit.bits) for fit in what_fits(int(gib * GIB), precision) if fit.fits}

    assert fitting(0.1) == set()
    assert ("embedded", 16) in fitting(4)
    assert ("meta-llama/Llama-3.1-8B", 16) not in fitting(16)
    assert len(fitting(80)) == 12
    for smaller, larger in ((1, 4), (4, 16), (16, 80)):
        assert fitting(smaller) <= fitting(larger)
    assert fitting(16, "fp32") <= fitting(16, "bf16")


def test_fewer_bits_need_less_at_equal_recomputation() -> None:
    fits = {(fit.model, fit.bits): fit for fit in what_fits(0, "bf16")}
    for model in KNOWN_MODELS:
        sizes = [fits[model, bits].needed_bytes for bits in (16, 8, 4)]
        assert sizes == sorted(sizes, reverse=True)
        assert all(fits[model, bits].recomputed for bits in (16, 8, 4))


def test_this_machine(machine) -> None:
    assert machine.python == platform.python_version()
    assert 0 < machine.memory.available_bytes <= machine.memory.total_bytes
    assert 1 <= machine.processor.usable_cores <= machine.processor.logical_cores
    assert machine.speed.fp32_gflops > 0
    assert machine.speed.chosen in ("bf16", "fp32")
    runs = machine.disks[0]
    assert runs.what == "runs"
    assert runs.path.endswith("not/yet")
    assert runs.free_bytes
    assert runs.writable
    assert {extra.name for extra in machine.extras} == {"hub", "quantize", "docs"}
    assert all(sys.executable in extra.command for extra in machine.extras)
    json.dumps(machine.as_json(), allow_nan=False)


def test_examining_makes_no_folder(tmp_path: Path) -> None:
    examine(str(tmp_path / "runs"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_elsewhere_has_no_free_space() -> None:
    assert examine("memory://runs").disks[0].free_bytes is None


def test_problems_name_what_to_do(machine) -> None:
    fine = replace(
        machine,
        embedded_base=True,
        fits=what_fits(80 * GIB, "bf16"),
        disks=tuple(replace(disk, free_bytes=9 * GIB, writable=True) for disk in machine.disks),
    )
    assert fine.problems() == []
    assert "3.11" in replace(fine, python="3.9.2").problems()[0][1]
    assert "afina base install" in replace(fine, embedded_base=False).problems()[0][1]
    assert "memory" in replace(fine, fits=what_fits(0, "bf16")).problems()[0][0]
    full = replace(fine, disks=(replace(fine.disks[0], free_bytes=GIB),))
    assert "1.0 GiB" in full.problems()[0][0]
    closed = replace(fine, disks=(replace(fine.disks[0], writable=False),))
    assert "--runs" in closed.problems()[0][1]


def test_a_folder_with_the_name_of_a_package_is_not_that_package(tmp_path: Path) -> None:
    """`python -m afina` puts the current folder on the path."""
    import subprocess

    (tmp_path / "mkdocs_like").mkdir()
    code = "from afina.machine import _package_folder; print(_package_folder('mkdocs_like'))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "None"


def test_doctor_lines_fit_a_terminal(machine) -> None:
    from afina.cli.doctor import fit_lines, machine_lines, missing_lines

    assert all(len(line) <= 80 for line in fit_lines(machine))
    assert any("GFLOP/s" in line for line in machine_lines(machine))
    bad = replace(machine, embedded_base=False)
    assert "afina base install" in "\n".join(missing_lines(bad))
