"""What fewer bits cost and save on a finished run: `afina quantize` on it, one line of results a call.

The exports are made where they are missing, so the first call takes minutes; the runtimes then take
turns in the same minutes, since machines are shared: only the ratios mean anything. One line is appended
to `benchmarks/results/quantize.jsonl`.

    python -m benchmarks.quantize RUN [--bits 8] [--rounds 10] [--runs runs]
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
    folder = find_run(run, runs).path(f"exports/onnx-{bits}")
    started = time.perf_counter()
    edge = subprocess.run(
        [sys.executable, str(folder / "edge.py"), "Your account is locked: confirm your password now."],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    note = json.loads((folder / "agreement.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "date": date.today().isoformat(),
        "command": f"python -m benchmarks.quantize {run} --bits {bits} --rounds {rounds}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}: shared",
        "way": note["way"],
        "folder_bytes": size,
        "edge": {"answer": json.loads(edge.stdout), "seconds": round(time.perf_counter() - started, 1)},
        **{name: part for name, part in value.items() if name != "schema"},
    }


def main() -> None:
    """Measures once and appends the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    line = json.dumps(measure(given.run, given.runs, given.bits, given.rounds))
    with (RESULTS / "quantize.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
