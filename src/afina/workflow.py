"""The stages of a run in order: which need doing, and what to do when the gate says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from afina.audits.audit import profile_rows
from afina.data.masked import masked_line
from afina.data.prepare import prepare
from afina.data.sources import source_hash
from afina.evaluation.answers import Answers, test_rows
from afina.evaluation.curve_children import (
    NAME,
    ChildAnswers,
    child_recipe,
    data_stage,
    parts,
    shares_of,
)
from afina.evaluation.learning_curve import curve, point_of
from afina.evaluation.limits import gate
from afina.evaluation.measure import evaluate
from afina.evaluation.others import compared_keys, require_further
from afina.language import LANGUAGES, _, current
from afina.models.base import FoundBase, find_base
from afina.models.tokenizer import Tokens, load_tokens
from afina.recipe import Recipe
from afina.registry.after_run import register_release
from afina.releases.stage import OUTPUTS, release
from afina.reports import write_report
from afina.runs.children import child
from afina.runs.files import read_json, sha256_of, write_json
from afina.runs.folder import RUNNING, Run, recipe_hash
from afina.runs.signals import StopSignal
from afina.runs.spending import Meter
from afina.runs.spot import SpotWatch
from afina.runs.stages import Stage, do, forget, is_done, stage_key
from afina.suites.measure import measure_suites
from afina.suites.rows import files_hash
from afina.tracking import Tracking
from afina.training.tune import train

STAGES = ("data", "train", "evaluate", "suites", "curve", "gate", "release", "profile", "report")


@dataclass
class Workflow:
    """One run and its stages.

    Attributes:
        language, reveal: of the report; an empty language was not asked for.
        trust_earlier: take earlier stages that are done as they are, also when Afina's code is newer:
            a report on a finished run must not train it again.
    """

    run: Run
    recipe: Recipe
    language: str = ""
    reveal: bool = False
    trust_earlier: bool = False
    _seen: set[str] = field(default_factory=set)

    @cached_property
    def base(self) -> FoundBase:
        """The base model, found once."""
        return find_base(self.recipe.base.model, self.recipe.base.revision, self.run.say)

    @cached_property
    def tokens(self) -> Tokens:
        """Its tokenizer."""
        return load_tokens(self.base.folder)

    @cached_property
    def tracking(self) -> Tracking:
        """What is sent elsewhere while the run goes on."""
        return Tracking(self.run, self.recipe)

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        stages = {
            "data": self._data_stage,
            "train": self._train_stage,
            "evaluate": self._evaluate_stage,
            "suites": self._suites_stage,
            "curve": self._curve_stage,
            "gate": self._gate_stage,
            "release": self._release_stage,
            "profile": self._profile_stage,
            "report": self._report_stage,
        }
        return stages[name]()

    def _chosen(self) -> dict[str, Any]:
        """What rows and training both depend on."""
        parts: Any = {"base": {"model", "revision"}, "task": True, "seed": True}
        return self.recipe.model_dump(mode="json", include=parts)

    def _data_stage(self) -> Stage:
        data = self.recipe.data
        sources = [source.source for source in data.train] + [test.source for test in data.test]
        return Stage(
            "data",
            after=(),
            code=("data", "models/tokenizer", *(("personal",) if data.personal == "mask" else ())),
            settings=lambda: {
                **self._chosen(),
                "data": data.model_dump(mode="json"),
                "sources": {source: source_hash(source) for source in sources},
            },
            outputs=("data",),
            work=self._data,
        )

    def _train_stage(self) -> Stage:
        recipe = self.recipe
        return Stage(
            "train",
            after=("data",),
            code=("training", "inference", "models", "data/batches", "data/chat", "data/folds"),
            settings=lambda: {
                **self._chosen(),
                "base": recipe.base.model_dump(mode="json"),
                "adapter": recipe.adapter.model_dump(mode="json"),
                "train": recipe.train.model_dump(
                    mode="json",  # these change nothing of the result
                    exclude={
                        **dict.fromkeys(RUNNING, True),
                        "distributed": {"restarts", "address", "storage"},
                    },
                ),
                "max_length": recipe.data.max_length,
            },
            outputs=(
                "release/adapter",
                "release/model",
                "release/head.safetensors",
                "release/inference.json",
                "probe",
                "samples.json",
                "train.json",
                "metrics.jsonl",
                "checkpoints",
            ),
            work=self._train,
            half_done="checkpoints",
        )

    def _evaluate_stage(self) -> Stage:
        recipe = self.recipe
        return Stage(
            "evaluate",
            after=("data", "train"),
            code=("evaluation", "metrics", "inference", "data/folds"),
            settings=lambda: {
                "evaluate": recipe.evaluate.model_dump(
                    mode="json", exclude={"suites", "learning_curve"}
                ),
                "compared": compared_keys(self.run, recipe),
                "group_by": recipe.data.split.group_by,
                "seed": recipe.seed,
            },
            outputs=("evaluation.json", "predictions"),
            work=lambda: _nothing(evaluate(self.run, recipe)),
        )

    def _suites_stage(self) -> Stage:
        recipe = self.recipe
        return Stage(
            "suites",
            after=("data", "train"),
            code=("suites", "metrics", "inference"),
            settings=lambda: {
                "suites": recipe.evaluate.suites.model_dump(mode="json"),
                "files": files_hash(recipe.evaluate.suites),
                "seed": recipe.seed,
            },
            outputs=("suites.json", "suites"),
            work=lambda: _nothing(measure_suites(self.run, recipe)),
        )

    def _curve_stage(self) -> Stage:
        recipe = self.recipe
        return Stage(
            "curve",
            after=("data", "train", "evaluate"),
            code=("data/parts", "evaluation", "metrics"),
            settings=lambda: {
                "shares": shares_of(recipe),
                "group_by": recipe.data.split.group_by,
                "seed": recipe.seed,
            },
            outputs=("learning_curve.json",),
            work=self._curve,
        )

    def _gate_stage(self) -> Stage:
        return Stage(
            "gate",
            after=("evaluate", *self._suites_asked()),
            code=("evaluation/limits",),
            settings=lambda: [limit.model_dump(mode="json") for limit in self.recipe.gate],
            outputs=("gate.json",),
            work=lambda: _nothing(gate(self.run, self.recipe)),
        )

    def _release_stage(self) -> Stage:
        return Stage(
            "release",
            after=("data", "train", "evaluate", "gate"),
            code=("releases", "trust/manifest", "reports/unknowns"),
            settings=lambda: [recipe_hash(self.recipe), self.recipe.release.model_dump(mode="json")],
            outputs=OUTPUTS,
            work=lambda: release(self.run, self.recipe),
        )

    def _profile_stage(self) -> Stage:
        """What the training rows hold: nothing but the report reads it, so that training never waits."""
        return Stage(
            "profile",
            after=("data",),
            code=("audits", "personal"),
            settings=lambda: {
                "seed": self.recipe.seed,
                "kind": self.recipe.task.kind,
                "group_by": self.recipe.data.split.group_by,
            },
            outputs=("profile.json",),
            work=lambda: write_json(
                self.run.path("profile.json"), profile_rows(self.run, self.recipe, self.run.say)
            ),
        )

    def _report_stage(self, language: str = "", reveal: bool | None = None) -> Stage:
        language = language or self.language or current()
        reveal = self.reveal if reveal is None else reveal
        return Stage(
            "report",
            after=("data", "train", "evaluate", "gate", "profile"),
            code=("reports", "language"),
            settings=lambda: {
                "language": language,
                "reveal": reveal,
                "suites": self._hash_of("suites.json"),
                "budget": self.recipe.train.budget.model_dump(mode="json"),
                "curve": self._hash_of("learning_curve.json"),
            },
            outputs=("report.html",),
            work=lambda: _nothing(write_report(self.run, language, reveal)),
        )

    def _suites_asked(self) -> tuple[str, ...]:
        return ("suites",) if self.recipe.evaluate.suites.tasks else ()

    def _hash_of(self, name: str) -> str | None:
        """Of a file that the report shows and that may be made after it was written."""
        path = self.run.path(name)
        return sha256_of(path) if path.exists() else None

    def _data(self) -> None:
        audit = prepare(self.recipe, self.tokens, self.run.path("data"), self.run.say)
        for source, roles in audit["roles"].items():
            shown = ", ".join(f"{role} ← {column}" for role, column in roles.items())
            self.run.say(_("{source}: {roles}").format(source=source, roles=shown))
        counts = ", ".join(f"{name} {part['rows']:,}" for name, part in audit["splits"].items())
        self.run.say(_("rows: {counts}").format(counts=counts))
        if audit["personal"]["texts"] == "mask":
            self.run.say(masked_line(audit))
        if audit["limit"]:
            before = audit["limit"]["train_before"] + audit["limit"]["validation_before"]
            after = audit["limit"]["train_after"] + audit["limit"]["validation_after"]
            self.run.say(
                _(
                    "data.limit: training and validating on {after:,} of {before:,} rows; test "
                    "rows all stay"
                ).format(after=after, before=before)
            )

    def finish(self, error: BaseException | None = None) -> None:
        """Sends what is still to be tracked, and how the work ended; registers a release."""
        written = "report" in self._seen and not self.reveal
        masked = error is None and self._report_stands((False,))
        self.tracking.finish(error, report=written or masked)
        register_release(self.run, self.recipe, error)

    def do(self, name: str) -> bool:
        """Does one stage if it needs doing, after those it reads. Returns whether anything was done."""
        if name in self._seen:
            return False
        stage = self.stage(name)
        worked = False
        for earlier in stage.after:
            if not (self.trust_earlier and is_done(self.run, earlier)):
                worked |= self.do(earlier)
        stage = replace(stage, work=self._at_work(stage))
        worked |= do(
            self.run,
            stage,
            lambda: self.run.say(_("· {stage}").format(stage=_(name))),
            self.trust_earlier,
        )
        self._seen.add(name)
        return worked

    def _train(self) -> None:
        error = self.run.meter.over() if self.run.meter is not None else None
        if error is not None:
            raise error  # before anything is loaded
        labels = list(read_json(self.run.path("data/audit.json"))["labels"])
        require_further(self.run, self.recipe, labels, self.tokens)
        with self.tracking.live():
            train(self.run, self.recipe, self.base, self.tokens)

    def _curve(self) -> None:
        """Trains the recipe on parts of the rows, in runs of their own that go on where they stopped.

        Their stages are done beside this run's meter: their time is this run's, and so is its budget.
        """
        run, recipe = self.run, child_recipe(self.recipe)
        chosen, left_out = parts(run, self.recipe, shares_of(self.recipe))
        labels = list(read_json(run.path("data/audit.json"))["labels"])
        test, points = test_rows(run, self.recipe, labels, "test"), []
        features: dict[int, Any] = {}
        whole = read_json(run.path("data/audit.json"))["splits"]["train"]["rows"]
        for share in left_out:
            run.say(
                _("learning curve: {share:.0%} of the rows is no part of its own").format(share=share)
            )
        for part in chosen:
            with child(run, NAME, part.rows, recipe) as target:
                run.say(
                    _("learning curve: trained on {rows:,} of {all:,} rows").format(
                        rows=part.rows, all=whole
                    )
                )
                flow = Workflow(target, recipe)
                flow.__dict__.update(base=self.base, tokens=self.tokens)
                do(target, data_stage(run, target, recipe, part, self.tokens))
                do(target, flow.stage("train"), trust=True)
                with StopSignal() as stop:
                    answers = ChildAnswers(target, recipe, labels, stop, features)
                    points.append(point_of(answers, test, part.share, part.rows))
        with StopSignal() as stop:
            points.append(point_of(Answers(run, self.recipe, labels, stop), test, 1.0, whole))
        write_json(run.path("learning_curve.json"), curve(self.recipe, points, left_out, test))

    def _at_work(self, stage: Stage) -> Callable[[], None]:
        """A stage's work with its time on the run's meter and an ear for the cloud's notices."""

        def work() -> None:
            if self.recipe.train.spot is not None:
                self.run.event("reading notices", cloud=self.recipe.train.spot, stage=stage.name)
            with (
                SpotWatch(self.recipe.train.spot, self.run.say),
                Meter(self.run, self.recipe, stage.name),
            ):
                stage.work()

        return work

    def everything(self) -> bool:
        """All stages; no release when the gate says no (an earlier one is withdrawn); always the report.

        Returns:
            Whether anything was done.
        """
        worked = False
        for name in ("data", "train", "evaluate", *self._suites_asked(), "gate"):
            worked |= self.do(name)
        if self.passed():
            worked |= self.do("release")
        else:
            forget(self.run, self.stage("release"))
        if self.recipe.evaluate.learning_curve:
            worked |= self.do("curve")
        return (not self._report_stands() and self.do("report")) or worked

    def _report_stands(self, revealed: tuple[bool, ...] = (False, True)) -> bool:
        """Whether there is a report of these results, and nobody asked for another language.

        One that was asked for in another language, or unmasked, is not written over by `afina run`.
        """
        return not self.language and any(
            is_done(self.run, "report", stage_key(self.run, self._report_stage(language, reveal)))
            for language in LANGUAGES
            for reveal in revealed
        )

    def passed(self) -> bool:
        """Whether the gate let the model through."""
        return bool(read_json(self.run.path("gate.json"))["passed"])


def _nothing(_value: Any) -> None:
    """A stage returns nothing."""
