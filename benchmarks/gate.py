"""How often the gate promotes a candidate that is worse, equal or better, on simulated answers.

Candidates and base answer the same rows; in a share of them, the discordance, only one is right. The
gate asks for a gain in accuracy above zero, with its whole interval, as a recipe does; the code is the
gate's own. One line a discordance in `benchmarks/results/gate.jsonl`.

    python -m benchmarks.gate [--candidates 2000] [--rows 1000]
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from afina.data.roles import Row
from afina.evaluation.answers import TestRows
from afina.evaluation.limits import _gain
from afina.evaluation.score import Measured, comparison_of, label_metric
from afina.recipe import Limit
from benchmarks.heads import RESULTS

GAINS = {"worse by 3 points": -0.03, "equal": 0.0, "better by 3 points": 0.03}
DISCORDANCES = (0.1, 0.05, 0.2)
LIMIT = Limit(metric="accuracy", model="tuned", against="base", min_gain=0.0)
BASE_ACCURACY = 0.8


def promoted(discordance: float, gain: float, rows: int, random: np.random.Generator) -> bool:
    """Whether the gate promotes one candidate."""
    truth = random.integers(0, 2, rows)
    kind = random.random(rows)
    only_new, only_old = (discordance + gain) / 2, (discordance - gain) / 2
    both = BASE_ACCURACY - only_old
    new = kind < both + only_new
    old = (kind < both) | ((kind >= both + only_new) & (kind < both + discordance))
    test = TestRows("test", [Row()] * rows, truth, None)
    metric = label_metric("accuracy", truth, 2, 1)
    assert metric is not None
    measured = [
        Measured(
            name,
            np.stack([np.where(right, truth, 1 - truth)] * 3, axis=1).astype(float),
            {"accuracy": metric},
        )
        for name, right in (("tuned", new), ("base", old))
    ]
    line = comparison_of(measured[0], measured[1], "accuracy", test, int(random.integers(2**31)))
    report = {"comparisons": [line], "results": []}
    return _gain(LIMIT, report)["verdict"] == "pass"


def main() -> None:
    """Measures what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=1000)
    given = parser.parse_args()
    path = RESULTS / "gate.jsonl"
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done = {json.loads(line)["discordance"] for line in known}
    for discordance in DISCORDANCES:
        if discordance in done:
            continue
        random = np.random.default_rng(13)
        shares = {
            name: float(
                np.mean(
                    [promoted(discordance, gain, given.rows, random) for _c in range(given.candidates)]
                )
            )
            for name, gain in GAINS.items()
        }
        line = {
            "discordance": discordance,
            "rows": given.rows,
            "candidates_of_each_kind": given.candidates,
            "promoted": shares,
            "command": f"python -m benchmarks.gate --candidates {given.candidates} --rows {given.rows}",
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
