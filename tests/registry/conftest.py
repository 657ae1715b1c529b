"""Three finished runs of one name, and an empty MLflow store to copy: making one takes seconds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from afina.registry.place import registry_uri
from afina.registry.store import Registry
from afina.runs.folder import Run
from tests.tiny import Tiny

QUICK = (
    "train.epochs=0.2",
    "train.evaluations_per_epoch=1",
    "train.patience=null",
    "evaluate.baselines=[]",
    "evaluate.metrics=[accuracy, macro_f1]",
)
PASSES = 'gate=[{"metric": "accuracy", "min": 0.0}]'


@dataclass
class Place:
    """A folder with runs of its own, which a test may damage, and a registry beside them."""

    folder: Path

    @property
    def runs(self) -> str:
        """The folder with the runs."""
        return str(self.folder / "runs")

    @property
    def registry(self) -> Registry:
        """The registry beside them, opened anew."""
        return Registry(registry_uri(self.runs))

    def path(self, relative: str) -> Path:
        """A file of the runs: tiny/1/gate.json."""
        return self.folder / "runs" / relative


@pytest.fixture(scope="session")
def made(tmp_path_factory, llama3_folder, llama3) -> Path:
    """runs/tiny/1, 2, 3: one training, three gates. Their releases differ in the recipe's hash."""
    tiny = Tiny(tmp_path_factory.mktemp("registry"), llama3_folder, llama3)
    for least in ("0.0", "0.001", "0.002"):
        done(tiny, PASSES.replace("0.0", least))
    return tiny.folder


def done(tiny: Tiny, *overrides: str) -> Run:
    """A run of everything but the report."""
    return tiny.run(*QUICK, *overrides, stage="release")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A SQLite file with MLflow's tables and nothing in them."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    registry = Registry(f"sqlite:///{path}")
    assert registry.names() == []
    assert not path.exists(), "reading makes no file"
    assert list(registry.client.search_registered_models()) == []
    return path


@pytest.fixture
def place(made, empty_store, tmp_path, monkeypatch) -> Place:
    """The three runs and an empty registry, copied."""
    monkeypatch.delenv("AFINA_REGISTRY", raising=False)
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    shutil.copytree(made / "runs", tmp_path / "runs")
    (tmp_path / "tracking").mkdir()
    shutil.copy(empty_store, tmp_path / "tracking" / "mlflow.db")
    return Place(tmp_path)
