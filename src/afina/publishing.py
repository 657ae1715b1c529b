"""`afina.publish`, for Python: what the command does, with typed results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import afina.releases.publish as publishing
from afina.arguments import check_name
from afina.errors import AfinaError
from afina.language import _
from afina.recipe_file import dump_recipe
from afina.registry import find_run
from afina.releases.facts import facts_of
from afina.releases.licences import read_head
from afina.releases.publish import PublishResult as PublishResult
from afina.runs.files import write_text
from afina.runs.stages import forget
from afina.working import working

if TYPE_CHECKING:
    from afina.workflow import Workflow

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    """A console for nobody."""


def publish(
    name: str,
    *,
    hub: str,
    yes: bool = False,
    public: bool = False,
    unsigned: bool = False,
    replace: bool = False,
    license: str | None = None,
    runs: str = "runs",
    say: Say = _silent,
) -> PublishResult:
    """Shows what would be published of a run, and publishes it with `yes`.

    Args:
        hub: the repository, ORG/NAME.
        yes: send it; without it nothing leaves the machine and no connection is made.
        public: everyone may read the repository that is made; else it is private.
        unsigned: signatures are not asked for.
        replace: files of the repository that the release does not have are removed.
        license: under which licence the model is published, where the base's is not known; kept in the
            run's recipe, and the texts of the release are made again where they say otherwise.
    Raises:
        NotPublished: with `yes`, when something stands against it (its exit code is 1).
        AfinaError: without a release, without network or token, when the Hub refuses.
    """
    check_name(name, "name")
    check_name(hub, "hub")
    if license is not None:
        _state_licence(name, runs, license, say)
    run = find_run(name, runs, say)
    return publishing.publish(
        run,
        run.recipe(),
        hub,
        yes=yes,
        public=public,
        unsigned=unsigned,
        replace=replace,
        say=say,
    )


def _state_licence(name: str, runs: str, wanted: str, say: Say) -> None:
    """Keeps the licence in the run's recipe, and makes the release's texts again if they lack it."""
    find_run(name, runs)  # a recipe file would begin a new run
    change = f"release.license={json.dumps(wanted)}"
    with working(name, runs, [change], None, say, say, change_run=True) as flow:
        if not flow.run.path("release/manifest.json").exists():
            return  # publishing refuses, and says why
        if not flow.passed():
            raise AfinaError(
                _("the gate says no to this model"),
                fix=_("`afina gate {run}` says why; train it again or change the limits").format(
                    run=flow.run.title
                ),
            )
        facts = facts_of(flow.run, flow.recipe)
        write_text(flow.run.path("recipe.yaml"), dump_recipe(flow.recipe))
        release = flow.run.path("release")
        said = read_head(release / "README.md").get("license")
        files = facts.licence.texts if facts.licence.duties else {}
        if said == facts.licence.id and all((release / file).exists() for file in files):
            return
        _make_again(flow)
        say(_("the texts of the release were made again: sign it again"))


def _make_again(flow: Workflow) -> None:
    """The release stage once more; signatures of the manifest before are removed with it."""
    shutil.rmtree(flow.run.path("release/signatures"), ignore_errors=True)
    forget(flow.run, flow.stage("release"))
    flow.do("release")
