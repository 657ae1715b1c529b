"""Is the estimate right? `afina recipe estimate` against what is measured, over eight configurations.

Estimate and run are processes of their own, one after the other, on the embedded base; early stopping is
off, so that both speak of the same steps. None of these configurations was used to build the estimate:
it has no constant that was fitted to anything. Each is a line of `benchmarks/results/estimate.jsonl`;
a line that is there is not made again, so that the grid can be stopped and gone on with. Nothing else
should work on the machine.

    python -m benchmarks.estimate [--only NAME …] [--again] [--table]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "estimate.jsonl"
GOAL = 0.15

# What is different: head, kind of task, row lengths, rows a step, rank, targets, precision, dropout.
CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "phishing pooled": ("data.limit=300", "train.epochs=1"),
    "phishing tokens": ("data.limit=200", "train.epochs=1", "task.head=tokens"),
    "phishing fp32": ("data.limit=150", "train.epochs=1", "train.precision=fp32"),
    "short rows, many a step": (
        "ROWS=short",
        "train.epochs=2",
        "train.batch_rows=32",
        "adapter.rank=8",
    ),
    "long rows, small micro-batches": (
        "ROWS=long",
        "train.epochs=1",
        "train.batch_rows=4",
        "train.micro_batch_tokens=1024",
        "data.max_length=1024",
    ),
    "log-normal rows, two layers": (
        "ROWS=mixed",
        "train.epochs=2",
        "adapter.targets=[q_proj, v_proj]",
        "adapter.dropout=0",
    ),
    "answers": ("ROWS=answers", "train.epochs=1", "task.kind=generate", "train.batch_rows=8"),
    "documents, activations again": (
        "ROWS=documents",
        "train.epochs=1",
        "task.kind=text",
        "train.checkpoint_activations=true",
        "train.samples=1",
        "data.max_length=512",
    ),
}
WORDS = (
    *("account", "bank", "today", "order", "invoice", "meeting", "river", "stone", "garden", "letter"),
    *("price", "update", "delivery", "window", "please", "confirm", "the", "of", "and", "to", "in"),
    *("is", "for", "with", "your", "our", "that", "this", "from", "have", "been", "will", "not", "we"),
)


def text_of(random_: random.Random, words: int) -> str:
    """Words at random: the time of a row depends on its length, not on what it says."""
    return " ".join(random_.choice(WORDS) for _word in range(max(3, words)))


def rows_of(kind: str) -> list[dict[str, Any]]:
    """Invented rows of a kind, always the same."""
    random_ = random.Random(kind)
    if kind == "answers":
        return [
            {"prompt": text_of(random_, random_.randint(5, 60)), "response": text_of(random_, 60)}
            for _row in range(160)
        ]
    if kind == "documents":
        return [{"text": text_of(random_, random_.randint(50, 700))} for _row in range(80)]
    words = {
        "short": lambda: random_.randint(5, 25),
        "long": lambda: random_.randint(300, 800),
        "mixed": lambda: min(400, round(random_.lognormvariate(4.2, 0.8))),
    }[kind]
    count = {"short": 800, "long": 60, "mixed": 250}[kind]
    return [{"text": text_of(random_, words()), "label": "ab"[row % 2]} for row in range(count)]


def write_recipe(folder: Path, name: str) -> tuple[Path, list[str]]:
    """The recipe of a configuration, and its overrides."""
    given = CONFIGURATIONS[name]
    kind = next((one.partition("=")[2] for one in given if one.startswith("ROWS=")), None)
    source = "builtin:phishing"
    if kind is not None:
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in rows_of(kind)), encoding="utf-8")
        source = str(rows)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"name: bench\ndata: {{train: '{source}', near_duplicate: null}}\n", encoding="utf-8"
    )
    overrides = ["train.patience=null", *(one for one in given if not one.startswith("ROWS="))]
    return recipe, [word for one in overrides for word in ("--set", one)]


def afina(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output of the program in a process of its own."""
    command = [sys.executable, "-m", "afina", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def measure(name: str) -> dict[str, Any]:
    """One configuration: the estimate, then the run; seconds by stage and the peak memory of both."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recipe, overrides = write_recipe(folder, name)
        code, said = afina("recipe", "estimate", str(recipe), "--json", *overrides)
        if code:
            raise SystemExit(f"{name}: the estimate ended with code {code}: {said}")
        estimate = json.loads(said)
        runs = folder / "runs"
        code, said = afina("run", str(recipe), "--runs", str(runs), "--json", *overrides)
        if code not in (0, 1):
            raise SystemExit(f"{name}: the run ended with code {code}: {said}")
        run = runs / "bench" / "1"
        seconds = {
            stage: json.loads((run / "stages" / f"{stage}.json").read_text())["seconds"]
            for stage in ("data", "train", "evaluate")
        }
        memory = json.loads((run / "train.json").read_text())["peak_memory_bytes"]
    return {
        "configuration": name,
        "settings": list(CONFIGURATIONS[name]),
        "precision": estimate["precision"],
        "steps": estimate["steps"],
        "estimated": estimate["stages"],
        "measured": seconds,
        "parts": estimate["parts"],
        "ratio_train": round(estimate["stages"]["train"] / seconds["train"], 4),
        "ratio": round(sum(estimate["stages"].values()) / sum(seconds.values()), 4),
        "ratio_memory": round(estimate["memory_bytes"] / memory, 4),
        "estimated_memory_bytes": estimate["memory_bytes"],
        "measured_memory_bytes": memory,
        "rehearsal_seconds": round(estimate["rehearsal_seconds"], 1),
        "command": f"python -m benchmarks.estimate --only '{name}'",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def known() -> dict[str, dict[str, Any]]:
    """The newest line of each configuration."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return {line["configuration"]: line for line in map(json.loads, lines)}


def table() -> None:
    """What was found, one line a configuration, and how many are within the goal."""
    found = known()
    print(f"{'configuration':32} {'estimated':>10} {'measured':>10} {'time':>6} {'memory':>7}")
    for name, line in found.items():
        estimated, measured = sum(line["estimated"].values()), sum(line["measured"].values())
        print(
            f"{name:32} {estimated:>8.0f} s {measured:>8.0f} s {line['ratio'] - 1:>+6.0%} "
            f"{line['ratio_memory'] - 1:>+7.0%}"
        )
    for what in ("ratio", "ratio_train", "ratio_memory"):
        within = sum(abs(line[what] - 1) <= GOAL for line in found.values())
        print(f"{what}: {within} of {len(found)} within {GOAL:.0%}")


def main() -> None:
    """Measures what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(CONFIGURATIONS), default=list(CONFIGURATIONS))
    parser.add_argument("--again", action="store_true", help="also those that are there")
    parser.add_argument("--table", action="store_true", help="only show what is there")
    given = parser.parse_args()
    for name in [] if given.table else given.only:
        if given.again or name not in known():
            line = measure(name)
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    table()


if __name__ == "__main__":
    main()
