"""Trained on one place, tested on mail that nobody here wrote, of sources never seen.

Two recipes: the built-in corpus alone, and SpamAssassin + Nazario. Each is tested on sources that were
not trained on, with the TF-IDF baseline beside it. One line a recipe in
`benchmarks/results/unseen.jsonl`; what is there is not done again. The data is
in ../shared/data, which a clone does not have.

    python -m benchmarks.unseen [--only builtin|spamassassin+nazario] [--test-rows 200] [--limit N]
        [--max-length N]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.heads import METRICS, RESULTS, write_rows

RECIPES = Path(__file__).parents[1] / "recipes"
FOLDER = Path("runs") / "benchmarks" / "unseen"
TESTS = {
    "builtin": {
        "spamassassin_pot": ("spamassassin", "phishing_pot"),
        "lingspam_nazario": ("lingspam", "nazario"),
        "sms_english": ("sms_english_legitimate", "sms_english_phishing"),
        "email_mexico": ("email_mexico_legitimate", "email_mexico_phishing"),
    },
    "spamassassin+nazario": {
        "lingspam_pot": ("lingspam", "phishing_pot"),
        "sms_english": ("sms_english_legitimate", "sms_english_phishing"),
    },
}


def measure(name: str, test_rows: int, limit: int | None, max_length: int | None) -> dict[str, Any]:
    """Runs one recipe to the end, or goes on with it, and returns its line."""
    import afina

    FOLDER.mkdir(parents=True, exist_ok=True)
    sets = []
    for test, sources in TESTS[name].items():
        write_rows(FOLDER / f"{test}.jsonl", sources, test_rows // 2, 13)
        sets.append({"name": test, "source": str(FOLDER / f"{test}.jsonl")})
    changes = [f"data.test={json.dumps(sets)}", "gate=[]", f"name=unseen-{name.replace('+', '-')}"]
    if name != "builtin":
        write_rows(FOLDER / "train.jsonl", ("spamassassin", "nazario"), None, 13)
        changes += [f"data.train={FOLDER / 'train.jsonl'}", "data.split.group_by=null"]
    if limit:
        changes.append(f"data.limit={limit}")
    if max_length:
        changes.append(f"data.max_length={max_length}")
    result = afina.run(
        RECIPES / "phishing.yaml",
        runs=str(FOLDER / "runs"),
        overrides=changes,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    return {
        "trained_on": name,
        "train_rows": result.training["rows"],
        "best_step": result.training["best_step"],
        "steps": result.training["steps"],
        "seconds_training": result.training["seconds"],
        "adapter_weight": result.training["adapter_weight"],
        "resolved": json.loads((result.folder / "run.json").read_text(encoding="utf-8"))["resolved"],
        "sets": {
            test: {
                "rows": size["rows"],
                "models": {
                    model: {
                        metric: round(result.value(metric, model, test), 4)
                        for metric in (*METRICS, "accuracy")
                    }
                    for model in result.evaluation["ranking"][test]
                },
            }
            for test, size in result.evaluation["sets"].items()
        },
        "command": f"python -m benchmarks.unseen --only {name} --test-rows {test_rows}"
        + (f" --limit {limit}" if limit else "")
        + (f" --max-length {max_length}" if max_length else ""),
    }


def main() -> None:
    """Measures what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(TESTS))
    parser.add_argument("--test-rows", type=int, default=200)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--max-length", type=int, default=None)
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "unseen.jsonl"
    done = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )
    for name in [given.only] if given.only else list(TESTS):
        if not any(line["trained_on"] == name for line in done):
            line = measure(name, given.test_rows, given.limit, given.max_length)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line, indent=1), flush=True)


if __name__ == "__main__":
    main()
