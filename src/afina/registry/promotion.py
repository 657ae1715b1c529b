"""Which version is in use: promoted when everything that is asked of it holds, taken back in seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.language import _
from afina.registry.admission import PromotionRefused, require_admissible
from afina.registry.changes import before_that, change, settle, who
from afina.registry.finding import folder_of_version, run_of
from afina.registry.lock import changing
from afina.registry.place import shown
from afina.registry.store import Entry, Registry, Say
from afina.registry.version import Version, manifest_sha256
from afina.runs.files import read_json

TARGETS = ("champion", "candidate")


@dataclass(frozen=True)
class Promotion:
    """What a promotion or a rollback did.

    Attributes:
        version: the one that has the alias now. alias: champion or candidate.
        replaced: the title of the champion before, which a promotion made previous; None without one.
        changed: False when the version had the alias already.
        entry: what the journal keeps of it; None when nothing changed.
    """

    version: Version
    alias: str
    replaced: str | None
    changed: bool
    entry: Entry | None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "version": self.version.as_json()}


def promote(
    registry: Registry, version: Version, to: str, why: str, signature: bool, runs: str, say: Say
) -> Promotion:
    """Makes a version the champion, and the champion the previous one; or makes it the candidate.

    What is asked is asked before other changes are kept out, since hashing a large release takes long;
    that the release is still that one is asked again inside.

    Args:
        to: champion or candidate. Nothing is asked of a candidate.
        signature: ask for the signature of somebody who is trusted.
    Raises:
        PromotionRefused: when the gate, the release or its signature says no.
        AfinaError: when another process is changing the aliases.
    """
    if to not in TARGETS:
        raise AfinaError(
            _("nothing can be promoted to {alias!r}").format(alias=to),
            fix=_("use one of {known}").format(known=", ".join(TARGETS)),
        )
    if to == "champion":
        run = run_of(registry, version, runs, say)
        require_admissible(run, version.title, version.manifest_sha256, signature, say)
        if version.rolled_back:
            say(
                _("{title} was rolled back: {when}").format(
                    title=version.title, when=version.rolled_back
                )
            )
    with changing(registry, version.name, who()):
        model = settle(registry, version.name)
        before = model.aliases.get("champion")
        replaced = f"{version.name}@v{before}" if before is not None else None
        if model.aliases.get(to) == version.number:
            return Promotion(registry.version(model, version.number), to, replaced, False, None)
        if to == "champion":
            if manifest_sha256(run.path("release")) != version.manifest_sha256:
                raise PromotionRefused(
                    _("{title} was changed while it was looked at").format(title=version.title),
                    where=str(run.root),
                )
            after = {"champion": version.number, "previous": before}
            if model.aliases.get("candidate") == version.number:
                after["candidate"] = None
            entry = change(registry, model, "promote", version.number, after, why)
        else:
            entry = change(registry, model, "add", version.number, {"candidate": version.number}, why)
            replaced = None
    model = registry.model(version.name)
    return Promotion(registry.version(model, version.number), to, replaced, True, entry)


def rollback(registry: Registry, name: str, why: str, say: Say) -> Promotion:
    """Makes the previous version the champion again, and the one before it the previous one.

    Quick whatever the size of the model: that the release is there, with its manifest and every file in
    its size. Hashes and signatures are compared when it is loaded, as always.

    Raises:
        PromotionRefused: when there is nothing to go back to, or its release is not there any more.
    """
    with changing(registry, name, who()):
        model = settle(registry, name)
        champion, previous = model.aliases.get("champion"), model.aliases.get("previous")
        if champion is None or previous is None:
            raise PromotionRefused(
                _("{name} has no previous version to go back to").format(name=name),
                where=shown(registry.uri),
                fix=_("promote another version: `afina registry show {name}` lists them").format(
                    name=name
                ),
            )
        version = registry.version(model, previous)
        require_there(registry, version, say)
        earlier = before_that(model, champion, previous)
        if earlier not in {None, *(one.number for one in registry.versions(model))}:
            earlier = None  # deleted since
        after = {"champion": previous, "previous": earlier}
        entry = change(registry, model, "rollback", previous, after, why)
    when = f"{datetime.now(UTC).isoformat(timespec='seconds')} {entry.who} {why}".strip()
    registry.tag_version(name, champion, "afina.rolled_back", when)
    model = registry.model(name)
    return Promotion(registry.version(model, previous), "champion", f"{name}@v{champion}", True, entry)


def require_there(registry: Registry, version: Version, say: Say) -> None:
    """Refuses to go back to a release that could not be loaded. Raises PromotionRefused."""
    try:
        folder = folder_of_version(registry, version, say)
    except AfinaError as error:
        raise PromotionRefused(
            _("{title} cannot be gone back to: {why}").format(title=version.title, why=error.what),
            where=error.where,
            fix=error.fix,
        ) from None
    if "://" in folder:
        return
    release = Path(folder) / "release"
    for name, kept in read_json(release / "manifest.json")["files"].items():
        path = release / name
        if not path.is_file() or path.stat().st_size != kept["bytes"]:
            raise PromotionRefused(
                _("{title} cannot be gone back to: a file is missing or of another size").format(
                    title=version.title
                ),
                where=str(path),
                fix=_("promote another version: `afina registry show {name}` lists them").format(
                    name=version.name
                ),
            )
