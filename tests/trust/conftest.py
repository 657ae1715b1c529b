"""A signer with keys, a release made by hand, and one of a real run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.tiny import Tiny

import afina.inference.engine as engine
from afina.trust.manifest import write_manifest
from afina.trust.trust_store import TrustStore


@pytest.fixture
def store(tmp_path, monkeypatch) -> TrustStore:
    """An empty trust store, which is the one in use."""
    monkeypatch.setenv("AFINA_TRUST", str(tmp_path / "trust"))
    return TrustStore()


@pytest.fixture
def release(tmp_path) -> Path:
    """A few files with a manifest."""
    folder = tmp_path / "release"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter/adapter_model.safetensors").write_bytes(bytes(range(256)) * 4)
    (folder / "adapter-notes.md").write_text("sorted after the folder, before its files by name")
    (folder / "inference.json").write_text('{"schema": "ñandú"}', encoding="utf-8")
    (folder / "README.md").write_text("card")
    write_manifest(folder, {"name": "ñandú", "run": "ñandú@1"})
    return folder


# As little as there can be, up to a release.
MADE = ("train.epochs=1", "evaluate.metrics=[accuracy]", "evaluate.baselines=[]")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("trust_runs"), llama3_folder, llama3)


@pytest.fixture(scope="session")
def made(tiny, llama3):
    """A run with its release, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_tokens", lambda *_given: llama3)
        return tiny.run(*MADE, stage="release")


@pytest.fixture
def released(made, tmp_path) -> Path:
    """A copy of the run's folder."""
    shutil.copytree(made.root, tmp_path / "runs/tiny/1")
    return tmp_path / "runs/tiny/1"
