"""A run that is killed at random moments ends with the adapter of the run that nobody killed.

Four kills here; `python -m benchmarks.kills` does fifty.
"""

from __future__ import annotations

import random
import signal

from benchmarks.kills import Killer, prepare


def test_a_run_killed_four_times_has_the_same_adapter(tmp_path, llama3_folder) -> None:
    prepare(tmp_path, llama3_folder, rows=90)
    whole = Killer(tmp_path, "whole", random.Random(0)).finish()
    killer = Killer(tmp_path, "killed", random.Random(13))
    assert killer.kill("start", signal.SIGKILL)
    assert killer.kill("train", signal.SIGTERM)
    assert killer.kill("checkpoint", signal.SIGKILL)
    killer.kill("evaluate", signal.SIGINT)  # a fast machine may be done before
    assert killer.finish() == whole
