"""`afina quantize`: a release at fewer bits: what it costs, what it says, both beside full precision."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.exports.cost import (
    NEW_TOKENS,
    PROMPT_TOKENS,
    ROUNDS,
    Costs,
    GenaiRuntime,
    Runtime,
    TorchRuntime,
    bytes_per_token,
    measure,
    ratio,
    verdict,
)
from afina.exports.energy import MEASURED, Meter, find_meter
from afina.exports.manifest import write_export_manifest
from afina.exports.onnx import make_onnx, merge_into, release_sha256
from afina.exports.onnx_model import require_onnx
from afina.exports.own import Own, ask_own
from afina.exports.prompt_fixtures import TEXTS
from afina.inference.engine import Engine
from afina.language import _
from afina.models.load import device, leave_fast_way, load_model
from afina.models.tokenizer import Tokens
from afina.runs.files import atomic_folder, read_json, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal

QUANTIZE_SCHEMA = "afina/quantize/1"
BITS = (8, 4)
_KINDS = ("generated", "prompt")
_OF_AGREEMENT = (
    *("prompts", "enough_prompts", "top1", "perplexity", "task", "labels", "reference"),
    *("way", "faults", "passed"),
)


def quantize(
    run: Run,
    bits: int,
    say: Callable[[str], None],
    rounds: int = ROUNDS,
    estimate: bool = False,
    new_tokens: int = NEW_TOKENS,
    idle_seconds: float | None = None,
) -> dict[str, Any]:
    """Makes the ONNX export at these bits and at full precision, and measures both, and PyTorch.

    Args:
        bits: 8 or 4. rounds: of the comparison, at least 10. estimate: also make joules out of the
            processor's data sheet where no counter is to be had. new_tokens: written in each round.
        idle_seconds: how long the machine is watched at rest, where there is a counter.
    Returns:
        The value of quantize.json in the run. An export that differs from the run's own model by more
        than its bits allow is measured and not kept: `passed` is false, `answers` says why.
    Raises:
        AfinaError: for other bits, too few rounds, a run without a model.
        MissingExtra: without the packages of the extra `onnx`, or of `energy` for an estimate.
    """
    _require(run, bits, rounds)
    meter = find_meter("cpu", estimate, idle_seconds)  # what is missing for it is said before the work
    seed = run.recipe().seed
    with tempfile.TemporaryDirectory(prefix="afina-quantize-") as place:
        plain, tokens, folders, agreements = _exports(run, bits, Path(place), say)
        ids = _prompt(tokens)
        config = read_json(plain / "config.json")
        threads = _threads()
        say(_("measuring {rounds} rounds, each runtime in each").format(rounds=rounds))
        runtimes: dict[str, Runtime] = {
            f"onnx_{bits}": GenaiRuntime(folders[bits], threads),
            "onnx_32": GenaiRuntime(folders[32], threads),
            "torch_fp32": TorchRuntime(_torch_model(plain)),
        }
        with StopSignal() as stop:
            costs = measure(runtimes, ids, rounds, new_tokens, meter, stop.check)
    value: dict[str, Any] = {
        "schema": QUANTIZE_SCHEMA,
        "run": run.title,
        "bits": bits,
        "release": release_sha256(run.path("release")),
        "rounds": rounds,
        "prompt_tokens": len(ids),
        "new_tokens": new_tokens,
        "threads": threads,
        "energy": meter.as_json() if meter else {"method": None, "note": _no_meter()},
        "runtimes": {
            name: _of_runtime(
                costs[name],
                bytes_per_token(one.weight_bytes, config, len(ids), new_tokens, 4),
            )
            for name, one in runtimes.items()
        },
        "ratios": {
            f"onnx_{bits}_by_{name}": _ratios(costs[f"onnx_{bits}"], costs[name], seed, meter)
            for name in ("onnx_32", "torch_fp32")
        },
        "answers": agreements,
        "passed": all(found["passed"] for found in agreements.values()),
    }
    value["gpu"] = _gpu(run, ids, rounds, new_tokens, seed, say, idle_seconds)
    value["verdicts"] = _verdicts(value, bits, meter)
    write_json(run.path("quantize.json"), value)
    run.publish()
    return value


def _require(run: Run, bits: int, rounds: int) -> None:
    """Refuses what would fail, or say nothing, before the work. Raises as `quantize` does."""
    if bits not in BITS:
        raise AfinaError(
            _("a release is quantised to 8 or 4 bits, not to {bits}").format(bits=bits),
            fix=_("use --bits 8"),
        )
    if rounds < ROUNDS:
        raise AfinaError(
            _("{rounds} rounds show no spread").format(rounds=rounds),
            fix=_("use at least {least}").format(least=ROUNDS),
        )
    require_onnx()
    if not run.path("release/inference.json").exists():
        raise AfinaError(
            _("this run has no trained model yet"),
            where=str(run.path("release")),
            fix=_("finish it with `afina run`"),
        )


def _exports(
    run: Run, bits: int, place: Path, say: Callable[[str], None]
) -> tuple[Path, Tokens, dict[int, Path], dict[str, Any]]:
    """The plain model; both exports, made where they are not there yet; what the checks found.

    An export above tolerance is not kept: it stays in `place` while it is measured.
    """
    release = release_sha256(run.path("release"))
    own: Own | None = None
    if all(_is_current(run, width, release) for width in (32, bits)):
        say(_("the exports of this release are there already"))
        engine = Engine(run.path("release"), say)
    else:
        own = ask_own(run, say)
        engine = own.engine
    tokens = engine.tokens
    plain = merge_into(engine, place / "plain", say)
    folders, found = {}, {}
    for width in (32, bits):
        kept = run.path(f"exports/onnx-{width}")
        folders[width] = kept
        if own is not None and not _is_current(run, width, release):
            made = place / f"onnx-{width}"
            made.mkdir()
            if make_onnx(run, own, plain, made, width, say)["passed"]:
                with atomic_folder(kept) as temporary:
                    shutil.copytree(made, temporary, dirs_exist_ok=True)
                    write_export_manifest(run, temporary, "onnx", width)
                shutil.rmtree(made)
            else:
                folders[width] = made
        value = read_json(folders[width] / "agreement.json")
        found[str(width)] = {name: value[name] for name in _OF_AGREEMENT}
    return plain, tokens, folders, found


def _is_current(run: Run, bits: int, release: str) -> bool:
    path = run.path(f"exports/onnx-{bits}/agreement.json")
    return path.exists() and read_json(path).get("release") == release


def _torch_model(plain: Path) -> Any:
    model = load_model(plain, "fp32").to("cpu")
    leave_fast_way(model)
    return model


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _prompt(tokens: Tokens) -> list[int]:
    """A prompt of made-up text, the same in every runtime."""
    ids = tokens.encode(" ".join(TEXTS[:5]))
    while len(ids) < PROMPT_TOKENS:
        ids = [*ids, *ids]
    return ids[:PROMPT_TOKENS]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _of_runtime(costs: Costs, sizes: dict[str, float]) -> dict[str, Any]:
    return {
        kind: {
            "cpu_seconds": _mean(costs.cpu[kind]),
            "wall_seconds": _mean(costs.wall[kind]),
            "joules": _mean(costs.joules[kind]),
            "bytes_read": sizes[kind],
        }
        for kind in _KINDS
    }


def _ratios(ours: Costs, theirs: Costs, seed: int, meter: Meter | None) -> dict[str, Any]:
    return {
        kind: {
            "cpu_seconds": ratio(ours.cpu[kind], theirs.cpu[kind], seed),
            "wall_seconds": ratio(ours.wall[kind], theirs.wall[kind], seed),
            "joules": ratio(ours.joules[kind], theirs.joules[kind], seed) if meter else None,
        }
        for kind in _KINDS
    }


def _no_meter() -> str:
    return _(
        "this machine has no energy counter that may be read, so there are no joules: CPU-seconds and "
        "bytes stand for them (--estimate makes joules out of the processor's data sheet)"
    )


def _verdicts(value: dict[str, Any], bits: int, meter: Meter | None) -> list[str]:
    """One sentence for each kind of token and each comparison."""
    lines = [
        _("REFUSED at {bits} bits, and not kept: {faults}").format(
            bits=width, faults="; ".join(found["faults"])
        )
        for width, found in value["answers"].items()
        if not found["passed"]
    ]
    measured = meter is not None and meter.method == MEASURED
    cost = "joules" if measured else "cpu_seconds"
    what = _("energy (measured)") if measured else _("CPU time")
    names = {
        "onnx_32": _("full precision in the same runtime"),
        "torch_fp32": _("full precision in PyTorch"),
    }
    for name, words in names.items():
        found = value["ratios"][f"onnx_{bits}_by_{name}"]
        lines += [verdict(kind, found[kind][cost], what, words) for kind in _KINDS]
    gpu = value["gpu"]
    if gpu["measured"] and gpu["joules"]:
        lines += [
            verdict(kind, gpu["joules"][kind], _("energy (measured)"), _("bf16 on the GPU"))
            for kind in _KINDS
        ]
    return lines


def _gpu(
    run: Run,
    ids: list[int],
    rounds: int,
    new_tokens: int,
    seed: int,
    say: Callable[[str], None],
    idle_seconds: float | None,
) -> dict[str, Any]:
    """LLM.int8 (Dettmers et al. 2022, by bitsandbytes) beside the same release unquantised, on a GPU."""
    from importlib.util import find_spec

    if device() != "cuda":
        return {
            "measured": False,
            "why": _("there is no GPU here: the path of bitsandbytes was not measured"),
        }
    if find_spec("bitsandbytes") is None:
        return {
            "measured": False,
            "why": _("bitsandbytes is not installed: pip install 'afina[quantize]'"),
        }
    gc.collect()
    say(_("measuring 8 bits by bitsandbytes on the GPU"))
    runtimes: dict[str, Runtime] = {}
    for name, width in (("bnb_8", 8), ("torch_16", 16)):
        model = Engine(run.path("release"), say, bits=width).model
        if width == 16:
            leave_fast_way(model)
        runtimes[name] = TorchRuntime(model)
    meter = find_meter("cuda", False, idle_seconds)
    with StopSignal() as stop:
        costs = measure(runtimes, ids, rounds, new_tokens, meter, stop.check)
    ours, theirs = costs["bnb_8"], costs["torch_16"]
    return {
        "measured": True,
        "energy": meter.as_json() if meter else None,
        "wall_seconds": {kind: ratio(ours.wall[kind], theirs.wall[kind], seed) for kind in _KINDS},
        "joules": {kind: ratio(ours.joules[kind], theirs.joules[kind], seed) for kind in _KINDS}
        if meter
        else None,
    }
