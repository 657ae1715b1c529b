"""Keeps lm-evaluation-harness' log and progress bars off the terminal."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the harness' log and progress bars are silent."""
    logger, before = logging.getLogger("lm_eval"), os.environ.get("TQDM_DISABLE")
    level = logger.level
    logger.setLevel(logging.ERROR)
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
