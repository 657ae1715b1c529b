"""What fewer bits cost and save on a finished run: `afina quantize` on it, one line of results a call.

The exports are made where they are missing, so the first call takes minutes; the runtimes then take
turns in the same minutes, since machines are shared: only the ratios mean anything. One line is appended
to `benchmarks/results/quantize.jsonl`.

    python -m benchmarks.quantize RUN [--bits 8] [--rounds 10] [--runs runs]

With --ways the cost of every way of building is measured (`WAYS`), those above tolerance too; nothing is
kept or compared with the run's own model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def measure(run: str, runs: str, bits: int, rounds: int) -> dict[str, Any]:
    """Quantises, asks the edge example once, and returns the line."""
    import afina
    from afina.runs.folder import find_run

    value = afina.quantize(
        run, bits=bits, rounds=rounds, runs=runs, say=lambda text: print(text, file=sys.stderr)
    )
    kept = bits if value["passed"] else 32  # what is above tolerance is not kept
    folder = find_run(run, runs).path(f"exports/onnx-{kept}")
    started = time.perf_counter()
    edge = subprocess.run(
        [sys.executable, str(folder / "edge.py"), "Your account is locked: confirm your password now."],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "date": date.today().isoformat(),
        "command": f"python -m benchmarks.quantize {run} --bits {bits} --rounds {rounds}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}: shared",
        "edge": {
            "bits": kept,
            "folder_bytes": size,
            "answer": json.loads(edge.stdout),
            "seconds": round(time.perf_counter() - started, 1),
        },
        **{name: part for name, part in value.items() if name != "schema"},
    }


def measure_ways(run: str, runs: str, rounds: int, new_tokens: int) -> dict[str, Any]:
    """The cost of a token by every way of building, in the same rounds; the line."""
    import tempfile

    from afina.exports.cost import GenaiRuntime, TorchRuntime, bytes_per_token, ratio
    from afina.exports.cost import measure as measure_costs
    from afina.exports.merge import merged_model
    from afina.exports.onnx_model import WAYS, build
    from afina.exports.quantize import _prompt, _threads, _torch_model
    from afina.inference.engine import Engine
    from afina.models.full import save_model
    from afina.runs.files import read_json
    from afina.runs.folder import find_run

    engine = Engine(find_run(run, runs).path("release"))
    with tempfile.TemporaryDirectory() as place:
        plain = Path(place) / "plain"
        save_model(merged_model(engine.model, engine.settings.precision, 32), engine.tokens, plain)
        engine.model = None
        runtimes: dict[str, Any] = {"torch_fp32": TorchRuntime(_torch_model(plain))}
        for bits, ways in WAYS.items():
            for number, options in enumerate(ways, 1):
                folder = Path(place) / f"{bits}-{number}"
                folder.mkdir()
                build(plain, folder, bits, options)
                runtimes[f"onnx_{bits} {' '.join(options)}".strip()] = GenaiRuntime(folder, _threads())
        ids = _prompt(engine.tokens)
        costs = measure_costs(runtimes, ids, rounds, new_tokens, None)
        config = read_json(plain / "config.json")
    found = {}
    for name, one in runtimes.items():
        sizes = bytes_per_token(one.weight_bytes, config, len(ids), new_tokens, 4)
        found[name] = {
            kind: {
                "cpu_milliseconds": 1000 * sum(costs[name].cpu[kind]) / rounds,
                "bytes_read": sizes[kind],
                "cpu_by_onnx_32": ratio(costs[name].cpu[kind], costs["onnx_32"].cpu[kind], 1),
                "cpu_by_torch_fp32": ratio(costs[name].cpu[kind], costs["torch_fp32"].cpu[kind], 1),
            }
            for kind in ("generated", "prompt")
        }
    return {
        "date": date.today().isoformat(),
        "command": f"python -m benchmarks.quantize {run} --ways --rounds {rounds} --new {new_tokens}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}: shared",
        "threads": _threads(),
        "prompt_tokens": len(ids),
        "new_tokens": new_tokens,
        "ways": found,
    }


def main() -> None:
    """Measures once and appends the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--new", type=int, default=32)
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if given.ways:
        line = json.dumps(measure_ways(given.run, given.runs, given.rounds, given.new))
    else:
        line = json.dumps(measure(given.run, given.runs, given.bits, given.rounds))
    with (RESULTS / "quantize.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
