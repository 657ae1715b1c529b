"""What helps on sources never seen: balance, augmentation, thresholds from left-out sources, the blend.

Frozen probe and TF-IDF alone, by the real data stage and fits; no adapter is trained. Rows are cut at
128 tokens, the base is bf16. Each cell is one line of `benchmarks/results/left_out.jsonl`; what is there
is not done again. The data is in ../shared/data, which a clone does not have.

    OMP_NUM_THREADS=1 python -m benchmarks.left_out [--seeds 13 14 15] [--rows 100]
        [--variants plain balance augment balance+augment] [--table]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.heads import RESULTS, mean_and_range, rows_by_source

FOLDER = Path("runs") / "benchmarks" / "left_out"
MAIL = ("spamassassin", "nazario", "lingspam", "phishing_pot")
# What is trained on, what is tested on, and the column whose values choose the threshold.
CELLS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str | None]] = {
    "spamassassin+nazario to lingspam+phishing_pot": (MAIL[:2], MAIL[2:], None),
    "spamassassin+phishing_pot to lingspam+nazario": ((MAIL[0], MAIL[3]), (MAIL[2], MAIL[1]), None),
    "lingspam+phishing_pot to spamassassin+nazario": (MAIL[2:], MAIL[:2], None),
    "builtin to lingspam+phishing_pot": (("builtin",), MAIL[2:], "channel"),
    "builtin to spamassassin+nazario": (("builtin",), MAIL[:2], "channel"),
    "builtin+spamassassin+nazario to lingspam+phishing_pot": (
        ("builtin", *MAIL[:2]),
        MAIL[2:],
        "source",
    ),
    "builtin+lingspam+phishing_pot to spamassassin+nazario": (
        ("builtin", *MAIL[2:]),
        MAIL[:2],
        "source",
    ),
    "spamassassin+nazario+sms to lingspam+phishing_pot": (
        (*MAIL[:2], "sms_english_legitimate", "sms_english_phishing"),
        MAIL[2:],
        "source",
    ),
}
SOME = 0.3
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "balance": {"balance": "source"},
    "augment": {
        "augment": dict.fromkeys(("casing", "typos", "headers", "addresses", "truncation"), SOME)
    },
}
VARIANTS["balance+augment"] = {**VARIANTS["balance"], **VARIANTS["augment"]}
METRICS = ("macro_f1", "auc", "false_positive_rate", "recall")
LABELS = ["legitimate", "phishing"]


def rows_of(source: str, most: int) -> list[dict[str, str]]:
    """At most so many rows of a source, a seeded part; each label as often where it has both."""
    if source == "builtin":
        from afina.data.sources import read_source

        found = [dict(row) for _where, row in read_source("builtin:phishing")]
    else:
        found = [{**row, "family": ""} for row in rows_by_source()[source]]
    found.sort(key=lambda row: row["text"])
    random.Random(13).shuffle(found)
    labels = sorted({row["label"] for row in found})
    chosen = [
        row
        for label in labels
        for row in [r for r in found if r["label"] == label][: most // len(labels)]
    ]
    return [
        {
            "text": row["text"],
            "label": row["label"],
            "source": source,
            "channel": row.get("channel", source),
            "family": row["family"] or f"{source} {number}",
        }
        for number, row in enumerate(chosen)
    ]


class States:
    """Mean states of texts on the frozen base, kept by the text's hash."""

    def __init__(self) -> None:
        self._path = FOLDER / "states.npz"
        self._known: dict[str, Any] = dict(np.load(self._path)) if self._path.exists() else {}
        self._model: Any = None

    def of(self, texts: list[str], tokens: Any, base: Any) -> Any:
        """States; [texts, hidden]."""
        from afina.data.chat import Encoded, encode_text
        from afina.inference.pooled import features_of
        from afina.models.load import load_model

        names = [hashlib.sha256(text.encode()).hexdigest()[:24] for text in texts]
        new = {name: text for name, text in zip(names, texts, strict=True) if name not in self._known}
        if new:
            if self._model is None:
                self._model = load_model(base.folder, "bf16")
            for start in range(0, len(new), 64):  # kept by and by, so that a stop loses little
                part = dict(list(new.items())[start : start + 64])
                print(f"reading {start} of {len(new)} texts", file=sys.stderr, flush=True)
                ids = [encode_text(tokens, text, 128) for text in part.values()]
                encoded = [Encoded(row, [False] * len(row)) for row in ids]
                found = features_of(self._model, encoded, tokens.pad, 2048)
                self._known |= dict(zip(part, found, strict=True))
                np.savez(self._path, **self._known)
        return np.stack([self._known[name] for name in names])


def prepared(
    train_on: tuple[str, ...], test_on: tuple[str, ...], variant: str, seed: int, most: int, tokens: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows of train, validation and test by the real data stage, and its audit."""
    from afina.data.prepare import prepare
    from afina.data.table import read_rows
    from afina.recipe_file import parse_recipe

    folder = FOLDER / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, sources in (("train", train_on), ("test", test_on)):
        paths[name] = folder / f"{name}.jsonl"
        rows = [row for source in sources for row in rows_of(source, most)]
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = parse_recipe(
        json.dumps(
            {
                "name": "left-out",
                "seed": seed,
                "task": {"kind": "classify", "labels": LABELS, "positive": LABELS[1]},
                "data": {
                    "train": str(paths["train"]),
                    "test": [{"name": "unseen", "source": str(paths["test"])}],
                    "split": {"train": 0.8, "validation": 0.17, "test": 0.03, "group_by": "family"},
                    "max_length": 128,
                    **VARIANTS[variant],
                },
            }
        ),
        "left_out.yaml",
        [],
    )
    audit = prepare(recipe, tokens, folder / "data", lambda _text: None)
    rows = {
        name: read_rows(folder / "data" / f"{file}.parquet")
        for name, file in (("train", "train"), ("validation", "validation"), ("test", "test_unseen"))
    }
    return rows, audit


def measure(
    cell: str, variant: str, seed: int, most: int, states: States, tokens: Any, base: Any
) -> dict[str, Any]:
    """One cell of the grid."""
    from afina.errors import DataError
    from afina.evaluation.baseline import TfidfBaseline
    from afina.evaluation.blend import fit_blend
    from afina.metrics.calibration import fit_temperature, softmax
    from afina.training.heads import weights_of
    from afina.training.probe import fit_head, fit_probe
    from afina.training.robust import AUTO, fit_robust_head, group_codes
    from afina.training.threshold import choose, choose_left_out, held_rows

    train_on, test_on, column = CELLS[cell]
    rows, audit = prepared(train_on, test_on, variant, seed, most, tokens)
    codes = {label: code for code, label in enumerate(LABELS)}
    truth = {name: np.array([codes[str(row.label)] for row in part]) for name, part in rows.items()}
    texts = {name: [row.text for row in part] for name, part in rows.items()}
    seen = {name: states.of(part, tokens, base) for name, part in texts.items()}

    said: dict[str, dict[str, float]] = {}
    weights = weights_of(rows["train"])
    fit = (seen["train"], truth["train"], 2)
    head, strength = fit_probe(*fit, seen["validation"], truth["validation"], seed, weights)
    logits = {name: head.logits(part) for name, part in seen.items()}
    said["probe"] = figures(truth["test"], softmax(logits["test"]), 0.5)
    strong = fit_head(*fit, 0.001, seed, weights)
    said["probe, strength 0.001"] = figures(truth["test"], softmax(strong.logits(seen["test"])), 0.5)
    groups, _names = group_codes(rows["train"], "source")
    for kind in ("group_dro", "vrex"):
        robust = fit_robust_head(*fit, 0.001, groups, kind, AUTO[kind])
        said[f"head {kind}, strength 0.001"] = figures(
            truth["test"], softmax(robust.logits(seen["test"])), 0.5
        )
    usual = fit_temperature(logits["validation"], truth["validation"])
    choice = choose(logits["validation"], truth["validation"], 1, None, usual)
    said["probe, threshold from validation"] = figures(
        truth["test"], softmax(logits["test"], choice.temperature), choice.threshold
    )
    about: dict[str, Any] = {"strength": strength, "validation": choice.as_json()}
    if column is not None:
        both = [*rows["train"], *rows["validation"]]
        held = held_rows(
            both,
            np.concatenate([seen["train"], seen["validation"]]),
            np.concatenate([truth["train"], truth["validation"]]),
            column,
            "family",
        )
        try:
            left = choose_left_out(held, LABELS, 1, strength, None, seed, column)
            about["left_out"] = left.as_json()
            said["probe, threshold from left-out"] = figures(
                truth["test"], softmax(logits["test"], left.temperature), left.threshold
            )
        except DataError as fault:
            about["left_out"] = fault.what
    words = TfidfBaseline(rows["train"], rows["validation"], LABELS)
    tfidf = {name: words.probabilities(texts[name]) for name in ("validation", "test")}
    said["tfidf"] = figures(truth["test"], tfidf["test"], 0.5)
    calibrated = {name: softmax(logits[name], usual) for name in tfidf}
    blend = fit_blend(calibrated["validation"], tfidf["validation"], truth["validation"])
    said["blend of probe and tfidf"] = figures(
        truth["test"], blend.probabilities(calibrated["test"], tfidf["test"]), 0.5
    )
    shares = np.bincount(truth["train"], minlength=2) / len(truth["train"])
    for name, found in without_labels(softmax(logits["test"], choice.temperature), shares).items():
        said[f"probe, {name} (no labels)"] = figures(truth["test"], *found)
    even = type(blend)((0.5, 0.5), (0.0, 0.0), 0, False)
    said["mean of probe and tfidf"] = figures(
        truth["test"], even.probabilities(calibrated["test"], tfidf["test"]), 0.5
    )
    return {
        "cell": cell,
        "variant": variant,
        "seed": seed,
        "rows": {name: len(part) for name, part in rows.items()},
        "augment": audit["augment"],
        "chosen": about,
        "blend_weights": list(blend.weights),
        "unseen": said,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "command": f"OMP_NUM_THREADS=1 python -m benchmarks.left_out --seeds {seed} --rows {most} "
        f"--variants {variant}",
    }


def without_labels(probabilities: Any, shares: Any) -> dict[str, tuple[Any, float]]:
    """Ways to move the threshold by the new source's rows alone; each with its threshold."""
    from sklearn.mixture import GaussianMixture

    from benchmarks.prior_shift import shifted

    moved, _shares = shifted(probabilities, shares)
    alarms = np.clip(probabilities[:, 1], 1e-7, 1 - 1e-7)
    odds = np.log(alarms / (1 - alarms))[:, None]
    two = GaussianMixture(2, random_state=13, n_init=3).fit(odds)
    high = int(np.argmax(two.means_[:, 0]))
    sides = two.predict_proba(odds)[:, high]
    return {
        "shares by expectation-maximisation": (moved, 0.5),
        "two normal curves": (np.stack([1 - sides, sides], axis=1), 0.5),
        "as many alarms as in training": (probabilities, float(np.quantile(alarms, 1 - shares[1]))),
    }


def figures(truth: Any, probabilities: Any, threshold: float) -> dict[str, float]:
    """The metrics of a model at a threshold."""
    from afina.metrics import labels

    said = (probabilities[:, 1] >= threshold).astype(int)
    return {
        "macro_f1": round(labels.macro_f1(truth, said, 2), 4),
        "auc": round(labels.auc(truth, probabilities[:, 1], 1), 4),
        "false_positive_rate": round(labels.false_positive_rate(truth, said, 1), 4),
        "recall": round(labels.recall(truth, said, 1), 4),
    }


def known_lines() -> list[dict[str, Any]]:
    """What was measured already."""
    path = RESULTS / "left_out.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def table() -> str:
    """Mean over seeds with the lowest and the highest, as Markdown; then each remedy against plain."""
    cells: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for line in known_lines():
        for model, values in line["unseen"].items():
            cells.setdefault((line["cell"], model, line["variant"]), []).append(values)
    lines = [
        "| trained on, tested on | model | remedy | runs | macro-F1 | AUC | false-positive rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for (cell, model, variant), values in sorted(cells.items()):
        shown = [mean_and_range([value[metric] for value in values]) for metric in METRICS[:3]]
        lines.append(f"| {cell} | {model} | {variant} | {len(values)} | " + " | ".join(shown) + " |")
    lines += ["", "| model | remedy | pairs better in macro-F1 | mean change | mean change of AUC |"]
    lines.append("|---|---|---|---|---|")
    pairs = {(cell, model) for cell, model, _variant in cells}
    for model, variant in sorted({(model, variant) for _cell, model, variant in cells}):
        changes: list[tuple[float, float]] = []
        for cell, other in pairs:
            plain, here = cells.get((cell, model, "plain")), cells.get((cell, model, variant))
            if other == model and plain and here and variant != "plain":
                mean = [
                    statistics.mean(v[metric] for v in here) - statistics.mean(v[metric] for v in plain)
                    for metric in ("macro_f1", "auc")
                ]
                changes.append((mean[0], mean[1]))
        if changes:
            better = sum(f1 > 0 for f1, _auc in changes)
            f1, auc = (statistics.mean(change[i] for change in changes) for i in (0, 1))
            lines.append(
                f"| {model} | {variant} | {better} of {len(changes)} | {f1:+.3f} | {auc:+.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measures what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[13, 14, 15])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--table", action="store_true", help="only print the table of what was measured")
    given = parser.parse_args()
    if not given.table:
        from afina.models.base import find_base
        from afina.models.tokenizer import load_tokens

        FOLDER.mkdir(parents=True, exist_ok=True)
        base = find_base("embedded", None)
        tokens, states = load_tokens(base.folder), States()
        done = {(line["cell"], line["variant"], line["seed"]) for line in known_lines()}
        for seed in given.seeds:
            for variant in given.variants:
                for cell in CELLS:
                    if (cell, variant, seed) in done:
                        continue
                    line = measure(cell, variant, seed, given.rows, states, tokens, base)
                    with (RESULTS / "left_out.jsonl").open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(json.dumps(line), file=sys.stderr, flush=True)
    print(table())


if __name__ == "__main__":
    main()
