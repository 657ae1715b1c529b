"""A copy of a release on an MLflow server, so that other machines can have it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from afina.errors import StorageError
from afina.language import _
from afina.registry.admission import COPY
from afina.registry.place import shown
from afina.registry.store import Registry, Say
from afina.registry.version import Version, manifest_sha256
from afina.runs.files import atomic_folder, read_json, write_json
from afina.runs.folder import RUN_SCHEMA, Run
from afina.runs.store import cache_folder
from afina.tracking.flat import of_evaluation
from afina.tracking.note import read_note

BESIDE = ("recipe.yaml", "evaluation.json", "gate.json")
_MANY = 900
_TAG = "afina.manifest.sha256"


def send_copy(registry: Registry, run: Run, say: Say) -> str:
    """Sends the release, recipe, evaluation and the gate's word to the server, unless it has them.

    Returns:
        The id of the MLflow run that holds them: the tracked one, or one made for the copy.
    """
    own = str(manifest_sha256(run.path("release")))
    note = read_note(run)
    if note.uri == registry.uri and note.run_id and note.artifacts.get("release/manifest.json") == own:
        return note.run_id
    say(_("sending the release to {place}").format(place=shown(registry.uri)))
    with registry.answering():
        client = registry.client
        experiment = _experiment(client, run.name)
        found = client.search_runs([experiment], filter_string=f"tags.`{_TAG}` = '{own}'", max_results=1)
        if found:
            copied = found[0]
        else:
            tags = {_TAG: own, "afina.run": run.title}
            copied = client.create_run(experiment, tags=tags, run_name=run.title)
        run_id = str(copied.info.run_id)
        if copied.info.status != "FINISHED":
            _send(client, run, run_id)
            client.set_terminated(run_id, "FINISHED")
    return run_id


def _experiment(client: Any, name: str) -> str:
    """The experiment of a name; made when there is none."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))


def _send(client: Any, run: Run, run_id: str) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    figures = of_evaluation(read_json(run.path("release/evaluation.json")))
    metrics = [Metric(name, value, now, 0) for name, value in figures.items()]
    for start in range(0, len(metrics), _MANY):
        client.log_batch(run_id, metrics=metrics[start : start + _MANY])
    paths = [run.path(name) for name in BESIDE if run.path(name).exists()]
    # The manifest last: a copy with one is whole.
    inside = [path for path in sorted(run.path("release").rglob("*")) if path.is_file()]
    for path in paths + sorted(inside, key=lambda path: path.name == "manifest.json"):
        above = path.relative_to(run.root).parent.as_posix()
        client.log_artifact(run_id, str(path), None if above == "." else above)


def send_signatures(registry: Registry, run: Run, run_id: str) -> None:
    """Sends the release's signatures, which may have been made after it was registered."""
    folder = run.path("release/signatures")
    if folder.is_dir():
        with registry.answering():
            registry.client.log_artifacts(run_id, str(folder), "release/signatures")


def fetch_copy(registry: Registry, version: Version, say: Say) -> Path:
    """A folder in Afina's cache with the registry's copy of a release: a run that can be used.

    Raises:
        StorageError: when the copy is not the release that was registered.
    """
    title, digest = f"{version.name}-v{version.number}", version.manifest_sha256
    folder = cache_folder() / "registry" / f"{title}-{digest[:16]}"
    if (folder / "run.json").exists():
        return folder
    say(_("fetching {title} from {place}").format(title=version.title, place=shown(registry.uri)))
    with atomic_folder(folder) as temporary:
        with registry.answering():
            client = registry.client
            client.download_artifacts(version.artifacts, "release", str(temporary))
            there = {one.path for one in client.list_artifacts(version.artifacts)}
            for name in BESIDE:
                if name in there:
                    client.download_artifacts(version.artifacts, name, str(temporary))
        if manifest_sha256(temporary / "release") != digest:
            raise StorageError(
                _("the registry's copy of {title} is not what was registered").format(
                    title=version.title
                ),
                where=shown(registry.uri),
                fix=_("register the release again from where it was made"),
            )
        name, _at, number = version.run.partition("@")
        write_json(temporary / COPY, {"schema": "afina/copy/1", "version": version.title})
        write_json(
            temporary / "run.json",
            {
                "schema": RUN_SCHEMA,
                "name": name,
                "number": int(number or 0),
                "recipe_sha256": None,
                "made_at": version.made_at,
                "resolved": {},
            },
        )
    return folder
