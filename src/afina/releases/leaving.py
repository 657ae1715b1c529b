"""What would leave the machine when a release is published, and why it must not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.audits.secrets import find_secrets
from afina.errors import AfinaError
from afina.inference.intact import require_intact
from afina.language import _
from afina.personal.finding import find_personal
from afina.releases.facts import begins_with
from afina.releases.licences import LLAMA, UNKNOWN, Duties, read_head
from afina.runs.files import read_json, sha256_of
from afina.runs.folder import Run
from afina.trust.manifest import MANIFEST, SIGNATURES, read_manifest, require_files

# The base's own: its vocabulary, and texts with the addresses of who made it.
_OF_THE_BASE = ("tokenizer.json", "vocab.json", "merges.txt", "LICENSE", "NOTICE", "USE_POLICY.md")
_MOST_NAMED = 5
_HOME = re.compile(
    r"(?:(?<![\w.])/home/|(?<![\w.])/Users/|\b[A-Za-z]:(?:\\{1,2}|/)Users(?:\\{1,2}|/))[\w.-]+"
)


@dataclass(frozen=True)
class LeavingFile:
    """One file: its name in the release, its size, its SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Refusal:
    """Why nothing may leave, and what to do about it."""

    what: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def leaving_files(run: Run) -> list[LeavingFile]:
    """Every file of the run's release.

    Raises:
        AfinaError: when the run has no release.
    """
    release = run.path("release")
    if not (release / MANIFEST).exists():
        raise AfinaError(
            _("this run has no release yet"),
            where=str(release),
            fix=_("finish it with `afina run`; there is none when the gate says no"),
        )
    return [
        LeavingFile(path.relative_to(release).as_posix(), path.stat().st_size, sha256_of(path))
        for path in sorted(release.rglob("*"))
        if path.is_file()
    ]


def refusals(run: Run, files: list[LeavingFile], repository: str, unsigned: bool) -> list[Refusal]:
    """Everything that stands against publishing; empty when nothing does.

    Args:
        repository: ORG/NAME on the Hub. unsigned: signatures are not asked for.
    """
    release = run.path("release")
    return [
        *_of_gate(run),
        *_of_manifest(release, unsigned),
        *([] if unsigned else _of_signatures(files)),
        *_of_licence(release, files, repository),
        *_of_texts(release, files),
    ]


def _of_gate(run: Run) -> list[Refusal]:
    path = run.path("gate.json")
    if not path.exists():
        what, fix = _("the gate has not been asked"), _("ask it with `afina gate {run}`")
    elif not read_json(path)["passed"]:
        what = _("the gate says no to this model")
        fix = _("`afina gate {run}` says why; train it again or change the limits")
    else:
        return []
    return [Refusal(what, fix.format(run=run.title))]


def _of_manifest(release: Path, unsigned: bool) -> list[Refusal]:
    """The files must be those of the manifest, and the manifest that which the run made."""
    try:
        require_files(release, read_manifest(release))
        require_intact(release, signed=not unsigned)
    except AfinaError as error:
        where = f" ({error.where})" if error.where else ""
        return [Refusal(error.what + where, error.fix or _("make the release again with `afina run`"))]
    return []


def _of_signatures(files: list[LeavingFile]) -> list[Refusal]:
    if any(one.path.startswith(f"{SIGNATURES}/") for one in files):
        return []
    return [
        Refusal(
            _("the release is not signed"),
            _("sign it with `afina sign`, or publish it with --unsigned"),
        )
    ]


def _of_licence(release: Path, files: list[LeavingFile], repository: str) -> list[Refusal]:
    """The licence must be known, and what Llama's licences ask must be done."""
    card = (release / "README.md").read_text("utf-8") if (release / "README.md").exists() else ""
    licence = str(read_head(release / "README.md").get("license", UNKNOWN))
    if licence == UNKNOWN:
        return [
            Refusal(
                _("the licence of the base is not known"),
                _("find out what it allows, and say under which you publish with --license ID"),
            )
        ]
    duties = LLAMA.get(licence)
    return [] if duties is None else _of_llama(duties, licence, card, files, repository)


def _of_llama(
    duties: Duties, licence: str, card: str, files: list[LeavingFile], repository: str
) -> list[Refusal]:
    refused = []
    name = repository.partition("/")[2]
    if not begins_with(name, duties.prefix):
        refused.append(
            Refusal(
                _("{licence} asks that the name begin with “{prefix}”: {name} does not").format(
                    licence=duties.name, prefix=duties.prefix, name=name
                ),
                _("publish it as {name}").format(name=f"{duties.prefix.replace(' ', '-')}-{name}"),
            )
        )
    there = {one.path for one in files}
    missing = [name for name in ("LICENSE", "NOTICE", "USE_POLICY.md") if name not in there]
    if missing:
        refused.append(
            Refusal(
                _("{licence} asks for files that the release does not have: {files}").format(
                    licence=duties.name, files=", ".join(missing)
                ),
                _(
                    "put LICENSE and USE_POLICY.md of the original base ({agreement}, {policy}) into "
                    "the base's folder and add --license {id}: the release's texts are made again"
                ).format(agreement=duties.agreement, policy=duties.policy, id=licence),
            )
        )
    if duties.built_with not in card:
        refused.append(
            Refusal(
                _("{licence} asks that the card say “{words}”").format(
                    licence=duties.name, words=duties.built_with
                ),
                _("add --license {id}: the release's texts are made again").format(id=licence),
            )
        )
    return refused


def _of_texts(release: Path, files: list[LeavingFile]) -> list[Refusal]:
    """Personal data, secrets and folders of a person in the texts that are not the base's own."""
    refused = []
    for one in files:
        path = release / one.path
        if one.path.partition("/")[0] == SIGNATURES or path.name in _OF_THE_BASE:
            continue
        found = sorted(set(_found_in(path)))
        if not found:
            continue
        named = ", ".join(
            _("line {line}: {kind}").format(line=line, kind=kind.replace("_", " "))
            for line, kind in found[:_MOST_NAMED]
        )
        if len(found) > _MOST_NAMED:
            named += _(" and {more} more").format(more=len(found) - _MOST_NAMED)
        refused.append(
            Refusal(
                _("{file} holds what looks like personal data or secrets ({found})").format(
                    file=one.path, found=named
                ),
                _(
                    "take it out where it comes from: names of labels, columns and files, "
                    "release.intended_use, a base or data given by a path in a home folder"
                ),
            )
        )
    return refused


def _found_in(path: Path) -> Iterator[tuple[int, str]]:
    """The line and kind of each finding in a file; nothing in a file that is no text."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    for one in (*find_personal(text), *find_secrets(text)):
        yield text.count("\n", 0, one.start) + 1, one.kind
    for match in _HOME.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, "home_folder"
