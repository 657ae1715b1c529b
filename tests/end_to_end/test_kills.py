"""A run that is killed at random moments ends with the adapter of the run that nobody killed.

A few kills here; `python -m benchmarks.kills` does fifty.
"""

from __future__ import annotations

import random
import signal

from benchmarks.kills import Killer, prepare

MOMENTS = {
    "start": signal.SIGKILL,
    "train": signal.SIGTERM,
    "checkpoint": signal.SIGKILL,
    "evaluate": signal.SIGINT,
}
# A fast machine may be past a moment before the signal is sent: those are tried again on a new run.
ROUNDS = 4


def test_a_run_killed_in_every_stage_has_the_same_adapter(tmp_path, llama3_folder) -> None:
    prepare(tmp_path, llama3_folder, rows=90)
    whole = Killer(tmp_path, "whole", random.Random(0)).finish()
    missed = dict(MOMENTS)
    for number in range(ROUNDS):
        killer = Killer(tmp_path, f"killed-{number}", random.Random(13 + number))
        missed = {moment: sent for moment, sent in missed.items() if not killer.kill(moment, sent)}
        assert killer.finish() == whole
        if not missed.keys() - {"evaluate"}:
            return
    raise AssertionError(f"never in time for {sorted(missed)}")
