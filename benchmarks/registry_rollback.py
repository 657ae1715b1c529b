"""How long a rollback takes, by the command's processor time and by the clock.

    python -m benchmarks.registry_rollback RUNS NAME TIMES

RUNS holds a finished run of NAME. Two versions are made of copies of it; TIMES promotions and rollbacks
are done, the rollbacks by the real command in a process of its own, while this one watches the champion.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import afina
from afina.runs.files import read_json, write_json


def second_release(runs: Path, name: str) -> None:
    """NAME/2: the run again, with a seed in its manifest that makes it another release."""
    shutil.copytree(runs / name / "1", runs / name / "2")
    manifest = runs / name / "2" / "release" / "manifest.json"
    write_json(manifest, {**read_json(manifest), "seed": 2})


def children_cpu() -> float:
    """Processor seconds of the processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measures, and prints one JSON line."""
    source, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        shutil.copytree(source / name / "1", runs / name / "1")
        second_release(runs, name)
        afina.promote(f"{name}@1", runs=str(runs))
        whole, until_known, processor = [], [], []
        for _time in range(times):
            afina.promote(f"{name}@2", runs=str(runs))
            watch = afina.watch_version(name, runs=str(runs))
            started, before = time.monotonic(), children_cpu()
            command = [sys.executable, "-m", "afina", "registry", "rollback", name, "--runs", str(runs)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while watch.changed() is None:
                time.sleep(0.05)
            until_known.append(time.monotonic() - started)
            assert process.wait() == 0
            whole.append(time.monotonic() - started)
            processor.append(children_cpu() - before)
    result = {
        "benchmark": "registry_rollback",
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python -m benchmarks.registry_rollback RUNS {name} {times}",
        "times": times,
        "processor_seconds_of_the_command": [round(one, 2) for one in processor],
        "seconds_until_a_watching_process_knows": [round(one, 2) for one in until_known],
        "seconds_of_the_command": [round(one, 2) for one in whole],
        "median_processor_seconds": round(statistics.median(processor), 2),
        "median_seconds": round(statistics.median(whole), 2),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
