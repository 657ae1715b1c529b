"""No pickle in anything that a run leaves: every file is looked into, whatever its name is."""

from __future__ import annotations

import shutil

import pytest
from tests.training.test_resume import StoppedAt
from tests.trust.conftest import MADE

import afina
import afina.inference.engine as engine
from afina.errors import Stopped
from afina.exports.export import KINDS
from afina.training import tune
from afina.trust.pickles import find_pickles

# Kinds that are tried here: the others need programs that are not there everywhere, or minutes.
TRIED = ("merged", "adapter")


def test_no_artefact_holds_pickle(tiny, made, llama3, monkeypatch, tmp_path):
    """Half-done training, a whole tracked run, its exports and its signatures, and the cache."""
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AFINA_TRUST", str(tmp_path / "trust"))
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)
    with monkeypatch.context() as patch:
        patch.setattr(StoppedAt, "step", 3)
        patch.setattr(StoppedAt, "how", "signal")
        patch.setattr(tune, "Trainer", StoppedAt)
        with pytest.raises(Stopped):
            tiny.run(*MADE, "train.checkpoint_steps=2", runs=str(tmp_path / "half/runs"))
    held = {path.name for path in (tmp_path / "half/runs/tiny/1").glob("checkpoints/*/*")}
    assert {"optimizer.safetensors", "random.safetensors", "state.json"} <= held

    place = tmp_path / "whole/runs"
    shutil.copytree(made.root, place / "tiny/1")
    flow = tiny.workflow(*MADE, "track.mlflow=local", "track.tensorboard=true", runs=str(place))
    flow.run.lock()
    flow.everything()
    flow.finish()
    flow.run.unlock()
    afina.new_signer("ana", protect=False)
    afina.sign(str(flow.run.root))
    assert set(TRIED) <= set(KINDS)
    for to in TRIED:
        afina.export(str(flow.run.root), to=to)
    for name in (
        "release/signatures/model.sig", "predictions", "data/train.parquet", "exports/merged/merge.json",
        "exports/adapter", "probe", "tensorboard", "report.html", "../../../tracking/mlflow.db",
    ):  # fmt: skip
        assert flow.run.path(name).exists(), name
    assert (tmp_path / "cache").exists()
    assert find_pickles(tmp_path) == []
