"""The registry of models on MLflow: versions of finished releases, and which of them is in use.

`NAME@champion` is a run wherever a run is named: importing this package says so to afina.runs.
"""

from afina.registry.finding import run_named
from afina.runs import folder
from afina.runs.folder import find_run

__all__ = ["find_run"]

folder.find_named = run_named
