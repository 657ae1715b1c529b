"""A version: what the registry keeps of one release, and whether that release is still there."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from afina.language import _
from afina.runs.files import read_json, sha256_of
from afina.runs.folder import Run
from afina.runs.store import Store
from afina.tracking.flat import LONGEST_TAG, flat, is_number, safe_name, shortened

SCHEMA = "afina/registry/1"
FIGURE, PARENT, CHECK = "afina.figure.", "afina.parent.", "afina.gate.check."
# intact: as it was registered; copy: only the registry's own copy is left; changed: another manifest;
# gone: moved or deleted; elsewhere: on the disk of another machine.
Standing = Literal["intact", "copy", "changed", "gone", "elsewhere"]


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name, number: `phishing` and 3; people write `phishing@v3`.
        aliases: of champion, candidate, previous, those that it has.
        run: the run whose release it is, `phishing@2`.
        folder: where that run lies: a path on `host`, or a URI.
        manifest_sha256: of the release's manifest.json.
        made_at: when it was registered; ISO 8601, UTC.
        gate: what the gate said when it was registered.
        figures: of the tuned model, by `tuned.SET.METRIC`, each with value, ci95 and n; comparisons by
            `tuned_minus_OTHER.SET.METRIC`, with p_value in place of n.
        parents: base, data hashes, recipe, previous version, by dotted name.
        checks: the gate's limits, each a line.
        artifacts: the MLflow run with a copy of the release; None when there is no copy.
        rolled_back: when and why it was taken back; None when it never was.
    """

    name: str
    number: int
    aliases: tuple[str, ...]
    run: str
    folder: str
    host: str
    manifest_sha256: str
    made_at: str
    gate: str
    figures: dict[str, dict[str, Any]]
    parents: dict[str, str]
    checks: tuple[str, ...]
    artifacts: str | None = None
    rolled_back: str | None = None

    @property
    def title(self) -> str:
        """`phishing@v3`."""
        return f"{self.name}@v{self.number}"

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"title": self.title, **asdict(self)}


def manifest_sha256(release: Path) -> str | None:
    """SHA-256 of the bytes of a release's manifest.json; None when there is none."""
    path = release / "manifest.json"
    return sha256_of(path) if path.is_file() else None


def tags_of(run: Run, previous: int | None) -> dict[str, str]:
    """What the registry keeps of a run's finished release, as tags of a version.

    Args:
        previous: the number of the version before.
    """
    release = run.path("release")
    manifest, decided = read_json(release / "manifest.json"), _decided(run)
    parents = flat(manifest["parents"])
    if previous is not None:
        parents["previous_version"] = str(previous)
    tags = {
        "afina.schema": SCHEMA,
        "afina.run": run.title,
        "afina.folder": folder_of_run(run),
        "afina.host": socket.gethostname(),
        "afina.manifest.sha256": str(manifest_sha256(release)),
        "afina.seed": str(manifest.get("seed")),
        "afina.gate": "passed" if decided.get("passed") else "failed",
        **{PARENT + name: text for name, text in parents.items()},
        **{f"{CHECK}{place}": check_line(one) for place, one in enumerate(decided.get("checks", []))},
        **figure_tags(read_json(release / "evaluation.json")),
    }
    return {safe_name(name): shortened(text, LONGEST_TAG) for name, text in tags.items()}


def _decided(run: Run) -> dict[str, Any]:
    path = run.path("gate.json")
    return dict(read_json(path)) if path.exists() else {}


def folder_of_run(run: Run) -> str:
    """Where a run lies: its absolute path, or its URI."""
    if run.store.remote is not None:
        return f"{run.store.place}/{run.name}/{run.number}"
    return str(run.root.resolve())


def check_line(check: dict[str, Any]) -> str:
    """A limit of the gate and what came of it, as a line."""
    low, high = check.get("ci95") or (None, None)
    interval = f" [{low:.4g}, {high:.4g}]" if is_number(low) and is_number(high) else ""
    value = check.get("value")
    figure = f"{value:.4g}" if is_number(value) else str(value)
    return f"{check['verdict']}: {check['name']}: {check['limit']}; {figure}{interval}"


def figure_tags(evaluation: dict[str, Any]) -> dict[str, str]:
    """The tuned model's figures on whole sets with their intervals, each a JSON text."""
    found: dict[str, Any] = {}
    for line in evaluation.get("results", []):
        if line["model"] == "tuned" and line["slice"] is None:
            name = f"tuned.{line['set']}.{line['metric']}"
            found[name] = {key: line.get(key) for key in ("value", "ci95", "n")}
    for line in evaluation.get("comparisons", []):
        if line["a"] == "tuned" and line["slice"] is None:
            name = f"tuned_minus_{line['b']}.{line['set']}.{line['metric']}"
            value = {"value": line["difference"], "ci95": line["ci95"], "p_value": line.get("p_value")}
            found[name] = value
    return {safe_name(FIGURE + name): json.dumps(value) for name, value in found.items()}


def version_of(entry: Any, aliases: dict[str, int]) -> Version:
    """A model version of MLflow's as ours.

    Args:
        aliases: of its registered model; MLflow's search leaves them out of the versions themselves.
    """
    tags, number = dict(entry.tags), int(entry.version)
    checks = sorted(name for name in tags if name.startswith(CHECK))
    return Version(
        name=entry.name,
        number=number,
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == number)),
        run=tags.get("afina.run", ""),
        folder=tags.get("afina.folder", ""),
        host=tags.get("afina.host", ""),
        manifest_sha256=tags.get("afina.manifest.sha256", ""),
        made_at=_iso(entry.creation_timestamp),
        gate=tags.get("afina.gate", ""),
        figures={
            name.removeprefix(FIGURE): json.loads(text)
            for name, text in sorted(tags.items())
            if name.startswith(FIGURE)
        },
        parents={
            name.removeprefix(PARENT): text
            for name, text in sorted(tags.items())
            if name.startswith(PARENT)
        },
        checks=tuple(tags[name] for name in sorted(checks, key=lambda name: int(name[len(CHECK) :]))),
        artifacts=entry.run_id if str(entry.source).startswith("runs:/") else None,
        rolled_back=tags.get("afina.rolled_back"),
    )


def _iso(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def standing(version: Version) -> Standing:
    """Whether the release is where it was registered, with the manifest that it had then."""
    if "://" in version.folder:
        place, name, number = version.folder.rsplit("/", 2)
        store = Store(place)
        there = number.isdigit() and int(number) in store.numbers(name)
        root = store.fetch(name, int(number), light=True) if there else None
    else:
        root = Path(version.folder) if Path(version.folder).is_dir() else None
    found = manifest_sha256(root / "release") if root is not None else None
    if found == version.manifest_sha256:
        return "intact"
    here = "://" in version.folder or version.host == socket.gethostname()
    if found is not None and here:
        return "changed"
    if version.artifacts:
        return "copy"
    return "gone" if here else "elsewhere"


def standing_in_words(version: Version, state: Standing) -> str:
    """What a person should read of it."""
    words = {
        "intact": _("the release is as it was registered: {folder}"),
        "copy": _("the release is not here ({folder}); the registry has a copy"),
        "changed": _("the release was changed since it was registered: {folder}"),
        "gone": _("the release was moved or deleted: {folder}"),
        "elsewhere": _("the release is on another machine, {host}: {folder}"),
    }
    return words[state].format(folder=version.folder, host=version.host)
