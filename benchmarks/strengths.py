"""How strongly to penalise the head that training starts from: the frozen base alone, nothing trained.

Fits the head at several penalties on the built-in corpus and on SpamAssassin + Nazario, and tests each
on sources never seen, with TF-IDF beside it. One line a training set and penalty in
`benchmarks/results/strengths.jsonl`. The data is in ../shared/data, which a clone does not have.

    python -m benchmarks.strengths [--rows 160] [--max-length 384]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.heads import RESULTS, rows_by_source

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
TRAINED = {"builtin": ("builtin",), "spamassassin+nazario": ("spamassassin", "nazario")}
TESTED = {
    "spamassassin+phishing_pot": ("spamassassin", "phishing_pot"),
    "lingspam+nazario": ("lingspam", "nazario"),
    "lingspam+phishing_pot": ("lingspam", "phishing_pot"),
    "sms_english": ("sms_english_legitimate", "sms_english_phishing"),
    "email_mexico": ("email_mexico_legitimate", "email_mexico_phishing"),
}
Array = np.ndarray[Any, np.dtype[Any]]


def all_rows(each: int) -> dict[str, list[dict[str, str]]]:
    """A seeded part of every source; the whole of those that are trained on."""
    from afina.data.sources import BUILTIN

    found = rows_by_source()
    lines = BUILTIN["builtin:phishing"].read_text(encoding="utf-8").splitlines()
    found["builtin"] = [json.loads(line) for line in lines]
    for name, rows in found.items():
        rows.sort(key=lambda row: row["text"])
        random.Random(13).shuffle(rows)
        if not any(name in sources for sources in TRAINED.values()):
            found[name] = rows[:each]
    return found


def reader(max_length: int) -> Callable[[list[dict[str, str]]], Array]:
    """What turns rows into mean states of the frozen embedded base; [rows, hidden]."""
    from afina.data.chat import Encoded, encode_text
    from afina.inference.pooled import features_of
    from afina.models.base import find_base
    from afina.models.load import load_model
    from afina.models.precision import choose_precision
    from afina.models.tokenizer import load_tokens

    folder = find_base("embedded", None).folder
    tokens = load_tokens(folder)
    model = load_model(folder, choose_precision("auto"))

    def read(rows: list[dict[str, str]]) -> Array:
        ids = [encode_text(tokens, row["text"], max_length) for row in rows]
        print(f"reading {sum(map(len, ids)):,} tokens", file=sys.stderr, flush=True)
        return features_of(model, [Encoded(item, [False] * len(item)) for item in ids], tokens.pad, 2048)

    return read


def figures(truth: Array, positive: Array) -> dict[str, float]:
    """Macro-F1 at one half, AUC, false-positive rate."""
    from afina.metrics import labels

    said = (positive > 0.5).astype(int)
    return {
        "macro_f1": round(labels.macro_f1(truth, said, 2), 4),
        "auc": round(labels.auc(truth, positive, 1), 4),
        "false_positive_rate": round(labels.false_positive_rate(truth, said, 1), 4),
    }


def measure(each: int, max_length: int) -> list[dict[str, Any]]:
    """Every line of the results."""
    from afina.data.roles import Row
    from afina.evaluation.baseline import TfidfBaseline
    from afina.metrics.calibration import softmax
    from afina.training.probe import fit_head

    rows = all_rows(each)
    read = reader(max_length)
    states = {name: read(part) for name, part in rows.items()}
    truth = {
        name: np.array([int(row["label"] == "phishing") for row in part]) for name, part in rows.items()
    }
    lines = []
    for trained, sources in TRAINED.items():
        texts = [row for name in sources for row in rows[name]]
        random.Random(13).shuffle(texts)
        as_rows = [Row(text=row["text"], label=row["label"]) for row in texts]
        part = len(as_rows) // 10
        tfidf = TfidfBaseline(as_rows[part:], as_rows[:part], ["legitimate", "phishing"])
        features = np.concatenate([states[name] for name in sources])
        codes = np.concatenate([truth[name] for name in sources])
        models: dict[str, Any] = {"tfidf": None}
        models |= {f"head {one:g}": fit_head(features, codes, 2, one, 13) for one in STRENGTHS}
        for model, head in models.items():
            tested = {}
            for test, names in TESTED.items():
                if set(names) & set(sources):
                    continue
                if head is None:
                    asked = [row["text"] for name in names for row in rows[name][:each]]
                    said = tfidf.probabilities(asked)
                else:
                    said = softmax(head.logits(np.concatenate([states[name][:each] for name in names])))
                goal = np.concatenate([truth[name][:each] for name in names])
                tested[test] = figures(goal, said[:, 1])
            command = f"python -m benchmarks.strengths --rows {each} --max-length {max_length}"
            lines.append({"trained_on": trained, "model": model, "sets": tested, "command": command})
    return lines


def table(lines: list[dict[str, Any]]) -> str:
    """Macro-F1 as Markdown."""
    text = ["| trained on | model | " + " | ".join(TESTED) + " |", "|---|---|" + "---|" * len(TESTED)]
    for line in lines:
        found = {test: f"{values['macro_f1']:.3f}" for test, values in line["sets"].items()}
        cells = " | ".join(found.get(test, "") for test in TESTED)
        text.append(f"| {line['trained_on']} | {line['model']} | {cells} |")
    return "\n".join(text)


def main() -> None:
    """Measures, writes the results whole, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=160, help="rows of each source that is tested on")
    parser.add_argument("--max-length", type=int, default=384)
    given = parser.parse_args()
    lines = measure(given.rows, given.max_length)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "strengths.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    print(table(lines))


if __name__ == "__main__":
    main()
