"""A threshold from rows of a new source that nobody has labelled: does it hold when alarms are rare?

The probe of `benchmarks.left_out` (its pairs of sources, seeds and cached states) is asked about rows of
the new source. Two normal curves are laid through its log-odds of some of them, of which a given share
is phishing; the threshold between the curves is tried on all rows of the new source. Each cell is one
line of `benchmarks/results/unlabelled.jsonl`; what is there is not done again. The data is in
../shared/data, which a clone does not have.

    OMP_NUM_THREADS=1 python -m benchmarks.unlabelled [--seeds 13 14 15] [--rows 100] [--table]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

import numpy as np

from benchmarks import left_out

RESULTS = left_out.RESULTS / "unlabelled.jsonl"
SHARES = (0.5, 0.25, 0.1, 0.03)
KINDS = ("tied", "full")  # one spread for both curves, or one each


def measure(cell: str, seed: int, most: int, states: Any, tokens: Any, base: Any) -> dict[str, Any]:
    """One pair of sources: the probe at 0.5, and at the thresholds between the curves."""
    from afina.metrics.calibration import fit_temperature, softmax
    from afina.training.heads import weights_of
    from afina.training.probe import fit_probe

    train_on, test_on, _column = left_out.CELLS[cell]
    rows = left_out.prepared(train_on, test_on, "plain", seed, most, tokens)[0]
    codes = {label: code for code, label in enumerate(left_out.LABELS)}
    truth = {name: np.array([codes[str(row.label)] for row in part]) for name, part in rows.items()}
    seen = {name: states.of([row.text for row in part], tokens, base) for name, part in rows.items()}
    head, _strength = fit_probe(
        seen["train"], truth["train"], 2, seen["validation"], truth["validation"], seed,
        weights_of(rows["train"]),
    )  # fmt: skip
    temperature = fit_temperature(head.logits(seen["validation"]), truth["validation"])
    shares = softmax(head.logits(seen["test"]), temperature)
    said = {"probe": left_out.figures(truth["test"], shares, 0.5)}
    odds = log_odds(shares[:, 1])
    random = np.random.default_rng(seed)
    legitimate, phishing = (np.flatnonzero(truth["test"] == code) for code in (0, 1))
    for share in SHARES:
        count = min(len(phishing), round(len(legitimate) * share / (1 - share)))
        some = np.concatenate([legitimate, random.permutation(phishing)[:count]])
        for kind in KINDS:
            threshold = between(odds[some], kind)
            said[f"{kind}, {share:g} phishing"] = left_out.figures(truth["test"], shares, threshold)
    return {"cell": cell, "seed": seed, "rows": len(truth["test"]), "unseen": said}


def log_odds(alarms: Any) -> Any:
    """Of probabilities; [rows]."""
    clipped = np.clip(alarms.astype(np.float64), 1e-9, 1 - 1e-9)
    return np.log(clipped / (1 - clipped))


def between(odds: Any, kind: str) -> float:
    """The probability at which both curves are as likely, between their middles."""
    from sklearn.mixture import GaussianMixture

    two = GaussianMixture(2, covariance_type=kind, random_state=13, n_init=3).fit(odds[:, None])
    low, high = np.sort(two.means_[:, 0])
    grid = np.linspace(low, high, 1001)
    upper = int(np.argmax(two.means_[:, 0]))
    place = grid[np.argmin(np.abs(two.predict_proba(grid[:, None])[:, upper] - 0.5))]
    return float(1 / (1 + np.exp(-place)))


def table() -> str:
    """Mean over pairs of the mean over seeds, the worst pair, and pairs better than the probe."""
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    cells = sorted({line["cell"] for line in lines})

    def mean(cell: str, model: str, metric: str) -> float:
        return statistics.mean(line["unseen"][model][metric] for line in lines if line["cell"] == cell)

    shown = [
        "| threshold | macro-F1 | worst pair | false-positive rate | recall | pairs better |",
        "|---|---|---|---|---|---|",
    ]
    for model in lines[0]["unseen"]:
        values = {m: [mean(cell, model, m) for cell in cells] for m in left_out.METRICS}
        probe = [mean(cell, "probe", "macro_f1") for cell in cells]
        better = sum(a > b for a, b in zip(values["macro_f1"], probe, strict=True))
        shown.append(
            f"| {model} | {statistics.mean(values['macro_f1']):.3f} | {min(values['macro_f1']):.3f} | "
            f"{statistics.mean(values['false_positive_rate']):.3f} | "
            f"{statistics.mean(values['recall']):.3f} | {better} of {len(cells)} |"
        )
    return "\n".join(shown)


def main() -> None:
    """Measures what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[13, 14, 15])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = parser.parse_args()
    if not given.table:
        from afina.models.base import find_base
        from afina.models.tokenizer import load_tokens

        left_out.FOLDER.mkdir(parents=True, exist_ok=True)
        base = find_base("embedded", None)
        tokens, states = load_tokens(base.folder), left_out.States()
        text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
        done = {(line["cell"], line["seed"]) for line in map(json.loads, text.splitlines())}
        for seed in given.seeds:
            for cell in left_out.CELLS:
                if (cell, seed) in done:
                    continue
                line = measure(cell, seed, given.rows, states, tokens, base)
                line["command"] = "OMP_NUM_THREADS=1 python -m benchmarks.unlabelled"
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(cell, seed, file=sys.stderr, flush=True)
    print(table())


if __name__ == "__main__":
    main()
