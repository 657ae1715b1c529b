"""release/bom.json: the bill of materials of a release, CycloneDX 1.7 (ECMA-424) with a model card.

Written as JSON: cyclonedx-python-lib has no model card and no data components (11.12), so that the tests
alone use it, to check the file against the standard's schema. The file is the same each time it is made
of the same run: its serial number follows from what it names, its time is the run's.

Each claim is tied to something: `citations` name the part of the file and the component it rests on,
and say `checkable` where that component has a hash that can be compared, `declared` where somebody says
it and nothing proves it.
"""

from __future__ import annotations

import re
import uuid
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from afina.recipe import Source
from afina.releases.bill_model import model_card
from afina.releases.facts import Facts, hub_datasets, shown_source
from afina.releases.licences import SPDX, UNKNOWN, Licence
from afina.runs.files import read_json, sha256_of, sha256_of_value

SPACE = uuid.UUID("6f3c1c9e-4a0b-5d0e-9a53-2d0f6b8e7a11")  # of the serial numbers of Afina's bills
# Written after the bill, or about it.
NOT_LISTED = ("bom.json", "manifest.json", "README.md", "README.en.md", "README.es.md")
MODEL, BASE, TOOL, RECIPE = "model", "base", "tool:afina", "recipe"

Component = dict[str, Any]


def bill(facts: Facts) -> dict[str, Any]:
    """The value of bom.json. Reads the files of the release, which must be all there but the texts."""
    release = facts.run.path("release")
    made_at = str(read_json(facts.run.path("run.json"))["made_at"])
    files = [_file(path, release) for path in sorted(release.rglob("*")) if _is_listed(path, release)]
    data = [_data_file(name, digest) for name, digest in sorted(facts.data.items())]
    sources = [_source(facts, one) for one in enumerate(facts.recipe.data.train, 1)]
    packages = [_package(name) for name in _packages()]
    base = _base(facts)
    components = [_model(facts, files, base), base, _recipe(facts), *data, *sources, *packages]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{uuid.uuid5(SPACE, sha256_of_value([made_at, components]))}",
        "version": 1,
        "metadata": {
            "timestamp": made_at,
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [_afina()]},
            "component": {
                "type": "application",
                "bom-ref": "release",
                "name": facts.name,
                "version": str(facts.run.number),
                "description": f"The release of run {facts.run.title}: files and their texts.",
            },
        },
        "components": components,
        "dependencies": _dependencies(data, sources, packages),
        "citations": _citations(facts, components, made_at),
    }


def _dependencies(
    data: list[Component], sources: list[Component], packages: list[Component]
) -> list[dict[str, Any]]:
    """The release holds the model, which came of base, recipe, data and packages."""
    parts = [BASE, RECIPE, *(one["bom-ref"] for one in (*data, *packages))]
    found = [{"ref": "release", "dependsOn": [MODEL]}, {"ref": MODEL, "dependsOn": parts}]
    train = "data:data/train.parquet"
    if sources and train in parts:
        found.append({"ref": train, "dependsOn": [one["bom-ref"] for one in sources]})
    return found


def _is_listed(path: Path, release: Path) -> bool:
    name = path.relative_to(release)
    return path.is_file() and str(name) not in NOT_LISTED and name.parts[0] != "signatures"


def _hash(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _claim(kind: str, check: str) -> list[dict[str, str]]:
    """Whether a component can be checked, and how."""
    return [{"name": "afina:claim", "value": kind}, {"name": "afina:check", "value": check}]


def _file(path: Path, release: Path) -> Component:
    name = path.relative_to(release).as_posix()
    return {
        "type": "file",
        "bom-ref": f"file:{name}",
        "name": name,
        "hashes": _hash(sha256_of(path)),
        "properties": [
            {"name": "afina:bytes", "value": str(path.stat().st_size)},
            *_claim("checkable", "SHA-256 of this file of the release"),
        ],
    }


def _model(facts: Facts, files: list[Component], base: Component) -> Component:
    """The model: its files inside, the base as its ancestor."""
    weights = {one["name"]: one["hashes"][0]["content"] for one in files if _is_weights(one["name"])}
    one = next(iter(weights.values())) if len(weights) == 1 else sha256_of_value(weights)
    names = ", ".join(sorted(weights))
    of = names if len(weights) == 1 else f"the canonical JSON of name and SHA-256 of: {names}"
    kind = facts.recipe.adapter.kind
    what = "all weights fine-tuned" if kind == "full" else f"a {kind} adapter"
    component: Component = {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": facts.name,
        "version": str(facts.run.number),
        "description": f"{what}, made from {facts.base_name} by Afina in run {facts.run.title}",
        "hashes": _hash(one),
        **_licences(facts.licence),
        "purl": f"pkg:generic/{quote(facts.recipe.name)}@{facts.run.number}",
        "pedigree": {
            "ancestors": [{key: value for key, value in base.items() if key != "bom-ref"}],
            "notes": f"{what} from the ancestor by the recipe with SHA-256 {facts.recipe_sha256}",
        },
        "externalReferences": [
            {"type": "model-card", "url": "README.md"},
            {"type": "quality-metrics", "url": "evaluation.json"},
        ],
        "components": files,
        "modelCard": model_card(facts, sum(_bytes(one) for one in files if _is_weights(one["name"]))),
        "properties": [
            {"name": "afina:hash_of", "value": of},
            {"name": "afina:run", "value": facts.run.title},
            {"name": "afina:seed", "value": str(facts.recipe.seed)},
            *_claim("checkable", "SHA-256 of the weights, as afina:hash_of says"),
        ],
    }
    return component


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


def _bytes(component: Component) -> int:
    found = {one["name"]: one["value"] for one in component["properties"]}
    return int(found["afina:bytes"])


def _base(facts: Facts) -> Component:
    base = facts.settings["base"]
    component: Component = {
        "type": "machine-learning-model",
        "bom-ref": BASE,
        "name": facts.base_name,
        "hashes": _hash(base["sha256"]),
        **_licences(facts.base_licence),
        "properties": [
            {"name": "afina:hash_of", "value": "the canonical JSON of name and SHA-256 of its weights"},
            {"name": "afina:licence_known_from", "value": facts.base_licence.known_from},
            *_claim("checkable", "afina compares it before the base is loaded"),
        ],
    }
    if base["revision"]:
        component["version"] = str(base["revision"])
    if facts.hub_base:
        at = f"@{str(base['revision']).lower()}" if base["revision"] else ""
        component["purl"] = f"pkg:huggingface/{quote(facts.hub_base)}{at}"
        component["externalReferences"] = [
            {"type": "distribution", "url": f"https://huggingface.co/{quote(facts.hub_base)}"}
        ]
    return component


def _licences(licence: Licence) -> dict[str, Any]:
    """The licence as its maker declares it; nothing where it is not known."""
    if licence.id == UNKNOWN:
        return {}
    if licence.id in SPDX:
        named: dict[str, str] = {"id": SPDX[licence.id]}
    else:
        duties = licence.duties
        named = {"name": duties.name if duties else licence.name or licence.id}
        if link := duties.agreement if duties else licence.link:
            named["url"] = quote(link, safe="/:?#[]@!$&'()*+,;=%~")
    return {"licenses": [{"license": {**named, "acknowledgement": "declared"}}]}


def _recipe(facts: Facts) -> Component:
    return {
        "type": "data",
        "bom-ref": RECIPE,
        "name": "recipe.yaml",
        "hashes": _hash(facts.recipe_sha256),
        "data": [{"type": "configuration", "name": "recipe.yaml"}],
        "properties": [
            {"name": "afina:hash_of", "value": "the canonical JSON of the recipe with all its defaults"},
            *_claim("checkable", "afina runs show of the run, or the same recipe again"),
        ],
    }


def _data_file(name: str, digest: str) -> Component:
    """One file that the data stage wrote; it stays where the model was trained."""
    return {
        "type": "data",
        "bom-ref": f"data:{name}",
        "name": name,
        "hashes": _hash(digest),
        "data": [{"type": "dataset" if name.endswith(".parquet") else "other", "name": name}],
        "properties": _claim("checkable", "SHA-256 of this file in the run; it is not in the release"),
    }


def _source(facts: Facts, numbered: tuple[int, Source]) -> Component:
    """Where rows came from, as the recipe says."""
    number, source = numbered[0], numbered[1].source
    shown = shown_source(source)
    component: Component = {
        "type": "data",
        "bom-ref": f"source:{number}",
        "name": shown,
        "data": [{"type": "dataset", "name": shown}],
        "properties": _claim("declared", "the recipe names it; its rows are in data/*.parquet"),
    }
    path = source.removeprefix("hf:").partition("@")[0].partition(":")[0]
    if source.startswith("hf:") and path in hub_datasets(facts.recipe):
        url = f"https://huggingface.co/datasets/{quote(path)}"
        component["externalReferences"] = [{"type": "distribution", "url": url}]
    return component


def _packages() -> list[str]:
    """The packages that Afina needs, as its own metadata names them, without extras."""
    found = {"afina"}
    for line in requires("afina") or []:
        if "extra ==" not in line:
            found.add(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower())
    return sorted(found)


def _package(name: str) -> Component:
    try:
        installed = version(name)
    except PackageNotFoundError:
        installed = ""
    at = f"@{quote(installed, safe='')}" if installed else ""
    component: Component = {
        "type": "library",
        "bom-ref": f"package:{name}",
        "name": name,
        "purl": f"pkg:pypi/{name.lower().replace('_', '-')}{at}",
        "properties": _claim("declared", "the version that was installed where the release was made"),
    }
    return {**component, "version": installed} if installed else component


def _afina() -> Component:
    return {"type": "application", "bom-ref": TOOL, "name": "afina", "version": version("afina")}


def _citations(facts: Facts, components: list[Component], made_at: str) -> list[dict[str, Any]]:
    """What each part of the model card rests on."""
    card = "/components/0/modelCard"
    evaluation = "file:evaluation.json"
    parts = [
        ([f"{card}/quantitativeAnalysis"], evaluation, "checkable: the figures of evaluation.json"),
        ([f"{card}/modelParameters/datasets"], MODEL, "checkable: the hashes of the data components"),
        (["/components/0/hashes"], MODEL, "checkable: the files inside this component"),
        (["/components/0/pedigree"], BASE, "checkable: the hash of the base's weights"),
        ([f"{card}/considerations/technicalLimitations"], evaluation, "declared: read from the run"),
        ([f"{card}/considerations/useCases"], RECIPE, "declared: the recipe and the task"),
        ([f"{card}/properties"], RECIPE, "declared: the recipe and the base's config.json"),
    ]
    if "licenses" in components[0]:
        note = f"declared: known from {facts.licence.known_from}"
        at = "file:LICENSE" if "file:LICENSE" in _refs(components[0]) else BASE
        parts.append((["/components/0/licenses"], at, note))
    return [
        {"pointers": pointers, "timestamp": made_at, "attributedTo": to, "note": note}
        for pointers, to, note in parts
        if _resolves(components, pointers[0]) and to in _refs(*components)
    ]


def _refs(*components: Component) -> set[str]:
    """The bom-refs of components and of those inside them."""
    inside = [part for one in components for part in one.get("components", [])]
    return {str(one["bom-ref"]) for one in (*components, *inside)}


def _resolves(components: list[Component], pointer: str) -> bool:
    value: Any = {"components": components}
    for step in pointer.strip("/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value.get(step)
        if value is None:
            return False
    return True
