"""Runs of the tiny Llama 3, tracked in real stores and read back through MLflow's own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny import Tiny

SETTINGS = ("train.epochs=1", "train.evaluations_per_epoch=2", "train.patience=null")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("tracked"), llama3_folder, llama3)


def client(uri: str) -> Any:
    """MLflow's own client, for reading."""
    from afina.tracking.mlflow_store import client_class

    return client_class()(uri)


def local_uri(place: Path) -> str:
    """Where `track.mlflow: local` keeps the runs of PLACE/runs."""
    return f"sqlite:///{place / 'tracking' / 'mlflow.db'}"


def only_run(uri: str, experiment: str = "tiny") -> Any:
    """The one run of an experiment."""
    there = client(uri)
    found = there.search_runs([there.get_experiment_by_name(experiment).experiment_id])
    assert len(found) == 1, [run.data.tags for run in found]
    return found[0]


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    """Each point of a metric: its step and its value, by step."""
    points = client(uri).get_metric_history(run_id, name)
    return sorted((point.step, point.value) for point in points)


def downloaded(uri: str, run_id: str, folder: Path) -> dict[str, bytes]:
    """Every artifact of a run, by its path."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(client(uri).download_artifacts(run_id, "", str(folder)))
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }
