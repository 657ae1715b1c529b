"""`track.registry`: what `afina run` does with a finished release."""

from __future__ import annotations

from importlib.util import find_spec

from afina.errors import AfinaError, MissingExtra
from afina.language import _
from afina.recipe import Recipe
from afina.registry.register import add, is_noted
from afina.registry.store import Registry
from afina.runs.folder import Run
from afina.runs.stages import is_done
from afina.tracking.places import uri_of


def require_registry(recipe: Recipe) -> None:
    """Refuses at the start what would fail after hours. Raises MissingExtra."""
    if recipe.track.registry is None:
        return
    for name in ("mlflow", "sqlalchemy", "alembic"):
        if find_spec(name) is None:
            raise MissingExtra(
                _("track.registry needs the package {name}").format(name=name),
                fix=_("pip install 'afina[track]', or set track.registry: null"),
            )


def register_release(run: Run, recipe: Recipe, error: BaseException | None = None) -> None:
    """Makes the run's release a version and the candidate, once; a fault is told, never raised.

    A release that the run's own note says is registered is not asked about again.

    Args:
        error: what ended the work; then nothing is registered.
    """
    if error is not None or recipe.track.registry is None or not is_done(run, "release"):
        return
    registry = Registry(uri_of(run, recipe.track.registry))
    try:
        if is_noted(registry, run):
            return
        version, new = add(registry, run, "", run.say)
    except AfinaError as fault:
        run.say(
            _(
                "registry: the release was not registered ({why}); `afina registry add {run}` does it"
            ).format(why=fault.what, run=run.title)
        )
        return
    if new:
        run.say(_("registry: {title}, the candidate").format(title=version.title))
