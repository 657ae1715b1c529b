"""What a promotion asks: the gate, the release as it was made, a signature where one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.errors import EXIT_NO, AfinaError
from afina.inference.intact import require_intact
from afina.language import _
from afina.recipe import Recipe
from afina.registry.version import check_line, manifest_sha256
from afina.runs.files import read_json, sha256_of
from afina.runs.folder import Run
from afina.runs.stages import state_of
from afina.trust.trust_store import TrustStore

COPY = "copy.json"  # in the folder of a release that came from the registry


class PromotionRefused(AfinaError):
    """The answer is no: what was asked of a release does not hold."""

    exit_code = EXIT_NO


def require_admissible(
    run: Run, title: str, manifest: str | None, signature: bool, say: Callable[[str], None]
) -> None:
    """Asks everything, and tells all that fails at once.

    Args:
        title: of what is to be promoted, for people.
        manifest: the SHA-256 that was registered; None when it was not registered yet.
        signature: also ask for the signature of somebody who is trusted.
    Raises:
        PromotionRefused: with each fault on a line of its own.
    """
    faults = gate_faults(run, say) + release_faults(run.path("release"), manifest, signature)
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise PromotionRefused(
            _("{title} was not promoted:").format(title=title) + f"\n{lines}", where=str(run.root)
        )


def gate_faults(run: Run, say: Callable[[str], None] = lambda _text: None) -> list[str]:
    """Why the gate does not let a model through; what it left undecided but let pass is said."""
    path = run.path("gate.json")
    if not path.exists():
        return [_("the gate was not asked: run `afina gate {run}`").format(run=run.title)]
    decided = read_json(path)
    state = state_of(run, "gate")
    if not run.path(COPY).exists():
        if state is None or state["state"] != "done":
            return [_("the gate was not asked: run `afina gate {run}`").format(run=run.title)]
        if state["outputs"].get("gate.json") != sha256_of(path):
            return [
                _("gate.json is not what the gate wrote: run `afina gate {run}`").format(run=run.title)
            ]
    if not decided["checks"]:
        say(_("the recipe has no gate: nothing was asked of this model"))
    if decided["passed"]:
        for check in decided["checks"]:
            if check["verdict"] == "undecided":
                say(
                    _("the gate let pass what it could not decide: {check}").format(
                        check=check_line(check)
                    )
                )
        return []
    strict = _strict(run.recipe(), decided["checks"])
    refused = [
        check
        for check, hard in zip(decided["checks"], strict, strict=True)
        if check["verdict"] == "fail" or (check["verdict"] == "undecided" and hard)
    ]
    return [_("gate: {check}").format(check=check_line(check)) for check in refused or decided["checks"]]


def _strict(recipe: Recipe, checks: list[Any]) -> list[bool]:
    """For each check, whether undecided counts as no."""
    if len(recipe.gate) != len(checks):  # the recipe was changed since the gate was asked
        return [True] * len(checks)
    return [limit.undecided == "fail" for limit in recipe.gate]


def release_faults(release: Path, manifest: str | None, signature: bool) -> list[str]:
    """Why a release cannot be trusted: missing, another one than was registered, changed, not signed."""
    found = manifest_sha256(release)
    if found is None:
        return [_("there is no finished release (no manifest.json)")]
    faults = []
    if manifest is not None and found != manifest:
        faults.append(
            _("the release is another one than was registered: register it with `afina registry add`")
        )
    try:
        require_intact(release)
    except AfinaError as error:
        faults.append(f"{error.what}: {error.where}" if error.where else error.what)
    return faults + (signature_faults(release) if signature else [])


def signature_faults(release: Path) -> list[str]:
    """Why a release does not count as signed; that its signatures are right is asked by require_intact.

    While nobody is trusted on this machine, no signature is looked at: then asking for one is refused.
    """
    folder = release / "signatures"
    if not folder.is_dir() or not any(path.is_file() for path in folder.rglob("*")):
        return [_("the release is not signed: run `afina sign RUN`")]
    if not TrustStore().asks:
        return [_("no signer is trusted on this machine, so that no signature can be checked")]
    return []
