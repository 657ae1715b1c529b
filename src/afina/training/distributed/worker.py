"""One of the processes that train together: started by `launch.py`, told what to do in its arguments.

python -m afina.training.distributed.worker JOB, where JOB is the JSON of `launch.Job`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

from afina.errors import AfinaError


def main(job: dict[str, Any]) -> int:
    """Does this process's part; what is for people goes to the process that started it.

    Returns:
        The exit code.
    """
    from afina.language import choose

    threading.Thread(target=_end_with_parent, daemon=True).start()
    choose(job["language"])
    faulthandler.register(signal.SIGUSR1)  # where it waits, into its log
    warnings.simplefilter("ignore")
    channel = os.fdopen(job["channel"], "w", encoding="utf-8", buffering=1)

    def tell(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")

    try:
        _work(job, tell)
    except AfinaError as error:
        tell(error=error.as_json())
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _work(job: dict[str, Any], tell: Any) -> None:
    from afina.models.base import FoundBase
    from afina.models.tokenizer import load_tokens
    from afina.runs.folder import Run
    from afina.runs.store import Store
    from afina.training.distributed.engines import ranks_of
    from afina.training.distributed.together import connect
    from afina.training.tune import train_rank

    class Told(Run):
        """A run whose own place is kept equal by the process that started this one."""

        def publish(self) -> None:
            tell(publish=True)

    root = Path(job["run"])
    base = FoundBase(**{**job["base"], "folder": Path(job["base"]["folder"])})
    run = Told(root, job["name"], job["number"], Store(str(root.parent.parent)))
    if int(os.environ["RANK"]) == 0:
        run.say = lambda text: tell(say=text)
        run.progress = lambda text: tell(progress=text)
    recipe = run.recipe()
    connect(job["method"])
    train_rank(run, recipe, base, load_tokens(base.folder), ranks_of(recipe))


def _end_with_parent() -> None:
    """Ends this process when the one that started it has: nobody else may go on writing in the run."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    code = main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # libraries leave threads behind that would wait for processes that have ended
