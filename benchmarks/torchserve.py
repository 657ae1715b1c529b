"""Whether a real TorchServe answers with an exported archive as the run's own model does.

Needs torchserve 0.12 and Java 17 beside the packages of Afina. One line of
`benchmarks/results/torchserve.jsonl`.

    python -m benchmarks.torchserve RUN
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tests.exports.torchserve_process import Server, answers

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Exports, starts TorchServe, asks it, stops it."""
    import afina
    from afina.exports.asked import asked_of
    from afina.inference.engine import Engine
    from afina.runs.folder import find_run

    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    given = parser.parse_args()
    run = find_run(given.run, "runs")
    folder = Path(tempfile.mkdtemp()) / "torchserve"
    result = afina.export(given.run, to="torchserve", out=folder, say=print)
    engine = Engine(run.path("release"))
    texts = asked_of(run, run.recipe(), engine).texts
    with Server(folder, run.name) as server:
        begun = time.perf_counter()
        found = [answers(server.ask({"inputs": text})) for text in texts]
        seconds = time.perf_counter() - begun
        log = server.log()
    shares = np.array([[row[label] for label in engine.settings.labels] for row in found])
    own = engine.classify(texts)
    line = {
        "date": datetime.now(UTC).date().isoformat(),
        "run": run.title,
        "torchserve": "0.12.0",
        "megabytes": round(result.bytes / 1e6, 1),
        "same_label": [int((engine.decide(shares) == engine.decide(own)).sum()), len(texts)],
        "largest_probability_difference": float(np.abs(shares - own).max()),
        "texts_in_log": sum(text[:60] in log for text in texts),
        "seconds": round(seconds, 2),
        "command": f"python -m benchmarks.torchserve {run.title}",
    }
    with (RESULTS / "torchserve.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))
    shutil.rmtree(folder.parent, ignore_errors=True)


if __name__ == "__main__":
    main()
