"""One run's folder: where the files of one model are, what was done, and with which inputs."""

from afina.runs.folder import Run, find_run, list_runs, open_run

__all__ = ["Run", "find_run", "list_runs", "open_run"]
