"""bom.json: valid by CycloneDX's own schema, the same each time, and every hash that of a file."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from afina.releases.bill import bill
from afina.releases.facts import facts_of
from afina.releases.texts import write_texts
from tests.releases.conftest import say_licence
from tests.tiny import value


@pytest.fixture(scope="module")
def bom(made) -> dict[str, Any]:
    return value(made, "release/bom.json")


@pytest.fixture(scope="module")
def validator():
    return JsonStrictValidator(SchemaVersion.V1_7)


def everything(bom: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every component by its reference, also those inside others."""
    found = {}
    waiting = [*bom["components"], bom["metadata"]["component"], *bom["metadata"]["tools"]["components"]]
    while waiting:
        one = waiting.pop()
        found[one["bom-ref"]] = one
        waiting += one.get("components", [])
    return found


def at(value: Any, pointer: str) -> Any:
    for step in pointer.strip("/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def test_it_is_valid_and_a_wrong_one_is_not(made, validator, bom):
    text = made.path("release/bom.json").read_text("utf-8")
    assert validator.validate_str(text) is None
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.7")
    wrong = {**bom, "serialNumber": "42"}
    assert validator.validate_str(json.dumps(wrong)) is not None


def test_it_is_made_the_same_each_time(made, bom):
    assert bill(facts_of(made, made.recipe())) == bom
    assert bom["metadata"]["timestamp"] == value(made, "run.json")["made_at"]
    assert uuid.UUID(bom["serialNumber"].removeprefix("urn:uuid:")).version == 5


def test_every_file_of_the_release_is_in_it_with_its_hash(made, bom):
    release = made.path("release")
    model = bom["components"][0]
    assert model["type"] == "machine-learning-model"
    listed = {one["name"]: one["hashes"][0]["content"] for one in model["components"]}
    there = {
        path.relative_to(release).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in release.rglob("*")
        if path.is_file()
    }
    later = {"bom.json", "manifest.json", "README.md", "README.es.md"}
    assert listed == {name: digest for name, digest in there.items() if name not in later}
    assert value(made, "release/manifest.json")["files"]["bom.json"]["sha256"] == there["bom.json"]


def test_the_hash_of_the_model_is_over_its_weights(made, bom):
    model = bom["components"][0]
    weights = {
        one["name"]: one["hashes"][0]["content"]
        for one in model["components"]
        if one["name"].endswith(".safetensors")
    }
    canonical = json.dumps(weights, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert model["hashes"][0]["content"] == hashlib.sha256(canonical.encode()).hexdigest()


def test_base_recipe_and_data_are_there_with_their_hashes(made, bom):
    found = everything(bom)
    manifest = value(made, "release/manifest.json")["parents"]
    assert found["base"]["hashes"][0]["content"] == manifest["base"]["sha256"]
    assert found["recipe"]["hashes"][0]["content"] == manifest["recipe_sha256"]
    for name, digest in manifest["data"].items():
        assert found[f"data:{name}"]["hashes"][0]["content"] == digest
    (ancestor,) = bom["components"][0]["pedigree"]["ancestors"]
    assert ancestor["hashes"] == found["base"]["hashes"]


def test_each_claim_is_checkable_by_a_hash_or_marked_as_declared(bom):
    found = everything(bom)
    for name, component in found.items():
        if name in ("release", "tool:afina"):
            continue
        claims = {one["name"]: one["value"] for one in component["properties"]}
        assert claims["afina:claim"] in ("checkable", "declared"), name
        assert claims["afina:check"]
        assert (claims["afina:claim"] == "checkable") == ("hashes" in component), name
    parts = {pointer for one in bom["citations"] for pointer in one["pointers"]}
    assert {
        f"/components/0/modelCard/{part}" for part in ("quantitativeAnalysis", "properties")
    } <= parts
    for one in bom["citations"]:
        kind = one["note"].partition(":")[0]
        assert kind in ("checkable", "declared")
        if kind == "checkable":
            assert found[one["attributedTo"]]["hashes"]
        for pointer in one["pointers"]:
            assert at(bom, pointer)


def test_references_lead_to_components(bom):
    found = everything(bom)
    for one in bom["dependencies"]:
        assert {one["ref"], *one["dependsOn"]} <= found.keys()
    assert {one["attributedTo"] for one in bom["citations"]} <= found.keys()
    for one in bom["components"][0]["modelCard"]["modelParameters"]["datasets"]:
        assert one["ref"] in found


def test_packages_have_version_and_address(bom):
    from importlib.metadata import version

    packages = {one["name"]: one for one in bom["components"] if one["type"] == "library"}
    assert {"torch", "transformers", "peft", "safetensors", "numpy"} <= packages.keys()
    for name, one in packages.items():
        address = PackageURL.from_string(one["purl"])
        assert (address.type, address.name, address.version) == ("pypi", name, version(name))


def test_figures_are_the_evaluations_own(made, bom):
    metrics = bom["components"][0]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    lines = [line for line in value(made, "evaluation.json")["results"] if line["model"] == "tuned"]
    assert len(metrics) == len([line for line in lines if line["value"] is not None])
    for line in lines:
        if line["slice"] is None and line["ci95"][0] is not None:
            (found,) = [
                one
                for one in metrics
                if (one["type"], one["slice"]) == (line["metric"], f"{line['set']}, n = {line['n']}")
            ]
            assert float(found["value"]) == line["value"]
            ends = found["confidenceInterval"]
            assert [float(ends["lowerBound"]), float(ends["upperBound"])] == line["ci95"]


def test_energy_is_not_made_up(bom):
    facts = bom["components"][0]["modelCard"]["considerations"]["environmentalConsiderations"]
    said = {one["name"]: one["value"] for one in facts["properties"]}
    assert said["afina:energy"] == "not measured"
    assert float(said["afina:training_seconds"]) > 0
    assert "energyConsumptions" not in facts


@pytest.mark.parametrize("licence", ["llama3", "llama3.1", "mit", "other", "openrail"])
def test_it_stays_valid_under_every_kind_of_licence(copied, base_folder, validator, licence):
    say_licence(base_folder, licence, license_link="https://x.example/a b")
    write_texts(copied, copied.recipe())
    assert validator.validate_str(copied.path("release/bom.json").read_text("utf-8")) is None
    (named,) = value(copied, "release/bom.json")["components"][0]["licenses"]
    assert named["license"]["acknowledgement"] == "declared"
    assert ("id" in named["license"]) == (licence == "mit")


def test_odd_labels_and_names_stay_valid(made, validator):
    import dataclasses

    from afina.recipe_release import Release

    facts = facts_of(made, made.recipe())
    settings = {**facts.settings, "labels": ["a|b\n", '"<ñ>"', "\u202e"]}
    recipe = facts.recipe.model_copy(update={"release": Release(intended_use="'\"\\\n\t<b>")})
    odd = dataclasses.replace(facts, settings=settings, recipe=recipe, hub_base="org/Base-ñ 1")
    assert validator.validate_str(json.dumps(bill(odd))) is None
