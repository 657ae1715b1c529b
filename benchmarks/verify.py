"""What checking a release costs beside a plain SHA-256 of the same files: `python -m benchmarks.verify`.

The files are those of a release of 270 MB, written once; both are read from memory after the first time.
The two are measured in turns, in processor time, which other work on the machine changes least; what
counts is the ratio of one turn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from afina.inference.intact import require_intact
from afina.trust.manifest import sizes, write_manifest
from afina.trust.signatures import sign_release
from afina.trust.trust_store import TrustStore

RESULTS = Path(__file__).parent / "results" / "verify.jsonl"
# An adapter's release beside a whole model's, in MB: what a file costs shows in the small one.
FILES = {
    "adapter": (4.9, 3.5, 0.01, 0.01, 0.02, 0.02, 0.002),
    "whole model": (269, 3.5, 0.01, 0.01, 0.02),
}


def plain(folder: Path) -> None:
    """SHA-256 of each file."""
    for name in sizes(folder):
        with (folder / name).open("rb") as file:
            hashlib.file_digest(file, "sha256").hexdigest()


def seconds(work, folder: Path) -> float:
    """How much processor time it takes."""
    begun = time.process_time()
    work(folder)
    return time.process_time() - begun


def main() -> None:
    """Measures and appends a line for each kind of release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    given = parser.parse_args()
    for kind, megabytes in FILES.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "release"
            folder.mkdir()
            for number, size in enumerate(megabytes):
                (folder / f"file{number}.safetensors").write_bytes(os.urandom(int(size * 1e6)))
            write_manifest(folder, {"name": kind})
            os.environ["AFINA_TRUST"] = f"{scratch}/trust"
            store = TrustStore()
            keys = store.keys.make("ana", None)
            hashes = _turns(folder, given.turns)
            store.trust(keys.signer)
            sign_release(folder, keys)
            signed = _turns(folder, given.turns)
        line = {
            "kind": kind,
            "bytes": int(sum(megabytes) * 1e6),
            "files": len(megabytes),
            "turns": given.turns,
            "hashes_only": hashes,
            "with_signatures": signed,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
            "date": datetime.now(UTC).date().isoformat(),
            "command": f"python -m benchmarks.verify --turns {given.turns}",
        }
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def _turns(folder: Path, turns: int) -> dict[str, float]:
    """Medians of both, and of their ratio within a turn."""
    require_intact(folder)
    pairs = [(seconds(plain, folder), seconds(require_intact, folder)) for _turn in range(turns)]
    return {
        "plain_sha256_seconds": round(statistics.median(one for one, _other in pairs), 5),
        "verify_seconds": round(statistics.median(other for _one, other in pairs), 5),
        "ratio": round(statistics.median(other / one for one, other in pairs), 4),
    }


if __name__ == "__main__":
    main()
