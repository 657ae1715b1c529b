"""A workflow at work: the run found or opened, locked, and its end noted whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from afina.arguments import check_language, check_name, check_overrides
from afina.errors import AfinaError
from afina.language import _
from afina.recipe_file import read_recipe
from afina.registry import find_run
from afina.registry.admission import COPY
from afina.registry.after_run import require_registry
from afina.runs.files import storage_error
from afina.runs.folder import Run, open_run
from afina.workflow import Workflow

Say = Callable[[str], None]


@contextmanager
def working(
    recipe: str | Path,
    runs: str,
    overrides: list[str] | None,
    language: str | None,
    say: Say,
    progress: Say,
    reveal: bool = False,
    change_run: bool = False,
) -> Iterator[Workflow]:
    """The workflow of a recipe or of a run, with the run locked; pushes its files in the end.

    Args:
        change_run: overrides may change what is asked of a finished run, too: only for a stage whose
            settings nothing else of the run depends on.
    """
    check_name(recipe, "recipe")
    check_overrides(overrides)
    check_language(language)
    path = Path(recipe)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        settings = read_recipe(path, overrides)
        target = open_run(settings, runs, say)
        trusted = False
    else:
        if overrides and not change_run:
            raise AfinaError(
                _("--set changes a recipe, and `{name}` is a run").format(name=recipe),
                fix=_("give the recipe file with --set: it makes the next run"),
            )
        target = find_run(str(recipe), runs, say)
        if target.path(COPY).exists():
            raise AfinaError(
                _("{run} is the registry's copy of a release: its stages cannot be done here").format(
                    run=recipe
                ),
                where=str(target.root),
                fix=_("work where the run was made; here it can be asked, exported and promoted"),
            )
        settings = read_recipe(target.path("recipe.yaml"), overrides) if overrides else target.recipe()
        trusted = True
    target.say, target.progress = say, progress
    target.lock()
    say(_title(target))
    workflow = Workflow(target, settings, language or "", reveal, trusted)
    try:
        workflow.tracking.require()
        require_registry(settings)
        yield workflow
        workflow.finish()
    except OSError as error:
        _note_end(workflow, error)
        raise storage_error(error) or error from None
    except BaseException as error:
        _note_end(workflow, error)
        raise
    finally:
        target.unlock()
    target.publish()


def _title(target: Run) -> str:
    return _("run {title} in {folder}").format(title=target.title, folder=target.root)


def _note_end(workflow: Workflow, error: BaseException) -> None:
    """Writes into events.jsonl why a run stopped; a full disk must not hide the first error."""
    target = workflow.run
    try:
        target.event(
            "stopped", error=type(error).__name__, what=str(error).splitlines()[0] if str(error) else ""
        )
        workflow.finish(error)
        target.publish()
    except OSError:
        pass
