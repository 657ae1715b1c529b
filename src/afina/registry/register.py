"""Makes a version of a finished release."""

from __future__ import annotations

from afina.errors import AfinaError
from afina.inference.intact import require_intact
from afina.language import _
from afina.registry.admission import COPY
from afina.registry.changes import change, settle, who
from afina.registry.copies import send_copy, send_signatures
from afina.registry.lock import changing
from afina.registry.place import is_server
from afina.registry.store import Model, Registry, Say
from afina.registry.version import (
    Version,
    folder_of_run,
    manifest_sha256,
    standing,
    tags_of,
)
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run
from afina.tracking.note import read_note

NOTE, NOTE_SCHEMA = "registry.json", "afina/registered/1"


def require_release(run: Run) -> None:
    """Refuses a run without a finished release. Raises AfinaError; StorageError for a changed file."""
    release = run.path("release")
    if not (release / "manifest.json").is_file():
        decided = run.path("gate.json")
        refused = decided.exists() and not read_json(decided)["passed"]
        raise AfinaError(
            _("{run} has no finished release to register").format(run=run.title),
            where=str(release),
            fix=_("the gate said no: see `afina gate {run}`").format(run=run.title)
            if refused
            else _("finish it with `afina run`"),
        )
    require_intact(release, signed=False)  # a candidate may be signed later: promotion asks for it


def add(
    registry: Registry, run: Run, why: str, say: Say, candidate: bool = True
) -> tuple[Version, bool]:
    """Makes a version of a run's release, and the candidate of it.

    A release that is registered already stays one version; when it was moved, the registry learns where
    it is now.

    Args:
        candidate: move the alias.
    Returns:
        The version, and whether it is new.
    Raises:
        AfinaError: when there is no finished release, or another process is changing this model.
    """
    require_release(run)
    known = known_version(registry, run)
    artifacts = known.artifacts if known is not None else None
    if is_server(registry.uri):
        if artifacts is None:
            artifacts = send_copy(registry, run, say)
        else:
            send_signatures(registry, run, artifacts)
    if registry.find(run.name) is None:
        registry.make_model(run.name)
    with changing(registry, run.name, who()):
        model = settle(registry, run.name)
        known = known_version(registry, run)
        number = known.number if known is not None else _made(registry, model, run, artifacts)
        if known is not None:
            _follow(registry, known, run)
        if candidate and number not in model.aliases.values():
            change(registry, model, "add", number, {"candidate": number}, why)
    write_json(
        run.path(NOTE),
        {"schema": NOTE_SCHEMA, "uri": registry.uri, "version": f"{run.name}@v{number}", **_mark(run)},
    )
    return registry.version(registry.model(run.name), number), known is None


def _made(registry: Registry, model: Model, run: Run, artifacts: str | None) -> int:
    """Makes the version in the registry."""
    earlier = registry.versions(model)
    tags = tags_of(run, earlier[0].number if earlier else None)
    source = f"{folder_of_run(run)}/release" if artifacts is None else f"runs:/{artifacts}/release"
    tracked = read_note(run)
    of_run = tracked.run_id if artifacts is None and tracked.uri == registry.uri else artifacts
    return registry.make_version(run.name, source, tags, of_run, run.title)


def known_version(registry: Registry, run: Run) -> Version | None:
    """The version of this very release; None when it is not registered."""
    model = registry.find(run.name)
    if model is None:
        return None
    own = manifest_sha256(run.path("release"))
    return next((one for one in registry.versions(model) if one.manifest_sha256 == own), None)


def _follow(registry: Registry, known: Version, run: Run) -> None:
    """Notes where a release lies now, when it is no longer where it was registered."""
    here = folder_of_run(run)
    if known.folder != here and not run.path(COPY).exists() and standing(known) != "intact":
        import socket

        registry.tag_version(known.name, known.number, "afina.folder", here)
        registry.tag_version(known.name, known.number, "afina.host", socket.gethostname())


def is_noted(registry: Registry, run: Run) -> bool:
    """Whether the run's own note says that this release is registered there: nothing needs asking."""
    path = run.path(NOTE)
    if not path.exists():
        return False
    kept = read_json(path)
    return bool(kept.get("uri") == registry.uri and _mark(run).items() <= kept.items())


def _mark(run: Run) -> dict[str, str | None]:
    return {"manifest_sha256": manifest_sha256(run.path("release"))}
