"""The parts of tracking with known answers: flat names, new lines, the event file, refusals."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from afina.errors import MissingExtra, RecipeError
from afina.recipe_file import parse_recipe
from afina.tracking import Tracking
from afina.tracking.flat import LONGEST_NAME, flat, of_evaluation, of_line, parameters, safe_name
from afina.tracking.lines import NewLines
from tests.tiny import metrics
from tests.tracking.conftest import SETTINGS

TEXT = "name: t\ndata: {train: rows.csv}\n"


def test_nested_settings_become_dotted_names() -> None:
    value = {"a": {"b": [{"c": 1.5}, {"c": None}], "d": []}, "e": True, "f": "0.10"}
    assert flat(value) == {"a.b.0.c": "1.5", "a.b.1.c": "null", "a.d": "[]", "e": "true", "f": "0.10"}


def test_a_long_value_says_that_it_is_cut_and_where_it_is_whole() -> None:
    found = parameters({"task": {"instruction": "x" * 2000}}, {})["task.instruction"]
    assert len(found) == 500
    assert found.endswith("… (2000 characters; all of them in recipe.yaml)")
    assert parameters({"a": "y" * 500}, {"train.precision": "bf16"}) == {
        "a": "y" * 500,
        "resolved.train.precision": "bf16",
    }


@settings(deadline=None)
@given(some.text(max_size=400), some.text(max_size=400))
@example("0/.", "")
@example("../a/./b", "./")
def test_names_are_such_as_mlflow_takes_and_stay_apart(one: str, other: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(safe_name(one))
    assert len(safe_name(one)) <= LONGEST_NAME
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_figures_of_sets_and_slices() -> None:
    result = {"model": "tuned", "set": "late", "metric": "auc", "value": 0.9, "ci95": [0.8, 0.95]}
    compared = {"a": "tuned", "b": "base", "set": "test", "slice": None, "metric": "auc"}
    compared |= {"difference": 0.2, "ci95": None, "p_value": 0.01}
    sliced = {**result, "slice": {"country": "MX"}, "ci95": None}
    found = of_evaluation({"results": [result, sliced], "comparisons": [compared]})
    assert found == {
        "tuned.late.auc": 0.9,
        "tuned.late.auc.low": 0.8,
        "tuned.late.auc.high": 0.95,
        "tuned.late.country:MX.auc": 0.9,
        "tuned_minus_base.test.auc": 0.2,
        "tuned_minus_base.test.auc.p_value": 0.01,
    }


def test_what_was_not_measured_is_left_out() -> None:
    line = {"step": 3, "split": "validation", "loss": 0.5, "perplexity": None, "learning_rate": None}
    assert of_line(line) == {"validation.loss": 0.5}
    assert of_line({**line, "loss": float("nan")}) == {}


def line(step: int, split: str = "train") -> str:
    return json.dumps({"step": step, "split": split, "loss": step / 10}) + "\n"


def steps(found) -> list[int]:
    return [one["step"] for one in found.lines]


def test_lines_come_once_also_when_training_takes_some_back(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = NewLines(path)
    assert steps(lines.waiting()) == []
    path.write_text(line(1) + line(2) + '{"step": 3')
    batch = lines.waiting()
    assert steps(batch) == [1, 2]
    assert steps(lines.waiting()) == [1, 2], "not sent yet"
    lines.sent(batch)
    assert steps(lines.waiting()) == []
    path.write_text(line(1) + line(2) + line(3))
    lines.sent(lines.waiting())
    path.write_text(line(1))  # going on from a checkpoint
    assert steps(lines.waiting()) == []
    path.write_text(line(1) + line(2) + line(3) + line(4) + line(4, "validation"))
    found = lines.waiting()
    assert [(one["step"], one["split"]) for one in found.lines] == [(4, "train"), (4, "validation")]
    assert steps(NewLines(path, {"train": 3, "validation": 4}).waiting()) == [4]


def test_many_lines_come_in_parts(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line(step) for step in range(1, 26)))
    lines, seen = NewLines(path), []
    while True:
        batch = lines.waiting(10)
        seen.append(steps(batch))
        lines.sent(batch)
        if batch.last:
            break
    assert [len(part) for part in seen] == [10, 10, 5]
    assert [step for part in seen for step in part] == list(range(1, 26))


def records(path: Path) -> list[bytes]:
    """The records of a TensorBoard event file: length, its CRC, data, its CRC (TFRecord)."""
    from tensorboardX.crc32c import crc32c

    def masked(data: bytes) -> int:
        crc = crc32c(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    content, found = path.read_bytes(), []
    while content:
        size, check = struct.unpack("<QI", content[:12])
        data = content[12 : 12 + size]
        assert check == masked(content[:8])
        assert struct.unpack("<I", content[12 + size : 16 + size])[0] == masked(data)
        found.append(data)
        content = content[16 + size :]
    return found


def test_the_event_file_holds_the_course(tiny) -> None:
    from tensorboardX.proto.event_pb2 import Event

    run = tiny.run(*SETTINGS, "track.tensorboard=true", "seed=6", runs="events/runs")
    (path,) = run.path("tensorboard").iterdir()
    found: dict[str, list[tuple[int, float]]] = {}
    for record in records(path):
        event = Event.FromString(record)
        for one in event.summary.value:
            found.setdefault(one.tag, []).append((event.step, one.simple_value))
    for split in ("train", "validation"):
        expected = [(one["step"], one["loss"]) for one in metrics(run) if one["split"] == split]
        assert [step for step, _loss in found[f"{split}/loss"]] == [step for step, _loss in expected]
        for (_step, drawn), (_same, loss) in zip(found[f"{split}/loss"], expected, strict=True):
            assert drawn == pytest.approx(loss, rel=1e-6)
    assert (
        not run.path("tracking.json").exists() or "mlflow" not in run.path("tracking.json").read_text()
    )


@pytest.mark.parametrize(
    ("track", "said"),
    [
        ("{mlflow: 'http://ann:secret@host'}", "leave out user and password"),
        ("{mlflow: 'postgresql://ann:secret@host/db'}", "leave out user and password"),
        ("{mlflow: 'file:///tmp/mlruns'}", "sqlite:///PATH.db"),
        ("{mlflow: yes}", "give local, or an address"),
        ("{mlflow: mlruns}", "give local, or an address"),
        ("{experiment: x}", "belongs to track.mlflow, which is null"),
    ],
)
def test_a_place_that_cannot_be_is_refused(track: str, said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        parse_recipe(f"{TEXT}track: {track}\n", "r.yaml", [])
    assert said in str(refused.value)
    assert "track." in str(refused.value)


@pytest.mark.parametrize(
    "track",
    ["local", "http://host:5000", "sqlite:///m.db", "postgresql://ann@host/db", "databricks", "null"],
)
def test_places_that_are_taken(track: str) -> None:
    recipe = parse_recipe(
        f"{TEXT}track: {{mlflow: '{track}'}}\n".replace("'null'", "null"), "r.yaml", []
    )
    assert recipe.track.mlflow == (None if track == "null" else track)


def test_without_the_packages_it_is_refused_at_the_start(tiny, monkeypatch) -> None:
    run = tiny.workflow().run
    for setting, package in (
        ("track.mlflow=local", "mlflow"),
        ("track.tensorboard=true", "tensorboardX"),
    ):
        monkeypatch.setattr("afina.tracking.live.find_spec", lambda name: None)
        for name in ("mlflow.tracking", "tensorboardX.event_file_writer"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtra, match=package) as missing:
            Tracking(run, tiny.recipe(setting)).require()
        assert "afina[track]" in str(missing.value.fix)
