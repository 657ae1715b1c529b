"""Which head classifies best on sources never seen: pooled, tokens, or the probe alone.

Trains on real e-mail of two sources and tests on two others, over seeds. Each finished run is one line
of `benchmarks/results/heads.jsonl`; a run that is there is not done again, so that the grid can be
stopped and gone on with. The data is in ../shared/data, which a clone does not have.

    python -m benchmarks.heads [--seeds 13 14 15] [--rows 240] [--table]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "shared" / "data" / "phishing"
RESULTS = Path(__file__).parent / "results"
PAIRS = {
    "spamassassin+nazario to lingspam+phishing_pot": (
        ("spamassassin", "nazario"),
        ("lingspam", "phishing_pot"),
    ),
    "spamassassin+phishing_pot to lingspam+nazario": (
        ("spamassassin", "phishing_pot"),
        ("lingspam", "nazario"),
    ),
}
METRICS = ("macro_f1", "auc", "false_positive_rate")


def rows_by_source() -> dict[str, list[dict[str, str]]]:
    """Legitimate mail of SpamAssassin and Ling-Spam, phishing of Nazario and phishing_pot; and, each
    class by itself, English SMS and Mexican e-mail."""
    found: dict[str, list[dict[str, str]]] = {"nazario": []}
    for line in (DATA / "email_phishing.jsonl").read_text(encoding="utf-8").splitlines():
        found["nazario"].append({"text": json.loads(line)["text"], "label": "phishing"})
    for line in (DATA / "email_two_class.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["label"] in ("legitimate", "phishing"):
            found.setdefault(row["source"], []).append({"text": row["text"], "label": row["label"]})
    for name, path in (
        ("sms_english", DATA / "sms_en.jsonl"),
        ("email_mexico", DATA.parent / "phishing_es" / "email_es.jsonl"),
    ):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["label"] in ("legitimate", "phishing"):
                found.setdefault(f"{name}_{row['label']}", []).append(
                    {"text": row["text"], "label": row["label"]}
                )
    return found


def write_rows(path: Path, sources: tuple[str, ...], each: int | None, seed: int) -> None:
    """Rows of these sources, a seeded part of each when `each` says how many."""
    found = rows_by_source()
    with path.open("w", encoding="utf-8") as file:
        for source in sources:
            rows = sorted(found[source], key=lambda row: row["text"])
            random.Random(seed).shuffle(rows)
            for row in rows[:each]:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def one_run(pair: str, head: str, seed: int, rows: int, test_rows: int, folder: Path) -> dict[str, Any]:
    """Trains and measures one cell of the grid."""
    import afina

    train_on, test_on = PAIRS[pair]
    write_rows(folder / "train.jsonl", train_on, None, seed)
    write_rows(folder / "unseen.jsonl", test_on, test_rows // 2, 13)
    recipe = {
        "name": f"heads-{head}-{seed}",
        "seed": seed,
        "task": {
            "kind": "classify",
            "labels": ["legitimate", "phishing"],
            "positive": "phishing",
            "head": head,
        },
        "data": {
            "train": str(folder / "train.jsonl"),
            "test": [{"name": "unseen", "source": str(folder / "unseen.jsonl")}],
            "split": {"train": 0.85, "validation": 0.12, "test": 0.03},
            "max_length": 128 if head == "pooled" else 192,  # the question takes 60 tokens
            "limit": rows,
        },
        "train": {"epochs": 2, "learning_rate": 5e-4}
        if head == "tokens"
        else {"epochs": 2, "learning_rate": 1e-3, "head_strength": 0.001},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    result = afina.run(
        path, runs=str(folder / "runs"), say=lambda text: print(text, file=sys.stderr, flush=True)
    )
    values = {
        model: {metric: round(result.value(metric, model, "unseen"), 4) for metric in METRICS}
        for model in result.evaluation["ranking"]["unseen"]
    }
    return {
        "pair": pair,
        "head": head,
        "seed": seed,
        "train_rows": result.training["rows"],
        "test_rows": result.evaluation["sets"]["unseen"]["rows"],
        "best_step": result.training["best_step"],
        "precision": result.training["steps"]
        and json.loads((result.folder / "run.json").read_text())["resolved"]["train.precision"],
        "unseen": values,
        "command": f"python -m benchmarks.heads --seeds {seed} --rows {rows} --test-rows {test_rows}",
    }


def known_lines() -> list[dict[str, Any]]:
    """What was measured already."""
    path = RESULTS / "heads.jsonl"
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )


def table() -> str:
    """Mean over seeds, with the lowest and highest, as Markdown."""
    cells: dict[tuple[str, str], list[dict[str, float]]] = {}
    for line in known_lines():
        for model, values in line["unseen"].items():
            name = (
                f"LoRA, {line['head']} head"
                if model == "tuned"
                else {"probe": "probe alone", "tfidf": "TF-IDF", "base": "base, zero-shot"}[model]
            )
            cells.setdefault((line["pair"], name), []).append(values)
    lines = [
        "| trained on, tested on | model | runs | macro-F1 | AUC | false-positive rate |",
        "|---|---|---|---|---|---|",
    ]
    for (pair, name), values in sorted(
        cells.items(), key=lambda item: (item[0][0], -statistics.mean(v["macro_f1"] for v in item[1]))
    ):
        shown = [mean_and_range([value[metric] for value in values]) for metric in METRICS]
        lines.append(f"| {pair} | {name} | {len(values)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def mean_and_range(values: list[float]) -> str:
    """`0.912 (0.900-0.921)`"""
    return f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def main() -> None:
    """Runs what is missing of the grid, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[13, 14, 15])
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--test-rows", type=int, default=160)
    parser.add_argument("--table", action="store_true", help="only print the table of what was measured")
    given = parser.parse_args()
    if not given.table:
        RESULTS.mkdir(exist_ok=True)
        done = {(line["pair"], line["head"], line["seed"]) for line in known_lines()}
        for seed in given.seeds:
            for pair in PAIRS:
                for head in ("pooled", "tokens"):
                    if (pair, head, seed) not in done:
                        with tempfile.TemporaryDirectory() as folder:
                            line = one_run(pair, head, seed, given.rows, given.test_rows, Path(folder))
                        with (RESULTS / "heads.jsonl").open("a", encoding="utf-8") as file:
                            file.write(json.dumps(line) + "\n")
                        print(json.dumps(line), flush=True)
    print(table())


if __name__ == "__main__":
    main()
