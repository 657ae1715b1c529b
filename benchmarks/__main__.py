"""`make bench`: every measurement that CI does not run, one after the other; each can be stopped."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "training",
    "estimate",
    "strengths",
    "heads",
    "scale",
    "unseen",
    "kills",
    "verify",
    "sealing",
    "left_out",
    "unlabelled",
    "gate",
)
for name in NAMES:
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
