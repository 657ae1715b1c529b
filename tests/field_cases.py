"""The table of tests/test_every_field.py: for each setting two values, and what differs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from afina.data.table import read_rows
from afina.evaluation.answers import read_column
from afina.models.base import find_base
from afina.models.memory import estimate_memory
from afina.runs.folder import Run
from afina.runs.spending import spent_of
from tests.tiny import metrics, value

Look = Callable[[Run], Any]


@dataclass(frozen=True)
class Case:
    """Two values of a setting (each the overrides that set it), and what differs.

    Attributes:
        look: what is seen of a run.
        stage: how far the run goes.
        more: overrides of both.
        rows: which rows: classify, generate, messages or text.
    """

    one: str | tuple[str, ...]
    other: str | tuple[str, ...]
    look: Look
    stage: str = "train"
    more: tuple[str, ...] = ()
    rows: str = "classify"


def audit(*path: str) -> Look:
    """An entry of data/audit.json."""

    def look(run: Run) -> Any:
        found = value(run, "data/audit.json")
        for name in path:
            found = found[name]
        return found

    return look


def split_rows(name: str) -> Look:
    """How many rows a split has."""
    return audit("splits", name, "rows")


def asked(name: str) -> Look:
    """An entry of release/inference.json."""
    return lambda run: value(run, "release/inference.json")[name]


def trained(name: str) -> Look:
    """An entry of train.json."""
    return lambda run: value(run, "train.json")[name]


def of_lines(name: str) -> Look:
    """One figure of every training line of metrics.jsonl."""
    return lambda run: [line[name] for line in metrics(run) if line["split"] == "train"]


def ids(name: str) -> Look:
    """The rows of a split."""
    return lambda run: sorted(row.id for row in read_rows(run.path(f"data/{name}.parquet")))


def memory(run: Run) -> int:
    """The estimated peak, with what the run resolved."""
    known = run.resolved()
    checkpointed = known["train.checkpoint_activations"]
    return estimate_memory(Path(run.recipe().base.model), run.recipe(), "fp32", 16, checkpointed).total


def checks(name: str) -> Look:
    """One entry of the gate's first check."""
    return lambda run: value(run, "gate.json")["checks"][0][name]


def measured(name: str) -> Look:
    """Which metrics, or models, evaluation.json has."""
    return lambda run: sorted({line[name] for line in value(run, "evaluation.json")["results"]})


def asked_of_suites(name: str) -> Look:
    """One entry of suites.json, or of each of its results."""

    def look(run: Run) -> Any:
        found = value(run, "suites.json")
        return found[name] if name in found else [line[name] for line in found["results"]]

    return look


def prompted(name: str) -> Look:
    """One entry of the first prompt of evaluation.json."""
    return lambda run: value(run, "evaluation.json")["prompts"][0][name]


def written(run: Run) -> list[str]:
    """The answers that the base model wrote."""
    return read_column(run.path("predictions/test/base.written.parquet"), "said")


def asked_to_go_on(run: Run) -> list[int]:
    """How many rows the models were asked to go on with."""
    found = value(run, "evaluation.json")["overfitting"]["memorisation"] or {}
    return [line["n"] for line in found.get("extraction", [])]


def price(name: str) -> Look:
    """What a run's time costs, or in what."""

    def look(run: Run) -> Any:
        return getattr(spent_of(run, run.recipe().train.budget), name)

    return look


def listened(run: Run) -> list[str]:
    """The clouds whose notices were read."""
    lines = run.path("events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return [event["cloud"] for event in events if event["event"] == "reading notices"]


def checkpoints_at_a_crash(run: Run) -> list[str]:
    """The checkpoints that a run has which failed after five steps."""
    return sorted(path.name for path in run.path("checkpoints").glob("step-*"))


def base_revision(run: Run) -> Any:
    """The commit of the Hub's cache that the recipe's base is."""
    from afina.models.base import find_base

    return find_base(run.recipe().base.model, run.recipe().base.revision).revision


def card(text: str) -> Look:
    """Whether the release's card says this."""
    return lambda run: text in run.path("release/README.md").read_text("utf-8")


def tracked(name: str) -> Look:
    """What tracking.json says of where the run was sent; null when nothing was."""

    def look(run: Run) -> Any:
        return value(run, "tracking.json")[name] if run.path("tracking.json").exists() else None

    return look


def times_begun(run: Run) -> int:
    """How often processes are started when one is lost each time."""
    from afina.errors import Stopped
    from afina.training.distributed import launch

    begun: list[int] = []

    def attempt(*_given: Any) -> Stopped:
        begun.append(1)
        return Stopped("a process is lost here")

    real, launch._attempt = launch._attempt, attempt
    try:
        launch.train_on_this_machine(run, run.recipe(), find_base(run.recipe().base.model, None))
    except Stopped:
        return len(begun)
    finally:
        launch._attempt = real
    return 0


def gate(**limit: Any) -> str:
    """The override that sets one limit."""
    return f"gate=[{json.dumps(limit)}]"


def changed(kind: str) -> Case:
    """One share of data.augment."""
    name = f"data.augment.{kind}"
    return Case(f"{name}=0.0", f"{name}=0.5", audit("augment"), "data")


SPLITS = (
    "data.split={train: 0.6, validation: 0.2, test: 0.2}",
    "data.split={train: 0.6, validation: 0.1, test: 0.3}",
)
TALK = ("task.kind=generate",)
BY_HALF = ("data.test=[{name: late, source: MORE}]",)
ON_TASKS = ("evaluate.suites.data=TASKS", "train.epochs=1")
SENTIMENT = (*ON_TASKS, "evaluate.suites.tasks=[sst2]")
WRITES = (*TALK, "train.epochs=1", "evaluate.metrics=[exact_match]")
FEW = ("train.epochs=0.2", "evaluate.metrics=[accuracy]", "evaluate.baselines=[]")
PROMPTS = (
    *FEW,
    "data.max_length=224",
    "data.split={train: 0.5, validation: 0.3, test: 0.2}",
    "task.labels=[fruit, metal]",
    "evaluate.prompts=[{name: one}]",
    "evaluate.prompts.calibration=none",
)
BAD_RATE = ("train.learning_rate=0.05", "train.epochs=4")
SHORT = ("train.epochs=1", "train.evaluations_per_epoch=1")
CARD = (*SHORT, "evaluate.metrics=[accuracy]", "evaluate.baselines=[]", "evaluate.memorisation_rows=0")
COURSE = of_lines("loss")
GROUPED = ("train.robust_by=day", *SHORT)
CHOOSING = (*SHORT, "data.split={train: 0.4, validation: 0.4, test: 0.2}")
LEFT_OUT = (*SHORT, "data.train=MORE", "data.split={train: 0.3, validation: 0.2, test: 0.5}")

FIELDS: dict[str, Case] = {
    "version": Case("version=1", "version=2", lambda run: "used", "data"),
    "name": Case("name=tiny", "name=other", lambda run: run.root.parent.name, "data"),
    "seed": Case("seed=13", "seed=14", ids("train"), "data"),
    "base.model": Case("base.model=BASE", "base.model=OTHER", lambda run: asked("base")(run)["sha256"]),
    "base.revision": Case(
        "base.revision=null", "base.revision=v2", base_revision, "none", ("base.model=tiny/llama",)
    ),
    "base.bits": Case("base.bits=16", "base.bits=8", lambda run: run.resolved()["base.bits"]),
    "task.kind": Case("task.kind=classify", "task.kind=text", asked("kind")),
    "task.labels": Case("task.labels=[fruit, metal]", "task.labels=[metal, fruit]", asked("labels")),
    "task.positive": Case("task.positive=fruit", "task.positive=metal", asked("positive")),
    "task.head": Case(
        "task.head=pooled", "task.head=tokens", asked("head"), more=("data.max_length=96",)
    ),
    "task.instruction": Case(
        "task.instruction=null",
        "task.instruction=Fruit or metal?",
        COURSE,
        more=("task.head=tokens", "data.max_length=96"),
    ),
    "data.train.source": Case("data.train=ROWS", "data.train=MORE", audit("rows_read"), "data"),
    "data.train.weight": Case(
        "data.train=[{source: ROWS, weight: 1}]",
        "data.train=[{source: ROWS, weight: 2}]",
        trained("steps"),
    ),
    "data.test.name": Case(
        "data.test=[{name: late, source: MORE}]",
        "data.test=[{name: new, source: MORE}]",
        lambda run: sorted(path.name for path in run.path("data").glob("test_*")),
        "data",
    ),
    "data.test.source": Case(
        "data.test=[{name: late, source: MORE}]",
        "data.test=[{name: late, source: ROWS}]",
        audit("test_sets", "late", "rows"),
        "data",
    ),
    "data.columns.text": Case(
        "data.columns.text=text", "data.columns.text=note", audit("roles"), "data"
    ),
    "data.columns.label": Case(
        "data.columns.label=label", "data.columns.label=day", audit("labels"), "data"
    ),
    "data.columns.prompt": Case(
        "data.columns.prompt=prompt", "data.columns.prompt=other", ids("train"), "data", TALK, "generate"
    ),
    "data.columns.response": Case(
        "data.columns.response=response",
        "data.columns.response=other",
        ids("train"),
        "data",
        TALK,
        "generate",
    ),
    "data.columns.messages": Case(
        "data.columns.messages=messages",
        "data.columns.messages=others",
        ids("train"),
        "data",
        TALK,
        "messages",
    ),
    "data.split.train": Case(
        *SPLITS[:1], "data.split={train: 0.7, validation: 0.2, test: 0.1}", split_rows("train"), "data"
    ),
    "data.split.validation": Case(*SPLITS, split_rows("validation"), "data"),
    "data.split.test": Case(*SPLITS, split_rows("test"), "data"),
    "data.split.group_by": Case(
        "data.split.group_by=null", "data.split.group_by=day", audit("groups"), "data"
    ),
    "data.split.seed": Case("data.split.seed=1", "data.split.seed=2", ids("train"), "data"),
    "data.max_length": Case(
        "data.max_length=64",
        "data.max_length=16",
        audit("splits", "train", "cut_rows"),
        "data",
        ("data.columns.text=note",),
    ),
    "data.over_long": Case(
        "data.over_long=cut",
        "data.over_long=drop",
        split_rows("train"),
        "data",
        ("data.columns.text=note", "data.max_length=19"),
    ),
    "data.near_duplicate": Case(
        "data.near_duplicate=null",
        "data.near_duplicate=0.5",
        audit("near_duplicate", "rows_in_them"),
        "data",
    ),
    "data.balance": Case("data.balance=null", "data.balance=day", audit("balance"), "data"),
    "data.augment.casing": changed("casing"),
    "data.augment.typos": changed("typos"),
    "data.augment.headers": changed("headers"),
    "data.augment.addresses": Case(
        "data.augment.addresses=0.0",
        "data.augment.addresses=1.0",
        audit("augment"),
        "data",
        ("data.columns.text=mail",),
    ),
    "data.augment.truncation": changed("truncation"),
    "data.personal": Case(
        "data.personal=keep",
        "data.personal=mask",
        audit("splits", "train", "masked_rows"),
        "data",
        ("data.train=MORE",),
    ),
    "data.names": Case(
        "data.names=null",
        "data.names=/no/such/model",
        audit("personal"),
        "data",
        ("data.personal=mask",),
    ),
    "data.limit": Case("data.limit=null", "data.limit=20", split_rows("train"), "data"),
    "adapter.kind": Case("adapter.kind=lora", "adapter.kind=dora", trained("trained_parameters")),
    "adapter.rank": Case("adapter.rank=4", "adapter.rank=2", trained("trained_parameters")),
    "adapter.alpha": Case("adapter.alpha=8", "adapter.alpha=16", COURSE),
    "adapter.dropout": Case("adapter.dropout=0.1", "adapter.dropout=0.0", COURSE),
    "adapter.weight": Case("adapter.weight=1.0", "adapter.weight=0.5", trained("adapter_weight")),
    "adapter.targets": Case(
        "adapter.targets=all-linear", "adapter.targets=[q_proj]", trained("trained_parameters")
    ),
    "train.epochs": Case("train.epochs=1", "train.epochs=2", trained("steps")),
    "train.learning_rate": Case(
        "train.learning_rate=0.003", "train.learning_rate=0.002", of_lines("learning_rate")
    ),
    "train.head_learning_rate": Case(
        "train.head_learning_rate=0.00001", "train.head_learning_rate=0.01", COURSE
    ),
    "train.head_strength": Case(
        "train.head_strength=auto", "train.head_strength=0.002", trained("start_strength")
    ),
    "train.threshold_from": Case(
        "train.threshold_from=null", "train.threshold_from=validation", asked("threshold"), more=CHOOSING
    ),
    "train.threshold_by": Case(
        "train.threshold_by=half",
        "train.threshold_by=third",
        lambda run: trained("threshold_choice")(run)["folds"],
        more=(*CHOOSING, "train.threshold_from=left_out", "data.train=MORE"),
    ),
    "train.max_false_positive_rate": Case(
        "train.max_false_positive_rate=0.01",
        "train.max_false_positive_rate=0.9",
        asked("threshold"),
        more=(*CHOOSING, "train.threshold_from=validation"),
    ),
    "train.robust": Case("train.robust=group_dro", "train.robust=vrex", COURSE, more=GROUPED),
    "train.robust_by": Case(
        "train.robust_by=day",
        "train.robust_by=mail",
        lambda run: len(trained("robust")(run)["groups"]),
        more=("train.robust=vrex", *SHORT),
    ),
    "train.robust_strength": Case(
        "train.robust_strength=0.1",
        "train.robust_strength=5.0",
        COURSE,
        more=("train.robust=group_dro", *GROUPED),
    ),
    "train.schedule": Case("train.schedule=cosine", "train.schedule=linear", of_lines("learning_rate")),
    "train.warmup_ratio": Case(
        "train.warmup_ratio=0.05", "train.warmup_ratio=0.5", of_lines("learning_rate")
    ),
    "train.optimizer": Case("train.optimizer=adamw", "train.optimizer=paged_adamw", COURSE),
    "train.neftune_alpha": Case("train.neftune_alpha=null", "train.neftune_alpha=5.0", COURSE),
    "train.weight_decay": Case("train.weight_decay=0.01", "train.weight_decay=0.5", COURSE),
    "train.batch_rows": Case("train.batch_rows=8", "train.batch_rows=16", trained("steps")),
    "train.micro_batch_tokens": Case(
        "train.micro_batch_tokens=2048", "train.micro_batch_tokens=64", memory
    ),
    "train.max_grad_norm": Case("train.max_grad_norm=1.0", "train.max_grad_norm=0.0001", COURSE),
    "train.evaluations_per_epoch": Case(
        "train.evaluations_per_epoch=1",
        "train.evaluations_per_epoch=2",
        lambda run: [line["step"] for line in metrics(run) if line["split"] == "validation"],
    ),
    "train.patience": Case("train.patience=1", "train.patience=null", trained("steps"), more=BAD_RATE),
    "train.checkpoint_steps": Case(
        "train.checkpoint_steps=2",
        "train.checkpoint_steps=25",
        checkpoints_at_a_crash,
        "crash",
        ("train.evaluations_per_epoch=1",),
    ),
    "train.checkpoint_activations": Case(
        "train.checkpoint_activations=false",
        "train.checkpoint_activations=true",
        memory,
        more=("data.max_length=2048",),
    ),
    "train.precision": Case("train.precision=fp32", "train.precision=bf16", COURSE),
    "train.samples": Case(
        "train.samples=0",
        "train.samples=1",
        lambda run: len(trained("samples")(run)),
        more=("task.kind=text", "train.epochs=1", "train.evaluations_per_epoch=1"),
        rows="text",
    ),
    "train.budget.hours": Case(
        "train.budget.hours=null", ("train.budget.hours=1e-9", "seed=71"), trained("steps")
    ),
    "train.budget.gpu_hours": Case(
        "train.budget.gpu_hours=null", ("train.budget.gpu_hours=1e-9", "seed=71"), trained("steps")
    ),
    "train.budget.cost": Case(
        "train.budget.price_per_hour=1",
        ("train.budget.price_per_hour=1", "train.budget.cost=1e-9", "seed=71"),
        trained("steps"),
    ),
    "train.budget.price_per_hour": Case(
        "train.budget.price_per_hour=1", "train.budget.price_per_hour=2", price("price_per_hour"), "data"
    ),
    "train.budget.currency": Case(
        ("train.budget.price_per_hour=1", "train.budget.currency=USD"),
        ("train.budget.price_per_hour=1", "train.budget.currency=EUR"),
        price("currency"),
        "data",
    ),
    "train.budget.machine": Case(
        "train.budget.machine=g5.xlarge", "train.budget.machine=g6.xlarge", price("price"), "data"
    ),
    "train.budget.spot": Case(
        ("train.budget.machine=g5.xlarge", "train.budget.spot=false"),
        ("train.budget.machine=g5.xlarge", "train.budget.spot=true"),
        price("price_per_hour"),
        "data",
    ),
    "train.budget.prices": Case(
        ("train.budget.machine=g5.xlarge", "train.budget.prices=null"),
        ("train.budget.machine=g5.xlarge", "train.budget.prices=/no/such/table"),
        price("price_per_hour"),
        "data",
    ),
    "train.spot": Case(
        ("train.spot=null", "seed=72"),
        ("train.spot=aws", "seed=73"),
        listened,
        "data",
    ),
    "train.distributed.engine": Case(
        "train.distributed.engine=none",
        "train.distributed.engine=fsdp",
        trained("steps"),
        more=("adapter.kind=dora",),
    ),
    "train.distributed.processes": Case(
        "train.distributed.processes=1", "train.distributed.processes=2", trained("steps")
    ),
    "train.distributed.stage": Case(
        "train.distributed.stage=null", "train.distributed.stage=3", trained("steps")
    ),
    "train.distributed.restarts": Case(
        "train.distributed.restarts=0",
        "train.distributed.restarts=3",
        times_begun,
        "none",
        ("train.distributed.engine=ddp", "train.distributed.processes=2"),
    ),
    "train.distributed.address": Case(
        "train.distributed.address=null", "train.distributed.address=auto", trained("steps")
    ),
    "train.distributed.storage": Case(
        "train.distributed.storage=null", "train.distributed.storage=/tmp", trained("steps")
    ),
    "evaluate.metrics": Case(
        "evaluate.metrics=auto", "evaluate.metrics=[accuracy]", measured("metric"), "evaluate"
    ),
    "evaluate.baselines": Case(
        "evaluate.baselines=[tfidf]", "evaluate.baselines=[]", measured("model"), "evaluate"
    ),
    "evaluate.leave_out": Case(
        "evaluate.leave_out=half",
        "evaluate.leave_out=third",
        lambda run: value(run, "evaluation.json")["left_out_folds"],
        "evaluate",
        LEFT_OUT,
    ),
    "evaluate.leave_out_models": Case(
        "evaluate.leave_out_models=[probe]",
        "evaluate.leave_out_models=[tfidf]",
        lambda run: value(run, "evaluation.json")["ranking"]["left_out"],
        "evaluate",
        (*LEFT_OUT, "evaluate.leave_out=half"),
    ),
    "evaluate.slices": Case(
        "evaluate.slices=[]",
        "evaluate.slices=[half]",
        lambda run: len(value(run, "evaluation.json")["gaps"]),
        "evaluate",
        BY_HALF,
    ),
    "evaluate.suites.tasks": Case(
        "evaluate.suites.tasks=[sst2]",
        "evaluate.suites.tasks=[cola]",
        asked_of_suites("task"),
        "suites",
        ON_TASKS,
    ),
    "evaluate.suites.data": Case(
        "evaluate.suites.data=TASKS",
        "evaluate.suites.data=LONGER",
        asked_of_suites("of"),
        "suites",
        SENTIMENT,
    ),
    "evaluate.suites.rows": Case(
        "evaluate.suites.rows=1", "evaluate.suites.rows=2", asked_of_suites("n"), "suites", SENTIMENT
    ),
    "evaluate.suites.shots": Case(
        "evaluate.suites.shots=0",
        "evaluate.suites.shots=1",
        asked_of_suites("shots"),
        "suites",
        SENTIMENT,
    ),
    "evaluate.suites.chat_template": Case(
        "evaluate.suites.chat_template=false",
        "evaluate.suites.chat_template=true",
        asked_of_suites("chat_template"),
        "suites",
        SENTIMENT,
    ),
    "evaluate.swaps": Case(
        "evaluate.swaps=[]",
        "evaluate.swaps=[names, address]",
        lambda run: [
            (line["kind"], line["rows"] > 0) for line in value(run, "evaluation.json")["swaps"]
        ],
        "evaluate",
        BY_HALF,
    ),
    "evaluate.written_rows": Case(
        "evaluate.written_rows=2", "evaluate.written_rows=3", written, "evaluate", WRITES, "generate"
    ),
    "evaluate.max_new_tokens": Case(
        "evaluate.max_new_tokens=1", "evaluate.max_new_tokens=4", written, "evaluate", WRITES, "generate"
    ),
    "evaluate.prompts.rows": Case(
        "evaluate.prompts.rows=10", "evaluate.prompts.rows=11", prompted("rows"), "evaluate", PROMPTS
    ),
    "evaluate.prompts.calibration": Case(
        "evaluate.prompts.calibration=none",
        "evaluate.prompts.calibration=contextual",
        prompted("calibration"),
        "evaluate",
        PROMPTS,
    ),
    "evaluate.prompts.variants.name": Case(
        "evaluate.prompts.variants.0.name=one",
        "evaluate.prompts.variants.0.name=other",
        prompted("name"),
        "evaluate",
        PROMPTS,
    ),
    "evaluate.prompts.variants.instruction": Case(
        "evaluate.prompts.variants.0.instruction=null",
        "evaluate.prompts.variants.0.instruction=Metal?",
        prompted("instruction"),
        "evaluate",
        PROMPTS,
    ),
    "evaluate.prompts.variants.definitions": Case(
        "evaluate.prompts.variants.0.definitions=null",
        "evaluate.prompts.variants.0.definitions={fruit: It grows., metal: It is dug.}",
        prompted("instruction"),
        "evaluate",
        PROMPTS,
    ),
    "evaluate.prompts.variants.reasoning_tokens": Case(
        "evaluate.prompts.variants.0.reasoning_tokens=null",
        "evaluate.prompts.variants.0.reasoning_tokens=2",
        prompted("answer_instruction"),
        "evaluate",
        PROMPTS,
    ),
    "evaluate.prompts.variants.shots": Case(
        "evaluate.prompts.variants.0.shots=0",
        "evaluate.prompts.variants.0.shots=2",
        prompted("shots"),
        "evaluate",
        PROMPTS,
    ),
    "evaluate.compare": Case(
        "evaluate.compare=[]", "evaluate.compare=[nobody@1]", measured("model"), "evaluate", FEW
    ),
    "evaluate.bits": Case("evaluate.bits=[]", "evaluate.bits=[8]", measured("model"), "evaluate", FEW),
    "evaluate.memorisation_rows": Case(
        "evaluate.memorisation_rows=0",
        "evaluate.memorisation_rows=5",
        asked_to_go_on,
        "evaluate",
    ),
    "evaluate.learning_curve": Case(
        "evaluate.learning_curve=[0.5]",
        "evaluate.learning_curve=[0.25]",
        lambda run: sorted({point["rows"] for point in value(run, "learning_curve.json")["points"]}),
        "curve",
        SHORT,
    ),
    "gate.metric": Case(
        gate(metric="accuracy", min=0.1), gate(metric="recall", min=0.1), checks("name"), "gate"
    ),
    "gate.model": Case(
        gate(metric="accuracy", min=0.1),
        gate(metric="accuracy", min=0.1, model="base"),
        checks("name"),
        "gate",
    ),
    "gate.against": Case(
        gate(metric="accuracy", min_gain=-1.0, against="base"),
        gate(metric="accuracy", min_gain=-1.0, against="tfidf"),
        checks("limit"),
        "gate",
    ),
    "gate.set": Case(
        gate(metric="accuracy", min=0.1),
        gate(metric="accuracy", min=0.1, set="late"),
        checks("name"),
        "gate",
        ("data.test=[{name: late, source: MORE}]",),
    ),
    "gate.min_gain": Case(
        gate(metric="accuracy", min_gain=-1.0, against="base"),
        gate(metric="accuracy", min_gain=1.0, against="base"),
        checks("verdict"),
        "gate",
    ),
    "gate.max": Case(
        gate(metric="accuracy", max=1.0), gate(metric="accuracy", max=0.0), checks("verdict"), "gate"
    ),
    "gate.min": Case(
        gate(metric="accuracy", min=0.0), gate(metric="accuracy", min=1.0), checks("verdict"), "gate"
    ),
    "gate.by": Case(
        gate(metric="accuracy", max_gap=0.5, by="half", set="late"),
        gate(metric="accuracy", max_gap=0.5, by="third", set="late"),
        checks("name"),
        "gate",
        ("evaluate.slices=[half, third]", *BY_HALF),
    ),
    "gate.max_gap": Case(
        gate(metric="accuracy", max_gap=1.0, by="half", set="late"),
        gate(metric="accuracy", max_gap=0.0, by="half", set="late"),
        checks("limit"),
        "gate",
        ("evaluate.slices=[half, third]", *BY_HALF),
    ),
    "gate.max_train_gap": Case(
        gate(metric="accuracy", max_train_gap=1.0),
        gate(metric="accuracy", max_train_gap=0.0),
        checks("limit"),
        "gate",
    ),
    "gate.undecided": Case(
        gate(metric="accuracy", min=0.8, undecided="fail"),
        gate(metric="accuracy", min=0.8, undecided="warn"),
        lambda run: (checks("verdict")(run), value(run, "gate.json")["passed"]),
        "gate",
    ),
    "track.mlflow": Case(
        "track.mlflow=null", "track.mlflow=local", tracked("uri"), more=(*SHORT, "seed=21")
    ),
    "track.experiment": Case(
        "track.experiment=null",
        "track.experiment=boxes",
        tracked("experiment"),
        more=(*SHORT, "track.mlflow=local", "seed=22"),
    ),
    "track.tensorboard": Case(
        "track.tensorboard=false",
        "track.tensorboard=true",
        lambda run: len(list(run.path("tensorboard").glob("*"))),
        more=(*SHORT, "seed=23"),
    ),
    "track.registry": Case(
        "track.registry=null",
        "track.registry=local",
        lambda run: run.path("registry.json").exists(),
        "release",
        more=(*SHORT, "seed=24"),
    ),
    "release.license": Case(
        "release.license=null", "release.license=mit", card("license: mit"), "release", more=CARD
    ),
    "release.intended_use": Case(
        "release.intended_use=null",
        "release.intended_use=Sorting boxes.",
        card("Sorting boxes."),
        "release",
        more=CARD,
    ),
    "release.out_of_scope": Case(
        "release.out_of_scope=null",
        "release.out_of_scope=Selling boxes.",
        card("- Selling boxes."),
        "release",
        more=CARD,
    ),
}


# There is one version only; fewer bits need a package that may not be here, paged optimizers a GPU.
# A run that is not there is refused; one that is there is compared in tests/evaluation/test_others.py.
SEEN_BY_REFUSAL = {"version", "evaluate.compare"}
if not torch.cuda.is_available() or not importlib.util.find_spec("bitsandbytes"):
    SEEN_BY_REFUSAL.add("train.optimizer")
if not importlib.util.find_spec("bitsandbytes"):
    SEEN_BY_REFUSAL |= {"base.bits", "evaluate.bits"}
# A spent budget ends with an error; so do GPU hours without a GPU, and a table that is not there.
SEEN_BY_REFUSAL |= {f"train.budget.{name}" for name in ("hours", "gpu_hours", "cost", "prices")}
# Names need a package and a model that are not here; tests/personal/test_names.py has them.
SEEN_BY_REFUSAL.add("data.names")
# Several processes are tested in tests/training/test_distributed.py.
SEEN_BY_REFUSAL |= {
    f"train.distributed.{name}" for name in ("engine", "processes", "stage", "address", "storage")
}
