"""The recipe: every setting of a model's life, typed, with its default, its limits and its reason.

The models are frozen and refuse keys they do not know. `recipe_file.py` reads them from YAML and turns
what pydantic found into errors with a line and a suggestion.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from afina.language import _
from afina.recipe_budget import Budget
from afina.recipe_data import Augment as Augment
from afina.recipe_data import Columns as Columns
from afina.recipe_data import Data as Data
from afina.recipe_data import Source as Source
from afina.recipe_data import Split as Split
from afina.recipe_data import TestSet as TestSet
from afina.recipe_distributed import Distributed
from afina.recipe_evaluate import Evaluate as Evaluate
from afina.recipe_evaluate import Limit as Limit
from afina.recipe_release import Release as Release
from afina.recipe_rules import faults_between
from afina.recipe_section import Section as Section

UNBUILT_KINDS = ("multilabel", "tag", "retrieve")


class Base(Section):
    """The pretrained model that is tuned."""

    model: str = Field(
        "embedded",
        min_length=1,
        description="The base model: `embedded` (SmolLM2-135M-Instruct, works offline), a Hub id such "
        "as meta-llama/Llama-3.1-8B-Instruct, a local folder, or a .gguf file. Llama architecture only.",
    )
    revision: str | None = Field(
        None, description="The commit, tag or branch of a Hub model; empty means its main branch."
    )
    bits: Literal["auto", 4, 8, 16] = Field(
        "auto",
        description="How the frozen base is held in memory: 16 = not quantised, 8 or 4 = bitsandbytes "
        "(QLoRA). `auto` takes the most that fits in this machine's memory.",
    )


class Task(Section):
    """What the model learns to do."""

    kind: Literal["classify", "generate", "text"] = Field(
        "classify",
        description="classify (text to label), generate (prompt to response, or messages) or text "
        "(continued pre-training on documents, every token trained).",
    )
    labels: list[str] | None = Field(
        None, description="The labels, in order; empty takes those of the training data, sorted."
    )
    positive: str | None = Field(
        None,
        description="The label that an alarm is about: it has the false-positive rate and the AUC. "
        "Empty takes the last label when there are two.",
    )
    head: Literal["pooled", "tokens"] = Field(
        "pooled",
        description="How a classifier answers. pooled: a linear head on the mean of the last layer's "
        "states, fitted first on the frozen base and then trained with the adapter. tokens: the label "
        "is the answer's text, scored by its likelihood.",
    )
    instruction: str | None = Field(
        None,
        description="The question asked about a text, by the tokens head and by the base model "
        "zero-shot; empty asks for one of the labels. For generate: a system message put before each "
        "prompt.",
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _kind_is_built(cls, value: object) -> object:
        if isinstance(value, str) and value in UNBUILT_KINDS:
            raise ValueError(
                _("the kind {kind!r} is not built yet; use classify, generate or text").format(
                    kind=value
                )
            )
        return value

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        if self.labels is None:
            return self
        if self.kind != "classify":
            raise ValueError(_("labels belong to kind classify, not to {kind}").format(kind=self.kind))
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(_("labels needs at least two different labels"))
        if any(not label.strip() for label in self.labels):
            raise ValueError(_("a label is empty"))
        if self.positive is not None and self.positive not in self.labels:
            raise ValueError(
                _("positive is {positive!r}, which is not one of {labels}").format(
                    positive=self.positive, labels=", ".join(self.labels)
                )
            )
        return self


class Adapter(Section):
    """The small trained part beside the frozen base."""

    kind: Literal["lora", "rslora", "dora", "full"] = Field(
        "lora",
        description="lora (Hu et al. 2021), rslora (scaled by the root of the rank, Kalajdzievski "
        "2023), dora (direction and magnitude, Liu et al. 2024) or full: no adapter, all weights of "
        "the base are trained.",
    )
    rank: int = Field(16, ge=1, le=512, description="Rank of the two small matrices.")
    alpha: int = Field(32, ge=1, le=2048, description="Scale: the update is multiplied by alpha/rank.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the adapter's input.")
    targets: Literal["all-linear"] | list[str] = Field(
        "all-linear",
        description="Adapted layers: all-linear, or a list of q_proj, k_proj, v_proj, o_proj, "
        "gate_proj, up_proj, down_proj.",
    )
    weight: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="How much of the trained adapter is released, between the base (0) and all of it "
        "(1). auto, for a pooled head: the least of 0.25, 0.5, 0.75 and 1 whose accuracy on the "
        "validation rows is at most 5 points below the best and not shown to be worse, since less of it "
        "holds better on sources never seen; else 1.",
    )

    @field_validator("targets")
    @classmethod
    def _targets_exist(cls, value: str | list[str]) -> str | list[str]:
        known = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        if isinstance(value, list):
            wrong = [name for name in value if name not in known]
            if wrong or not value:
                raise ValueError(
                    _("targets {wrong} not among {known}").format(
                        wrong=", ".join(wrong) or "[]", known=", ".join(known)
                    )
                )
        return value


class Train(Section):
    """The training loop."""

    epochs: float = Field(
        3,
        gt=0,
        le=100,
        description="Passes over the training rows; 0.5 stops in the middle of the first.",
    )
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Highest learning rate of AdamW.")
    head_learning_rate: float = Field(
        1e-5,
        ge=0,
        le=1,
        description="Highest learning rate of the pooled head. It starts fitted and its weights are "
        "small, so that at the adapter's rate AdamW would soon undo it; 0 keeps it as it was fitted.",
    )
    head_strength: Literal["auto"] | Annotated[float, Field(gt=0, le=1e6)] = Field(
        "auto",
        description="Inverse strength of the L2 penalty of the pooled head that training starts from. "
        "auto: the probe's own, chosen on the validation rows. A small one, 0.001, holds better on "
        "sources never seen.",
    )
    threshold_from: Literal["validation", "left_out"] | None = Field(
        None,
        description="The rows that choose the threshold of an alarm, for two labels. null: 0.5. "
        "validation: the validation rows. left_out: what the probe says of rows of each value of "
        "threshold_by when it is fitted without that value; they choose the temperature too.",
    )
    threshold_by: str | None = Field(
        None, min_length=1, description="The column whose values are left out for threshold_from."
    )
    max_false_positive_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="threshold_from takes the lowest threshold with at most this share of false "
        "alarms on its rows; empty takes the one with the best macro-F1.",
    )
    robust: Literal["group_dro", "vrex"] | None = Field(
        None,
        description="How groups of rows count in the loss of a pooled head and its adapter. null: each "
        "row the same. group_dro: the groups with the larger loss more and more (Sagawa et al. 2020). "
        "vrex: all groups the same, and the variance of their losses is added (Krueger et al. 2021).",
    )
    robust_by: str | None = Field(
        None,
        min_length=1,
        description="The column whose values, each with each label, are the groups of train.robust.",
    )
    robust_strength: Literal["auto"] | Annotated[float, Field(gt=0, le=1000)] = Field(
        "auto",
        description="group_dro: the step with which weights follow losses; auto is 0.01. vrex: how much "
        "the variance counts; auto is 1.",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the learning rate falls after the warm-up."
    )
    warmup_ratio: float = Field(
        0.05, ge=0, le=0.5, description="Share of the steps in which the learning rate rises from zero."
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"] = Field(
        "adamw",
        description="adamw keeps its two moments in fp32; adamw_8bit in 8 bits (bitsandbytes); the "
        "paged ones, on a GPU only, move them to the machine's memory when the GPU's is full.",
    )
    neftune_alpha: float | None = Field(
        None,
        gt=0,
        le=100,
        description="NEFTune (Jain et al. 2023): uniform noise of at most alpha / sqrt(tokens × width) "
        "on the embeddings, in training only; 5 is usual. Empty adds none.",
    )
    weight_decay: float = Field(
        0.01, ge=0, le=1, description="Decoupled weight decay (L2) on the trained matrices."
    )
    batch_rows: int = Field(16, ge=1, le=4096, description="Rows in one optimizer step.")
    micro_batch_tokens: int = Field(
        2048,
        ge=16,
        description="Padded tokens in one forward pass; a step's rows are taken in as many as needed. "
        "Smaller needs less memory; the result is the same.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="The gradient is scaled down to this norm.")
    evaluations_per_epoch: int = Field(
        2, ge=1, le=100, description="Validations (and chances of a best checkpoint) in an epoch."
    )
    patience: int | None = Field(
        4,
        ge=1,
        description="Early stopping: end after this many validations without a better loss; null never "
        "does.",
    )
    checkpoint_steps: int = Field(
        25, ge=1, description="Optimizer steps between two checkpoints to go on from after a crash."
    )
    checkpoint_activations: Literal["auto", True, False] = Field(
        "auto",
        description="Compute activations again in the backward pass instead of keeping them: less "
        "memory, more time. auto: only when the estimate does not fit.",
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="Number format of the frozen base; what is trained stays fp32. auto: bf16 where a "
        "short measurement on this machine shows that it pays.",
    )
    samples: int = Field(
        2, ge=0, le=20, description="Answers sampled at each validation (generate and text)."
    )
    budget: Budget = Field(
        default_factory=Budget,
        description="What training may cost. It stops when one of these is spent, with a checkpoint "
        "and exit code 3; changing them makes no new run and does nothing again.",
    )
    spot: Literal["aws", "google", "azure"] | None = Field(
        None,
        description="Read this cloud's notice that it takes the machine back, from its metadata "
        "address: then a checkpoint, and exit code 3. null asks nobody; SIGTERM always works.",
    )
    distributed: Distributed = Field(default_factory=Distributed)


class Track(Section):
    """Where the course and the figures of a run are sent besides its folder; nowhere by default."""

    mlflow: str | None = Field(
        None,
        min_length=1,
        description="MLflow: local (SQLite and files in the folder tracking beside the runs) or a "
        "tracking URI such as http://127.0.0.1:5000. null sends nothing. Rows and predictions are never "
        "sent.",
    )
    experiment: str | None = Field(
        None, min_length=1, max_length=200, description="MLflow's experiment; empty takes the name."
    )
    tensorboard: bool = Field(
        False, description="Write the course of training as a TensorBoard event file into the run."
    )
    registry: str | None = Field(
        None,
        min_length=1,
        description="Register each finished release as the candidate: local (the SQLite store beside "
        "the runs), or the address of an MLflow server or SQLite file. null registers nothing.",
    )


def _as_base(value: Any) -> Any:
    """`base: embedded` is short for `base: {model: embedded}`."""
    return {"model": value} if isinstance(value, str) else value


class Recipe(Section):
    """One model's whole life."""

    version: Literal[1] = Field(1, description="Version of the recipe's form.")
    name: str = Field(description="Name of the run's folder: letters, digits, - and _.")
    seed: int = Field(
        13, ge=0, le=2**31 - 1, description="The one seed: split, order, dropout, bootstrap."
    )
    base: Annotated[Base, BeforeValidator(_as_base)] = Field(default_factory=Base)
    task: Task = Field(default_factory=Task)
    data: Data
    adapter: Adapter = Field(default_factory=Adapter)
    train: Train = Field(default_factory=Train)
    evaluate: Evaluate = Field(default_factory=Evaluate)
    gate: list[Limit] = Field(
        default_factory=list, description="Limits that a model must keep to be released."
    )
    track: Track = Field(default_factory=Track)
    release: Release = Field(default_factory=Release)

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", value):
            raise ValueError(
                _("must begin with a letter or digit and hold only letters, digits, - and _")
            )
        return value

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        faults = faults_between(self)
        if faults:
            raise ValueError("\n".join(faults))
        return self
