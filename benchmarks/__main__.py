"""`make bench`: every measurement that CI does not run, one after the other; each can be stopped."""

from __future__ import annotations

import subprocess
import sys

for name in ("training", "estimate", "strengths", "heads", "scale", "unseen", "kills", "sealing"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
