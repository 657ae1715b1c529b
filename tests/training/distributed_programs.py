"""What the processes of tests/training/test_distributed.py do: several engines, one start of Python.

python -m tests.training.distributed_programs JOB, in each process; JOB is a JSON list of
{run, name, number, base, stop_at, to_the_end}: the runs that are trained one after the other.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from afina.models.base import FoundBase
from afina.models.tokenizer import load_tokens
from afina.runs.folder import Run
from afina.runs.store import Store
from afina.training import tune
from afina.training.distributed.engines import ranks_of
from afina.training.distributed.together import connect
from afina.training.loop import Trainer


class Ends(Exception):
    """A process ends here."""


class StoppedAt(Trainer):
    """The real trainer; all processes end at one step, as when a machine is lost."""

    step: int | None = None

    def _step(self, stop):
        if self.progress.step == self.step:
            raise Ends
        super()._step(stop)


def main(jobs: list[dict]) -> None:
    connect(jobs[0]["method"])
    tune.Trainer = StoppedAt
    tokens = None
    for job in jobs:
        root = Path(job["run"])
        run = Run(root, job["name"], job["number"], Store(str(root.parent.parent)))
        base = FoundBase(**{**job["base"], "folder": Path(job["base"]["folder"])})
        tokens = tokens or load_tokens(base.folder)
        recipe = run.recipe()
        for StoppedAt.step in (*job["stop_at"], *([None] if job["to_the_end"] else [])):
            try:
                tune.train_rank(run, recipe, base, tokens, ranks_of(recipe))
            except Ends:
                continue
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
