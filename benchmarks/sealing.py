"""How fast a release is sealed and opened, and how much memory that takes.

One line of `benchmarks/results/sealing.jsonl`. Each step is a process of its own, so that its memory is
its own; hashes of the same files by SHA-256 alone stand beside it.

    python -m benchmarks.sealing [--mebibytes 1024]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "sealing.jsonl"
START = "import resource, sys, time\nfrom pathlib import Path\nplace = Path(sys.argv[1])\n"
STEPS = {
    "hash": "from afina.runs.files import sha256_of\nstart = time.perf_counter()\n"
    "[sha256_of(path) for path in (place / 'release').iterdir()]\n",
    "seal": "from afina.seals.recipients import find_public\n"
    "from afina.seals.writer import seal_folder\n"
    "public = find_public('ana', place / 'keys').public\nstart = time.perf_counter()\n"
    "seal_folder(place / 'release', place / 'release.sealed', [public], None, 'release')\n",
    "open": "from afina.seals.opening import open_to_folder\n"
    "from afina.seals.unlocking import unlock_by\n"
    "path = place / 'release.sealed'\nunlock = unlock_by('ana', None, None, place / 'keys', path)\n"
    "start = time.perf_counter()\nopen_to_folder(path, place / 'out', unlock)\n",
}
END = (
    "took = time.perf_counter() - start\n"
    "print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
)


def main() -> None:
    """Measures, prints and keeps one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024)
    size = parser.parse_args().mebibytes << 20
    from afina.seals.recipients import new_pair

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        release = place / "release"
        release.mkdir()
        with (release / "weights").open("wb") as file:
            for _number in range(size >> 20):
                file.write(os.urandom(1 << 20))
        with (release / "weights").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        manifest = {"files": {"weights": {"sha256": digest}}}
        (release / "manifest.json").write_text(json.dumps(manifest))
        new_pair("ana", None, place / "keys")
        found: dict[str, Any] = {step: measured(code, place) for step, code in STEPS.items()}
        overhead = (place / "release.sealed").stat().st_size - size
    line = {
        "bytes": size,
        "overhead_bytes": overhead,
        **found,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.sealing --mebibytes {size >> 20}",
    }
    print(json.dumps(line))
    with RESULTS.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


def measured(code: str, place: Path) -> dict[str, float]:
    """Seconds and peak resident bytes of one step."""
    done = subprocess.run(
        [sys.executable, "-c", START + code + END, str(place)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak = map(float, done.stdout.split())
    return {"seconds": round(seconds, 2), "peak_memory_bytes": peak}


if __name__ == "__main__":
    main()
