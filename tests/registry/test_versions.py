"""What a version holds, what names it as a run, what is said of a release that is gone or changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

import afina
from afina.errors import AfinaError, StorageError
from afina.evaluation.others import compared_keys, compared_run
from afina.recipe_file import parse_recipe
from afina.registry.finding import split
from afina.registry.place import registry_uri, shown
from afina.runs.folder import find_run
from afina.runs.store import Store
from tests.registry.conftest import PASSES


def test_a_version_holds_what_the_release_is_made_of(place) -> None:
    first = afina.register("tiny@1", why="the first", runs=place.runs)
    second = afina.register("tiny@2", runs=place.runs)
    manifest = place.path("tiny/1/release/manifest.json")
    assert (first.title, first.aliases, first.run) == ("tiny@v1", ("candidate",), "tiny@1")
    assert first.manifest_sha256 == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert first.folder == str(place.path("tiny/1").resolve())
    parents = json.loads(manifest.read_text())["parents"]
    assert first.parents["base.sha256"] == parents["base"]["sha256"]
    assert first.parents["recipe_sha256"] == parents["recipe_sha256"]
    test_rows = place.path("tiny/1/data/test.parquet").read_bytes()
    assert first.parents["data.data/test.parquet"] == hashlib.sha256(test_rows).hexdigest()
    assert "previous_version" not in first.parents
    assert (second.number, second.parents["previous_version"]) == (2, "1")
    assert first.gate == "passed"
    assert first.checks[0].startswith("pass: accuracy of tuned on test: at least 0; ")
    measured = json.loads(place.path("tiny/1/evaluation.json").read_text())["results"]
    line = next(one for one in measured if one["model"] == "tuned" and one["metric"] == "macro_f1")
    assert first.figures["tuned.test.macro_f1"] == {key: line[key] for key in ("value", "ci95", "n")}
    assert first.figures["tuned_minus_base.test.accuracy"]["p_value"] is not None


def test_the_same_release_is_one_version(place) -> None:
    afina.register("tiny@1", runs=place.runs)
    afina.register("tiny@2", runs=place.runs)
    again = afina.register("tiny@1", runs=place.runs)
    assert (again.number, again.aliases) == (1, ("candidate",))
    found = afina.registered("tiny", runs=place.runs)[0]
    assert [version.number for version in found.versions] == [2, 1]
    assert [entry.version for entry in found.model.journal] == [1, 2, 1]


def test_the_store_holds_texts_and_numbers_only(place) -> None:
    afina.register("tiny@1", runs=place.runs)
    afina.promote("tiny@1", runs=place.runs)
    files = sorted(path.name for path in (place.folder / "tracking").rglob("*"))
    assert files == [".registry.lock", "mlflow.db"]
    store = sqlite3.connect(place.folder / "tracking" / "mlflow.db")
    tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
    for table in tables:
        for row in store.execute(f"select * from {table}"):
            assert all(not isinstance(cell, bytes) for cell in row), table
            assert not any(isinstance(cell, str) and "\x80\x04" in cell for cell in row)


def test_an_alias_and_a_version_are_runs(place, monkeypatch) -> None:
    afina.register("tiny@1", runs=place.runs)
    afina.promote("tiny@1", runs=place.runs)
    afina.register("tiny@2", runs=place.runs)
    for name, number in (("tiny@champion", 1), ("tiny@candidate", 2), ("tiny@v1", 1), ("tiny@v2", 2)):
        assert afina.show_run(name, runs=place.runs).number == number
    assert afina.gate("tiny@candidate", runs=place.runs).number == 2
    titles = afina.compare_runs(["tiny@champion", "tiny@3"], runs=place.runs).titles
    assert titles == ("tiny@1", "tiny@3")
    model = afina.open_model("tiny@champion", runs=place.runs)
    assert set(model.classify(["the tin came"])[0]) == {"fruit", "metal"}
    exported = afina.export("tiny@champion", to="adapter", out=place.folder / "out", runs=place.runs)
    assert (exported.folder / "inference.json").exists()
    # From elsewhere, by the registry's own address.
    monkeypatch.setenv("AFINA_REGISTRY", place.registry.uri)
    assert afina.show_run("tiny@champion", runs=str(place.folder / "nowhere")).number == 1


def test_names_that_mean_nothing_are_told(place) -> None:
    with pytest.raises(AfinaError, match="nothing is registered as `tiny`"):
        afina.show_run("tiny@champion", runs=place.runs)
    afina.register("tiny@1", runs=place.runs)
    with pytest.raises(AfinaError, match="tiny has no champion") as told:
        afina.show_run("tiny@champion", runs=place.runs)
    assert told.value.fix == "it has tiny@candidate"
    with pytest.raises(AfinaError, match="there is no version tiny@v7") as told:
        afina.show_run("tiny@v7", runs=place.runs)
    assert told.value.fix == "registered: tiny@v1"
    with pytest.raises(AfinaError, match="after @ comes its number"):
        afina.show_run("tiny@best", runs=place.runs)
    with pytest.raises(AfinaError, match="names no version"):
        afina.registered_version("tiny@1", runs=place.runs)
    with pytest.raises(AfinaError, match="nothing is registered as `other`") as told:
        afina.registered("other", runs=place.runs)
    assert told.value.fix == "registered: tiny"


def test_what_is_not_finished_is_not_registered(place) -> None:
    place.path("tiny/1/release/manifest.json").unlink()
    with pytest.raises(AfinaError, match="has no finished release"):
        afina.register("tiny@1", runs=place.runs)
    adapter = place.path("tiny/2/release/adapter/adapter_model.safetensors")
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"\x07")
    with pytest.raises(StorageError, match="changed or damaged"):
        afina.register("tiny@2", runs=place.runs)
    assert afina.registered(runs=place.runs) == []


def test_a_release_that_is_not_as_it_was_is_told(place) -> None:
    afina.register("tiny@1", runs=place.runs)
    afina.promote("tiny@1", runs=place.runs)
    root = place.path("tiny/1")
    root.rename(place.path("elsewhere"))

    def standing() -> str:
        return afina.registered("tiny", runs=place.runs)[0].standings[0]

    assert standing() == "gone"
    with pytest.raises(StorageError, match="moved or deleted") as told:
        afina.open_model("tiny@champion", runs=place.runs)
    assert "afina registry add FOLDER" in str(told.value)
    # Registered again from where it is now, it is the same version.
    again = afina.register(place.path("elsewhere"), runs=place.runs)
    assert (again.number, again.folder) == (1, str(place.path("elsewhere").resolve()))
    assert standing() == "intact"
    assert afina.show_run("tiny@champion", runs=place.runs).folder == place.path("elsewhere").resolve()
    manifest = place.path("elsewhere/release/manifest.json")
    manifest.write_text(manifest.read_text().replace('"seed": 13', '"seed": 14'))
    assert standing() == "changed"
    with pytest.raises(StorageError, match="was changed since it was registered"):
        afina.open_model("tiny@champion", runs=place.runs)
    shutil.rmtree(place.path("elsewhere"))
    assert standing() == "gone"


def test_somebody_elses_model_is_left_alone(place) -> None:
    place.registry.client.create_registered_model("tiny")
    with pytest.raises(AfinaError, match="that Afina did not make"):
        afina.register("tiny@1", runs=place.runs)
    assert afina.registered(runs=place.runs) == []


def test_an_evaluation_stays_with_the_champion_that_it_met(place) -> None:
    afina.promote("tiny@1", runs=place.runs)
    run = find_run("tiny@3", place.runs)
    changed = [PASSES, "evaluate.compare=[tiny@champion]"]
    recipe = parse_recipe(run.path("recipe.yaml").read_text(), "recipe.yaml", changed)
    before = compared_keys(run, recipe)
    assert before["tiny@champion"]["run"] == "tiny@1"
    assert compared_run(run, "tiny@champion").root == place.path("tiny/1").resolve()
    afina.promote("tiny@3", runs=place.runs)
    assert compared_keys(run, recipe) == before, "so that nothing of a finished run is done again"
    other = find_run("tiny@2", place.runs)
    assert compared_run(other, "tiny@champion").title == "tiny@3"


def test_runs_at_a_uri_are_registered_by_their_uri(place, empty_store) -> None:
    runs = f"memory://{place.folder.name}/runs"
    Store(runs).push(place.path("tiny/1"), "tiny/1")
    beside = place.folder / "cache" / "tracking"
    beside.mkdir(parents=True)
    shutil.copy(empty_store, beside / "mlflow.db")
    done = afina.promote("tiny@1", runs=runs)
    assert done.version.folder == f"{runs}/tiny/1"
    shown = afina.show_run("tiny@champion", runs=runs)
    assert (shown.number, shown.folder.is_relative_to(place.folder / "cache")) == (1, True)
    assert afina.registered("tiny", runs=runs)[0].standings == ("intact",)
    store = Store(runs)
    store.remote.rm(f"/{place.folder.name}/runs/tiny", recursive=True)
    assert afina.registered("tiny", runs=runs)[0].standings == ("gone",)


def test_the_place_of_the_registry(tmp_path, monkeypatch) -> None:
    runs = str(tmp_path / "runs")
    monkeypatch.delenv("AFINA_REGISTRY", raising=False)
    assert registry_uri(runs) == f"sqlite:///{tmp_path}/tracking/mlflow.db"
    monkeypatch.setenv("AFINA_REGISTRY", "http://there:5000")
    assert registry_uri(runs) == "http://there:5000"
    assert registry_uri(runs, "local") == f"sqlite:///{tmp_path}/tracking/mlflow.db"
    assert registry_uri(runs, "sqlite:////a/b.db") == "sqlite:////a/b.db"
    for wrong in ("there", "file:///a", "http://", "sqlite:///"):
        with pytest.raises(AfinaError, match="no place of a registry"):
            registry_uri(runs, wrong)
    assert shown("https://ana:secret@there:5000/x") == "https://there:5000/x"


@given(st.text("abv@0129champion-_/", max_size=14))
def test_only_aliases_and_versions_are_taken_apart(text: str) -> None:
    parts = split(text)
    if parts is not None:
        assert "@".join(parts) == text
        assert parts[0]
        assert parts[1] in ("champion", "candidate", "previous") or int(parts[1].removeprefix("v")) > 0
    assert split(f"tiny@{text}") is None or text[:1] in "cpv"
