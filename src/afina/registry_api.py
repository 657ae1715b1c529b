"""The registry's verbs, for Python: what `afina registry` does, with typed results.

Nothing here imports torch: whoever rolls back waits for MLflow alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afina.arguments import check_name
from afina.errors import AfinaError
from afina.language import _
from afina.registry import find_run
from afina.registry.admission import PromotionRefused, gate_faults
from afina.registry.finding import named_version, run_of, split
from afina.registry.place import registry_uri, shown
from afina.registry.promotion import Promotion
from afina.registry.promotion import promote as promote_version
from afina.registry.promotion import rollback as roll_back
from afina.registry.register import add, known_version
from afina.registry.store import Model, Registry
from afina.registry.version import Standing, Version, standing
from afina.registry.watch import Current, Watch
from afina.registry.watch import current as current_of
from afina.runs.files import read_json
from afina.runs.folder import Run
from afina.tracking.flat import flat

if TYPE_CHECKING:
    from afina.registry.comparing import ReleaseComparison, Side

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    """A console for nobody."""


@dataclass(frozen=True)
class Registered:
    """A registered model.

    Attributes:
        place: the registry's address, without a password.
        versions: newest first. standings: of each, whether its release is still as it was registered.
        aliases, journal, generation: of `model`.
    """

    place: str
    model: Model
    versions: tuple[Version, ...]
    standings: tuple[Standing, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "schema": "afina/registered-model/1",
            "place": self.place,
            "name": self.model.name,
            "aliases": self.model.places(),
            "generation": self.model.generation,
            "versions": [
                {**version.as_json(), "standing": state}
                for version, state in zip(self.versions, self.standings, strict=True)
            ],
            "journal": [asdict(entry) for entry in self.model.journal],
        }


def register(
    name: str | Path,
    *,
    why: str = "",
    runs: str = "runs",
    registry: str | None = None,
    say: Say = _silent,
) -> Version:
    """Makes a version of a run's finished release, and the candidate of it.

    Args:
        name: a run. why: kept in the journal.
        registry: local, a SQLite file or an MLflow server by its address; None takes $AFINA_REGISTRY,
            else the one beside the runs.
    Raises:
        AfinaError: when there is no finished release.
    """
    return add(_open(runs, registry), _run(name, runs, say), why, say)[0]


def registered(
    name: str | None = None, *, runs: str = "runs", registry: str | None = None
) -> list[Registered]:
    """Every registered model, or the one of this name, with its versions and its journal."""
    place = _open(runs, registry)
    if name is not None:
        check_name(name, "name")
        place.model(name)  # raises when there is none
    found = []
    for one in [name] if name is not None else place.names():
        model = place.model(one)
        versions = tuple(place.versions(model))
        found.append(Registered(shown(place.uri), model, versions, tuple(map(standing, versions))))
    return found


def registered_version(name: str, *, runs: str = "runs", registry: str | None = None) -> Version:
    """The version that NAME@champion, NAME@candidate, NAME@previous or NAME@v3 means."""
    check_name(name, "name")
    return _version(_open(runs, registry), name)


def compare_registered(
    a: str, b: str, *, runs: str = "runs", registry: str | None = None, say: Say = _silent
) -> ReleaseComparison:
    """The figures of two releases, paired where both answered the same test rows.

    Args:
        a, b: each a run, or a version by alias or number.
    """
    from afina.registry.comparing import compare_releases

    place = _open(runs, registry)
    return compare_releases(_side(place, a, runs, say), _side(place, b, runs, say))


def promote(
    name: str | Path,
    *,
    to: str = "champion",
    why: str = "",
    require_signature: bool = False,
    runs: str = "runs",
    registry: str | None = None,
    say: Say = _silent,
) -> Promotion:
    """Makes a release the champion: the gate is asked, and whether it is as it was made.

    Args:
        name: a run, which is registered first if it is not yet, or a version: NAME@v3, NAME@candidate.
        to: champion or candidate. why: kept in the journal.
        require_signature: also ask for the signature of somebody who is trusted on this machine.
    Raises:
        PromotionRefused: with all that does not hold.
    """
    place = _open(runs, registry)
    check_name(name, "name")
    if split(str(name)):
        version = _version(place, str(name))
    else:
        run = _run(name, runs, say)
        known = known_version(place, run) if run.path("release/manifest.json").exists() else None
        if known is None:
            faults = gate_faults(run)
            if faults:
                lines = "\n".join(f"  - {fault}" for fault in faults)
                what = _("{title} was not promoted:").format(title=run.title)
                raise PromotionRefused(f"{what}\n{lines}", where=str(run.root))
            known = add(place, run, why, say, candidate=to == "candidate")[0]
        version = known
    return promote_version(place, version, to, why, require_signature, runs, say)


def rollback(
    name: str, *, why: str = "", runs: str = "runs", registry: str | None = None, say: Say = _silent
) -> Promotion:
    """Makes the previous version of a model its champion again; seconds, whatever its size.

    Raises:
        PromotionRefused: when there is none, or its release is not there any more.
    """
    check_name(name, "name")
    return roll_back(_open(runs, registry), name, why, say)


def current_version(
    name: str, *, alias: str = "champion", runs: str = "runs", registry: str | None = None
) -> Current:
    """The version in use now. Raises AfinaError when there is none."""
    check_name(name, "name")
    return current_of(_open(runs, registry), name, alias)


def watch_version(
    name: str,
    *,
    alias: str = "champion",
    runs: str = "runs",
    registry: str | None = None,
    seconds: float = 2.0,
) -> Watch:
    """Follows the version in use: `changed()` of the result says when it is another one.

    Args:
        seconds: a server is asked at most so often; of a SQLite file the time is looked at each time.
    """
    check_name(name, "name")
    return Watch(_open(runs, registry), name, alias, seconds)


def _open(runs: str, registry: str | None) -> Registry:
    return Registry(registry_uri(runs, registry))


def _run(name: str | Path, runs: str, say: Say) -> Run:
    check_name(name, "name")
    return find_run(str(name), runs, say)


def _version(place: Registry, name: str) -> Version:
    parts = split(name)
    if parts is None:
        raise AfinaError(
            _("`{name}` names no version").format(name=name),
            fix=_("for example {example}").format(
                example=f"{name.partition('@')[0]}@champion, {name.partition('@')[0]}@v1"
            ),
        )
    return named_version(place, *parts)


def _side(place: Registry, name: str, runs: str, say: Say) -> Side:
    """What is compared by a name: of a version its parents as registered, else those of the manifest."""
    from afina.registry.comparing import Side

    check_name(name, "name")
    if split(name):
        version = _version(place, name)
        return Side(version.title, run_of(place, version, runs, say), version.parents)
    run = _run(name, runs, say)
    path = run.path("release/manifest.json")
    return Side(run.title, run, flat(read_json(path)["parents"]) if path.exists() else {})
