"""How many rows the data stage prepares in a second, and the most memory it holds.

Makes N synthetic rows in a temporary folder (about 40 words each, of a vocabulary with natural word
frequencies; 2 % are equal to an earlier row and 3 % nearly equal to one), then reads, deduplicates,
splits, counts and writes them with the embedded model's tokenizer. One line a run is appended to
`benchmarks/results/scale.jsonl`. The promise: a million rows in at most 2 GiB and 20 minutes on 2 cores.

    python -m benchmarks.scale [--rows 1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
EQUAL, NEAR = 0.02, 0.03


def write_rows(path: Path, count: int, seed: int = 13) -> None:
    """Rows as JSON lines, made in blocks so that this script needs little memory itself."""
    random = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(random.choice(letters, size)) for size in random.integers(2, 10, 50_000)])
    ranks = 1 / np.arange(10, 50_010)
    odds = ranks / ranks.sum()
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, count, 5000):
            size = min(5000, count - start)
            lengths = random.integers(10, 70, size)
            drawn = np.split(random.choice(words, lengths.sum(), p=odds), np.cumsum(lengths)[:-1])
            chance = random.random(size)
            for number, text in enumerate(drawn):
                if number and chance[number] < EQUAL:
                    text = drawn[number - 1]
                elif number and chance[number] < EQUAL + NEAR:
                    text = np.append(drawn[number - 1], "indeed")
                drawn[number] = text
                # Equal texts have equal labels: the label follows the text's first word.
                row = {"text": " ".join(text), "label": "ab"[len(text[0]) % 2], "group": start + number}
                file.write(json.dumps(row) + "\n")


def peak_rss_bytes() -> int:
    """The most memory this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(rows: int) -> dict[str, Any]:
    """Prepares that many rows and returns the line."""
    from afina.data.prepare import prepare
    from afina.models.base import find_base
    from afina.models.tokenizer import load_tokens
    from afina.recipe import Recipe

    tokens = load_tokens(find_base("embedded", None).folder)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        write_rows(source, rows)
        recipe = Recipe.model_validate({"name": "scale", "data": {"train": str(source)}})
        before, start = peak_rss_bytes(), time.perf_counter()
        audit = prepare(recipe, tokens, Path(folder) / "data", lambda text: print(text, file=sys.stderr))
        seconds = time.perf_counter() - start
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_rss_bytes_before": before,
        "equal_rows_removed": audit["equal_rows_removed"],
        "rows_in_near_duplicate_clusters": audit["near_duplicate"]["rows_in_them"],
        "kept": {name: part["rows"] for name, part in audit["splits"].items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "command": f"python -m benchmarks.scale --rows {rows}",
    }


def main() -> None:
    """Measures once and appends the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    line = json.dumps(measure(given.rows))
    with (RESULTS / "scale.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
