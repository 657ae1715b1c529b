"""One run on an MLflow server: made or found again, and brought up to date with the run's files.

The server is asked what it has, so that nothing is sent twice and nothing that is missing stays away.
Files go as they are: MLflow's PEFT flavour would rename the adapter's tensors.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from afina.errors import MissingExtra
from afina.language import _
from afina.recipe import Recipe
from afina.runs.files import read_json, sha256_of, write_json
from afina.runs.folder import Run
from afina.runs.stages import code_hash, state_of
from afina.tracking.flat import (
    LONGEST_TAG,
    of_evaluation,
    of_line,
    of_training,
    parameters,
    shortened,
    versions,
)
from afina.tracking.lines import NewLines
from afina.tracking.note import Note, write_note
from afina.tracking.places import artifacts_of, folder_of

FEW = 100  # parameters or tags in one request
MANY = 900  # metrics in one request; MLflow takes 1000 things of all kinds
FILES = ("recipe.yaml", "evaluation.json", "gate.json")
STAGES = ("data", "train", "evaluate", "gate", "release", "report")


def client_class() -> Any:
    """MLflow's client, imported without telemetry, without its logs, and with short waits.

    Raises:
        MissingExtra: when mlflow is not installed.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    for name, value in (
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("GIT_PYTHON_REFRESH", "quiet"),
    ):
        os.environ.setdefault(name, value)
    try:
        import alembic  # noqa: F401
        import sqlalchemy  # noqa: F401
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingExtra(
            _("track.mlflow needs the package {name}").format(name=error.name or "mlflow"),
            fix=_("pip install 'afina[track]', or set track.mlflow: null"),
        ) from None
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient


class MlflowStore:
    """The copy of one run on one server. Every method may raise what MLflow's client raises."""

    def __init__(self, run: Run, recipe: Recipe, uri: str, note: Note) -> None:
        self.run, self.recipe, self.uri, self.note = run, recipe, uri, note
        self._client: Any = None
        self._lines: NewLines | None = None
        self._sent_parameters: set[str] = set()

    # --- the run over there ---------------------------------------------------------------------

    def open(self) -> None:
        """Finds this run on the server, or makes it; says there that it is being worked on."""
        if self._client is None:
            if artifacts := artifacts_of(self.uri):
                folder_of(artifacts).parent.mkdir(parents=True, exist_ok=True)
            self._client = client_class()(self.uri)
        if self._lines is not None:
            return
        found = self._known() or self._found_by_tag()
        if found is None:
            found = self._made()
            after: dict[str, int] = {}
        else:
            after = self._last_steps(found.info.run_id)
            self._client.update_run(found.info.run_id, status="RUNNING")
        self.note.run_id = found.info.run_id
        write_note(self.run, self.note)
        self._sent_parameters = set(found.data.params)
        self._lines = NewLines(self.run.path("metrics.jsonl"), after)

    def _known(self) -> Any:
        """The run that the note names; None when there is none, or it was deleted there."""
        from mlflow.exceptions import MlflowException

        if self.note.run_id is None:
            return None
        try:
            found = self._client.get_run(self.note.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            found = None
        if found is not None and found.info.lifecycle_stage == "active":
            return found
        self.note.run_id, self.note.artifacts, self.note.figures = None, {}, None
        self.note.id = Note().id
        write_note(self.run, self.note)
        return None

    def _found_by_tag(self) -> Any:
        """The run that was made by a process that could not note its number any more."""
        wanted = f"tags.`afina.id` = '{self.note.id}'"
        found = self._client.search_runs([self._experiment()], filter_string=wanted, max_results=1)
        return found[0] if found else None

    def _made(self) -> Any:
        write_note(self.run, self.note)
        tags = {"afina.id": self.note.id, "afina.run": self.run.title}
        return self._client.create_run(self._experiment(), tags=tags, run_name=self.run.title)

    def _experiment(self) -> str:
        """The experiment's id; made when there is none of that name."""
        from mlflow.exceptions import MlflowException

        name = self.note.experiment
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=self._place(name)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def _place(self, experiment: str | None) -> str | None:
        above = artifacts_of(self.uri)
        return None if above is None else f"{above}/{experiment}"

    def _last_steps(self, run_id: str) -> dict[str, int]:
        """The last step of each split that the server has."""
        found = {}
        for split in ("train", "validation"):
            history = self._client.get_metric_history(run_id, f"{split}.loss")
            if history:
                found[split] = max(metric.step for metric in history)
        return found

    # --- what is sent -----------------------------------------------------------------------------

    def send_course(self) -> None:
        """Parameters and tags that are missing there, and the new lines of metrics.jsonl."""
        from mlflow.entities import Metric

        self.open()
        assert self._lines is not None
        self._send_parameters()
        while True:
            batch = self._lines.waiting(MANY // 6)
            now = int(time.time() * 1000)
            metrics = [
                Metric(name, value, now, line["step"])
                for line in batch.lines
                for name, value in of_line(line).items()
            ]
            if metrics:
                self._client.log_batch(self.note.run_id, metrics=metrics)
            self._lines.sent(batch)
            if batch.last:
                return

    def _send_parameters(self) -> None:
        """Those that the server lacks: what an `auto` became is known later than the recipe."""
        from mlflow.entities import Param

        known = parameters(self.recipe.model_dump(mode="json"), self.run.resolved())
        missing = [
            Param(name, value) for name, value in known.items() if name not in self._sent_parameters
        ]
        if missing and not self._sent_parameters:
            self._send_tags({**versions(), "afina.code_sha256": code_hash(("",))})
        for start in range(0, len(missing), FEW):
            self._client.log_batch(self.note.run_id, params=missing[start : start + FEW])
        self._sent_parameters |= set(known)

    def send_rest(self, report: bool) -> None:
        """Tags, final figures and files; `report`: its page is masked and may go."""
        self.send_course()
        self._send_tags(self._facts())
        self._send_figures()
        with TemporaryDirectory() as folder:
            for place, name, digest in self._files(Path(folder), report):
                if self.note.artifacts.get(name) != digest:
                    above = name.rpartition("/")[0] or None
                    self._client.log_artifact(self.note.run_id, str(place), above)
                    self.note.artifacts[name] = digest
                    write_note(self.run, self.note)

    def end(self, status: str) -> None:
        """Says there how the run ended: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.note.run_id, status)

    def _send_tags(self, tags: dict[str, Any]) -> None:
        from mlflow.entities import RunTag

        named = [RunTag(name, shortened(str(value), LONGEST_TAG)) for name, value in tags.items()]
        for start in range(0, len(named), FEW):
            self._client.log_batch(self.note.run_id, tags=named[start : start + FEW])

    def _facts(self) -> dict[str, Any]:
        """Base, data, stages and the gate's verdict, as tags."""
        run = self.run
        tags: dict[str, Any] = {}
        if run.path("release/inference.json").exists():
            base = read_json(run.path("release/inference.json"))["base"]
            tags |= {f"afina.base.{name}": base[name] for name in ("id", "revision", "sha256")}
        for stage in STAGES:
            state = state_of(run, stage)
            if state is None or state["state"] != "done":
                continue
            tags[f"afina.stage.{stage}.key"] = state["key"]
            if stage == "data":
                tags |= {f"afina.{name}.sha256": digest for name, digest in state["outputs"].items()}
        if run.path("gate.json").exists():
            passed = read_json(run.path("gate.json"))["passed"]
            tags["afina.gate"] = "passed" if passed else "failed"
        return tags

    def _send_figures(self) -> None:
        """train.json and evaluation.json, once for each content.

        The files' own times are the metrics' times: sent again after a crash, they are the same points.
        """
        from mlflow.entities import Metric

        paths = [self.run.path(name) for name in ("train.json", "evaluation.json")]
        paths = [path for path in paths if path.exists()]
        digest = "".join(sha256_of(path) for path in paths)
        if digest == self.note.figures:
            return
        for path in paths:
            read = of_training if path.name == "train.json" else of_evaluation
            when = int(path.stat().st_mtime * 1000)
            found = [Metric(name, value, when, 0) for name, value in read(read_json(path)).items()]
            for start in range(0, len(found), MANY):
                self._client.log_batch(self.note.run_id, metrics=found[start : start + MANY])
        self.note.figures = digest
        write_note(self.run, self.note)

    def _files(self, scratch: Path, report: bool) -> list[tuple[Path, str, str]]:
        """Each file to send: where it is, its name there, its SHA-256.

        None of them holds a row as it was: train.json goes without its samples, and release/ only when
        it is complete.
        """
        run = self.run
        names = [*FILES, "report.html"] if report else list(FILES)
        found = [(run.path(name), name) for name in names]
        if run.path("train.json").exists():
            told = dict(read_json(run.path("train.json")))
            told.pop("samples", None)
            write_json(scratch / "train.json", told)
            found.append((scratch / "train.json", "train.json"))
        if run.path("release/manifest.json").exists():
            for path in sorted(run.path("release").rglob("*")):
                found.append((path, path.relative_to(run.root).as_posix()))
        return [(path, name, sha256_of(path)) for path, name in found if path.is_file()]
