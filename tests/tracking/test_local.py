"""A run tracked in MLflow's SQLite store: what is there, what is not, and that it is there once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import afina.tracking.live as live
from afina.runs.stages import state_of
from afina.tracking.note import read_note
from tests.tiny import adapter_hash, value
from tests.tracking.conftest import SETTINGS, client, downloaded, history, local_uri, only_run

TRACKED = (*SETTINGS, "track.mlflow=local", "track.tensorboard=true", "evaluate.baselines=[]")
GATE = 'gate=[{"metric": "accuracy", "min": 0.0}]'


def everything(tiny, *overrides: str, runs: str = "runs"):
    """All stages of a run, as `afina run` does them. Returns the workflow and what it said."""
    flow = tiny.workflow(*overrides, runs=runs)
    said: list[str] = []
    flow.run.say = said.append
    flow.run.lock()
    try:
        flow.everything()
        flow.finish()
    finally:
        flow.run.unlock()
    return flow, said


@pytest.fixture(scope="module")
def tracked(tiny):
    return everything(tiny, *TRACKED, GATE, runs="full/runs")


@pytest.fixture(scope="module")
def uri(tiny, tracked) -> str:
    return local_uri(tiny.folder / "full")


def test_the_course_is_there_step_by_step(tracked, uri) -> None:
    run = tracked[0].run
    there = only_run(uri).info.run_id
    lines = [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()]
    for split in ("train", "validation"):
        expected = [(line["step"], line["loss"]) for line in lines if line["split"] == split]
        assert history(uri, there, f"{split}.loss") == expected
    for name in ("learning_rate", "tokens_per_second", "peak_memory_bytes"):
        expected = [(line["step"], line[name]) for line in lines if line["split"] == "train"]
        assert history(uri, there, f"train.{name}") == expected


def test_the_resolved_recipe_is_there_as_parameters(tracked, uri) -> None:
    found = only_run(uri).data.params
    assert found["train.learning_rate"] == "0.003"
    assert found["data.train.0.weight"] == "1.0"
    assert found["gate.0.metric"] == "accuracy"
    assert found["resolved.train.precision"] == "fp32"
    assert found["task.labels"] == "null"
    assert not [name for name in found if name.startswith("track")]


def test_figures_with_their_bounds_and_the_verdict(tracked, uri) -> None:
    there, run = only_run(uri), tracked[0].run
    for result in value(run, "evaluation.json")["results"]:
        name = f"{result['model']}.test.{result['metric']}"
        assert there.data.metrics[name] == result["value"]
        if result["ci95"] == [None, None]:  # no resample differs, so there is no interval
            assert f"{name}.low" not in there.data.metrics
        else:
            found = there.data.metrics[f"{name}.low"], there.data.metrics[f"{name}.high"]
            assert found == tuple(result["ci95"])
    assert "tuned_minus_base.test.macro_f1.p_value" in there.data.metrics
    assert there.data.metrics["training.steps"] == value(run, "train.json")["steps"]
    assert there.data.tags["afina.gate"] == "passed"
    assert there.info.status == "FINISHED"


def test_data_base_code_and_packages_are_tags(tracked, uri) -> None:
    tags, run = only_run(uri).data.tags, tracked[0].run
    base = value(run, "release/inference.json")["base"]
    assert tags["afina.base.sha256"] == base["sha256"]
    assert tags["afina.base.id"] == base["id"]
    for name, digest in state_of(run, "data")["outputs"].items():
        assert tags[f"afina.{name}.sha256"] == digest
    assert re.fullmatch("[0-9a-f]{64}", tags["afina.code_sha256"])
    assert tags["package.torch"].startswith("2.")
    assert tags["afina.run"] == "tiny@1"


def test_artifacts_are_the_files_themselves_and_hold_no_rows(tracked, uri, tmp_path) -> None:
    run = tracked[0].run
    found = downloaded(uri, only_run(uri).info.run_id, tmp_path)
    release = {
        path.relative_to(run.root).as_posix(): path.read_bytes()
        for path in run.path("release").rglob("*")
        if path.is_file()
    }
    others = {
        name: run.path(name).read_bytes()
        for name in ("recipe.yaml", "evaluation.json", "gate.json", "report.html")
    }
    training = json.loads(found.pop("train.json"))
    assert "samples" not in training
    assert training["steps"] == value(run, "train.json")["steps"]
    assert found == {**release, **others}, "the PEFT flavour would have renamed the adapter's tensors"
    rows = [json.loads(line)["text"] for line in tiny_rows(run)]
    for name, content in found.items():
        assert not re.match(rb"\x80[\x02-\x05]|PK", content), f"{name} looks like pickle"
        if name != "release/adapter/tokenizer.json":
            assert not [row for row in rows if row.encode() in content], name


def tiny_rows(run) -> list[str]:
    """The lines of the file that the run was made from."""
    return Path(run.recipe().data.train[0].source).read_text().splitlines()


def test_a_finished_run_is_not_tracked_twice(tiny, tracked, uri, monkeypatch) -> None:
    before = only_run(uri)
    monkeypatch.setattr(live, "MlflowStore", None)  # a run that is complete there opens no store
    _flow, said = everything(tiny, *TRACKED, GATE, runs="full/runs")
    assert not [line for line in said if "tracking" in line]
    monkeypatch.undo()
    # Nor does one that was sent, but whose process ended before it could note so.
    note = tracked[0].run.path("tracking.json")
    kept = json.loads(note.read_text())
    note.write_text(
        json.dumps({**kept, "run_id": None, "complete": None, "figures": None, "artifacts": {}})
    )
    everything(tiny, *TRACKED, GATE, runs="full/runs")
    after = only_run(uri)
    assert after.info.run_id == before.info.run_id
    for name in ("train.loss", "tuned.test.accuracy", "training.steps"):
        assert len(history(uri, after.info.run_id, name)) == len(
            set(history(uri, after.info.run_id, name))
        )
    assert read_note(tracked[0].run).complete is not None


def test_tracking_changes_no_bit_of_the_model(tiny, tracked) -> None:
    plain = tiny.run(*TRACKED[:-3], "evaluate.baselines=[]", GATE, runs="plain/runs")
    assert adapter_hash(plain) == adapter_hash(tracked[0].run)
    assert not (tiny.folder / "plain/tracking").exists(), "nothing is tracked unless it is asked for"


def test_tracking_may_be_asked_for_when_the_run_is_finished(tiny) -> None:
    more = (*SETTINGS, "evaluate.baselines=[]")
    flow, _said = everything(tiny, *more, runs="later/runs")
    flow, _said = everything(tiny, *more, "track={mlflow: local, experiment: after}", runs="later/runs")
    assert flow.run.number == 1
    assert flow.run.recipe().track.experiment == "after"
    there = only_run(local_uri(tiny.folder / "later"), "after")
    assert there.info.status == "FINISHED"
    assert len(history(local_uri(tiny.folder / "later"), there.info.run_id, "train.loss")) == 6


def test_a_run_deleted_there_is_made_again(tiny) -> None:
    more = (*SETTINGS, "track.mlflow=local", "evaluate.baselines=[]")
    place = local_uri(tiny.folder / "deleted")
    flow, _said = everything(tiny, *more, runs="deleted/runs")
    first = only_run(place).info.run_id
    client(place).delete_run(first)
    note = flow.run.path("tracking.json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "complete": None}))
    everything(tiny, *more, runs="deleted/runs")
    again = only_run(place)
    assert again.info.run_id != first
    assert again.data.tags["afina.gate"] == "passed"


def test_a_report_with_rows_as_they_are_stays_here(tiny, tmp_path) -> None:
    more = (*SETTINGS, "track.mlflow=local", "evaluate.baselines=[]", "seed=7")
    flow = tiny.workflow(*more, runs="revealed/runs")
    flow.reveal = True
    flow.run.lock()
    flow.everything()
    flow.finish()
    flow.run.unlock()
    place = local_uri(tiny.folder / "revealed")
    assert "report.html" not in downloaded(place, only_run(place).info.run_id, tmp_path / "a")
    masked = tiny.workflow(*more, runs="revealed/runs")
    masked.run.lock()
    masked.do("report")
    masked.finish()
    masked.run.unlock()
    assert "report.html" in downloaded(place, only_run(place).info.run_id, tmp_path / "b")
