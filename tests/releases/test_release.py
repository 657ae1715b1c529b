"""What leaves the machine: every file with its hash, and no row of the data."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
from pathlib import Path

import pytest

import afina
import afina.releases.stage as stage
from afina.errors import StorageError
from afina.runs.folder import recipe_hash
from afina.runs.stages import code_hash
from tests.tiny import value


@pytest.fixture(scope="module")
def released(made):
    return made


def files(run) -> dict[str, bytes]:
    folder = run.path("release")
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_manifest_names_every_file_with_its_hash_and_size(released):
    manifest = value(released, "release/manifest.json")
    there = {name: data for name, data in files(released).items() if name != "manifest.json"}
    assert {
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "adapter/tokenizer.json",
    } <= there.keys()
    assert {"head.safetensors", "inference.json", "evaluation.json", "bom.json"} <= there.keys()
    assert {"README.md", "README.es.md"} <= there.keys()
    assert manifest["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in there.items()
    }


def test_the_manifest_names_the_parents(released, tiny):
    manifest = value(released, "release/manifest.json")
    assert manifest["schema"] == "afina/manifest/1"
    assert (manifest["name"], manifest["run"], manifest["seed"]) == ("tiny", "tiny@1", 13)
    parents = manifest["parents"]
    assert parents["base"]["sha256"] == tiny.base.sha256
    assert parents["recipe_sha256"] == recipe_hash(released.recipe())
    train = released.path("data/train.parquet").read_bytes()
    assert parents["data"]["data/train.parquet"] == hashlib.sha256(train).hexdigest()
    from importlib.metadata import version

    assert manifest["packages"]["torch"] == version("torch")
    assert manifest["code"]["afina"] == version("afina")
    assert manifest["code"]["sha256"] == code_hash(("",))
    source = Path(afina.__file__).parent
    asked = ["git", "-C", str(source), "log", "-1", "--format=%H", "--", "."]
    known = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    assert bool(manifest["code"]["commit"]) is bool(known)


def test_what_is_no_part_of_a_model_is_not_released(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/tokenizer.json").write_text("{}")
    stage._require_a_models_files(tmp_path)
    (tmp_path / "adapter/rows.jsonl").write_text("{}")
    with pytest.raises(StorageError, match="no file of a model") as caught:
        stage._require_a_models_files(tmp_path)
    assert caught.value.where == str(tmp_path / "adapter/rows.jsonl")
    (tmp_path / "adapter/rows.jsonl").unlink()
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps({"weights": [1.0]}))
    with pytest.raises(StorageError, match="holds pickle"):
        stage._require_a_models_files(tmp_path)


def test_no_row_of_the_data_is_in_it(released, tiny):
    texts = [json.loads(line)["text"].encode() for line in tiny.rows.read_text().splitlines()]
    for name, data in files(released).items():
        assert not name.endswith((".parquet", ".jsonl", ".csv")), name
        if not name.endswith(("tokenizer.json", ".safetensors")):
            assert not [text for text in texts if text in data], name
            assert b"Lot 3" not in data, name


def test_the_evaluation_in_it_is_the_runs_own(released):
    assert value(released, "release/evaluation.json") == value(released, "evaluation.json")


def test_paths_in_the_settings_are_relative(released):
    settings = value(released, "release/inference.json")
    assert [adapter["path"] for adapter in settings["adapters"]] == ["adapter"]
    assert settings["head"]["path"] == "head.safetensors"
    assert str(released.root) not in json.dumps(settings)
