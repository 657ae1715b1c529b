"""Training side by side: our loop against what people use today, on the same rows and settings.

Each comparison alternates the two tools, one process after the other, and takes the ratio of rows a
second of each pair; the spread is over the pairs. One line a comparison in
`benchmarks/results/training.jsonl`; what is there for these processor flags is not done again.

    python -m benchmarks.training [--only trl-default …] [--rows 96] [--pairs 3]

Also measured: floating-point operations of the linear layers a second over the machine's own rate of
matrix products at that precision, by the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.heads import RESULTS

PATH = RESULTS / "training.jsonl"
# (the other tool, precision, answers): what `precision: auto` becomes decides between bf16 and fp32.
COMPARISONS = [
    ("trl-default", "auto", "short"),
    ("trl-default", "fp32", "short"),
    ("trl-expert", "auto", "short"),
    ("trl-plain", "auto", "short"),
    ("peft-loop", "auto", "short"),
    ("trl-default", "auto", "long"),
]
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile")


def cpu_flags() -> list[str]:
    """Of the flags that matter here, those that this processor has."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return [platform.machine()]
    return [flag for flag in FLAGS if flag in words]


def one(tool: str, precision: str, answers: str, rows: int, seed: int) -> dict[str, Any]:
    """One training run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training_worker", tool, "--precision", precision]
    command += ["--answers", answers, "--rows", str(rows), "--seed", str(seed)]
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **quiet}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    line: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(line), file=sys.stderr, flush=True)
    return line


def compare(against: str, precision: str, answers: str, rows: int, pairs: int) -> dict[str, Any]:
    """One line of the results."""
    from afina.models.precision import choose_precision

    resolved = choose_precision(precision)
    ours, theirs = [], []
    for pair in range(pairs):
        first, second = ("afina", against) if pair % 2 == 0 else (against, "afina")
        for tool in (first, second):
            found = one(tool, resolved, answers, rows, 13 + pair)
            (ours if tool == "afina" else theirs).append(found)
    ratios = [
        mine["rows_per_second"] / other["rows_per_second"]
        for mine, other in zip(ours, theirs, strict=True)
    ]
    worse = [
        mine["held_out_loss"] - other["held_out_loss"] for mine, other in zip(ours, theirs, strict=True)
    ]
    return {
        "against": against,
        "precision": precision,
        "resolved": resolved,
        "answers": answers,
        "ratio": round(statistics.mean(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "pairs": pairs,
        "rows": rows,
        "rows_per_second": round(statistics.mean(line["rows_per_second"] for line in ours), 3),
        "tokens_per_second": round(statistics.mean(line["tokens_per_second"] for line in ours), 1),
        "their_tokens_per_second": round(
            statistics.mean(line["tokens_per_second"] for line in theirs), 1
        ),
        "peak_memory_ratio": round(
            statistics.mean(line["peak_memory_bytes"] for line in ours)
            / statistics.mean(line["peak_memory_bytes"] for line in theirs),
            2,
        ),
        "held_out_loss_difference": round(statistics.mean(worse), 4),
        "share_of_matmul_rate": round(statistics.mean(line["share_of_matmul_rate"] for line in ours), 3),
        "cpu_flags": cpu_flags(),
        "command": f"python -m benchmarks.training --only {against} --rows {rows} --pairs {pairs}",
        "date": date.today().isoformat(),
    }


def known_lines() -> list[dict[str, Any]]:
    """What was measured already."""
    if not PATH.exists():
        return []
    return [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Measures what is missing; `python -m benchmarks.figures` writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for against, precision, answers in COMPARISONS:
        name = (against, precision, answers, cpu_flags())
        known = [
            (line["against"], line["precision"], line["answers"], line["cpu_flags"])
            for line in known_lines()
        ]
        if name in known or (given.only and against not in given.only):
            continue
        line = compare(against, precision, answers, given.rows, given.pairs)
        with PATH.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
