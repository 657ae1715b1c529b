"""`afina doctor`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from afina.cli.common import (
    JsonOption,
    LangOption,
    RunsOption,
    bytes_for_people,
    check_language,
    print_json,
)
from afina.language import _

if TYPE_CHECKING:
    from afina.machine import Machine


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help=_("Look at this machine: what it has, how fast it is, which models fit, what is missing."),
        epilog=_("Example: afina doctor --runs /data/runs"),
    )(doctor)


def doctor(runs: RunsOption = "runs", json: JsonOption = False, lang: LangOption = None) -> None:
    """Look at this machine: what it has, how fast it is, which models fit, what is missing."""
    from afina.machine import examine

    check_language(lang)
    machine = examine(runs)
    if json:
        print_json(machine.as_json())
        return
    for line in [*machine_lines(machine), "", *fit_lines(machine), "", *missing_lines(machine)]:
        print(line)


def machine_lines(machine: Machine) -> list[str]:
    """Python, processor, memory, GPUs, speed and disks."""
    cpu, memory, speed = machine.processor, machine.memory, machine.speed
    lines = [
        _("Python {python} on {system}").format(python=machine.python, system=machine.system),
        _(
            "processor: {architecture}, {physical} cores ({logical} logical, {usable} usable), "
            "torch takes {threads}"
        ).format(
            architecture=cpu.architecture,
            physical=cpu.physical_cores,
            logical=cpu.logical_cores,
            usable=cpu.usable_cores,
            threads=cpu.torch_threads,
        ),
        _("instructions: {flags}").format(
            flags=", ".join(cpu.flags) or _("none of those that make this faster")
        ),
        _("memory: {free} free of {total}").format(
            free=bytes_for_people(memory.available_bytes), total=bytes_for_people(memory.total_bytes)
        )
        + (_(" (a container's limit)") if memory.limited else ""),
    ]
    for gpu in machine.gpus:
        lines.append(
            _("GPU: {name}, {free} free of {total}, bf16: {bf16}").format(
                name=gpu.name,
                free=bytes_for_people(gpu.free_bytes),
                total=bytes_for_people(gpu.total_bytes),
                bf16=_("yes") if gpu.bf16 else _("no"),
            )
        )
    if not machine.gpus:
        lines.append(_("GPU: none that torch can use; training runs on the processor"))
    lines.append(
        _("speed: fp32 {fp32:.0f} GFLOP/s, bf16 {bf16:.0f} GFLOP/s (measured now)").format(
            fp32=speed.fp32_gflops, bf16=speed.bf16_gflops
        )
    )
    lines.append(_("precision: auto becomes {chosen}: {why}").format(chosen=speed.chosen, why=speed.why))
    for disk in machine.disks:
        free = _("somewhere else") if disk.free_bytes is None else bytes_for_people(disk.free_bytes)
        where = (
            _("runs in {path}: {free} free")
            if disk.what == "runs"
            else _("cache in {path}: {free} free")
        )
        lines.append(where.format(path=disk.path, free=free))
    lines.append(
        _("embedded base: installed") if machine.embedded_base else _("embedded base: not installed")
    )
    return lines


def fit_lines(machine: Machine) -> list[str]:
    """A table: which model trains at which width, with the memory it needs."""
    widths = sorted({fit.bits for fit in machine.fits}, reverse=True)
    heads = [_("not quantised") if bits == 16 else _("{bits} bits").format(bits=bits) for bits in widths]
    lines = [
        _("what fits, for training with the default settings:"),
        f"  {'':26}" + "".join(f"{head:>17}" for head in heads),
    ]
    for model in dict.fromkeys(fit.model for fit in machine.fits):
        cells = []
        for bits in widths:
            fit = next(one for one in machine.fits if (one.model, one.bits) == (model, bits))
            verdict = _("no") if not fit.fits else _("yes") + ("*" if fit.recomputed else "")
            cells.append(f"{bytes_for_people(fit.needed_bytes)} {verdict:4}")
        lines.append(f"  {model:26}" + "".join(f"{cell:>17}" for cell in cells).rstrip())
    if any(fit.fits and fit.recomputed for fit in machine.fits):
        lines.append(_("  * with activations computed again: less memory, more time (chosen by itself)"))
    return lines


def missing_lines(machine: Machine) -> list[str]:
    """Optional parts that are not installed, then what stands in the way."""
    lines = []
    for extra in machine.extras:
        if not extra.installed:
            lines.append(_("optional, not installed: {purpose}").format(purpose=extra.purpose))
            lines.append(f"    {extra.command}")
    problems = machine.problems()
    if not problems:
        return [*lines, _("no problems found; next: afina recipe new YOUR-DATA")]
    lines.append(_("problems:"))
    for what, fix in problems:
        lines.append(_("  {what}").format(what=what))
        lines.append(_("    what to do: {fix}").format(fix=fix))
    return lines
