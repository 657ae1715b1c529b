"""`afina publish`: shows what would leave the machine, and sends it when that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from afina.errors import EXIT_NO, AfinaError
from afina.language import _
from afina.recipe import Recipe
from afina.releases.hub import check_repository, upload
from afina.releases.leaving import LeavingFile, Refusal, leaving_files, refusals
from afina.runs.folder import Run


class NotPublished(AfinaError):
    """The answer is no: something stands against publishing this release."""

    exit_code = EXIT_NO


@dataclass(frozen=True)
class PublishResult:
    """What would leave the machine, or has left it.

    Attributes:
        run: its title. repository: ORG/NAME. public: whether everyone may read it.
        files: with sizes and hashes. card: the text of README.md.
        refusals: what stands against it. warnings: what does not, but should be known.
        commit: the commit's address; None where nothing was sent.
    """

    run: str
    repository: str
    public: bool
    files: list[LeavingFile]
    card: str
    refusals: list[Refusal]
    warnings: list[str] = field(default_factory=list)
    commit: str | None = None

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(one.bytes for one in self.files)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "schema": "afina/publish/1",
            "run": self.run,
            "repository": self.repository,
            "public": self.public,
            "published": self.commit is not None,
            "commit": self.commit,
            "bytes": self.bytes,
            "files": [vars(one) for one in self.files],
            "refusals": [one.as_json() for one in self.refusals],
            "warnings": self.warnings,
            "card": self.card,
        }


def publish(
    run: Run,
    recipe: Recipe,
    repository: str,
    *,
    yes: bool,
    public: bool,
    unsigned: bool,
    replace: bool,
    say: Callable[[str], None],
) -> PublishResult:
    """Looks at a release, and uploads it with `yes` when nothing stands against it.

    Raises:
        NotPublished: with `yes`, when something does. AfinaError: see `releases.hub.upload`.
    """
    check_repository(repository)
    files = leaving_files(run)
    card = run.path("release/README.md")
    result = PublishResult(
        run=run.title,
        repository=repository,
        public=public,
        files=files,
        card=card.read_text("utf-8") if card.exists() else "",
        refusals=refusals(run, files, repository, unsigned),
        warnings=_warnings(run, recipe, public, unsigned),
    )
    if not yes:
        return result
    if result.refusals:
        lines = [f"{one.what}\n    {one.fix}" for one in result.refusals]
        raise NotPublished(
            _("nothing was sent to {repository}:").format(repository=repository)
            + "".join(f"\n  - {line}" for line in lines)
        )
    commit = upload(repository, run.path("release"), files, public, replace, run.title, say)
    run.event("published", repository=repository, public=public, commit=commit)
    run.publish()
    return PublishResult(**{**vars(result), "commit": commit})


def _warnings(run: Run, recipe: Recipe, public: bool, unsigned: bool) -> list[str]:
    from afina.inference.settings import read_settings

    base = read_settings(run.path("release/inference.json")).base
    said = []
    if base["model"] != "embedded" and not base.get("revision"):
        said.append(_("the base is a file or folder of this machine: others cannot load it by its name"))
    if recipe.data.personal != "mask":
        said.append(
            _("texts were trained on as they are: read the card's part about personal data first")
        )
    if unsigned:
        said.append(_("nobody can check who made an unsigned release"))
    if public:
        said.append(_("everyone can read a public repository, and copies cannot be taken back"))
    return said
