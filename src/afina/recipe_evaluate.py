"""The recipe's sections on evidence: what is measured, and the limits of the gate."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from afina.language import _
from afina.metric_names import METRICS, SUITE_SCORE, SWAP_FLIPS, SWAPS
from afina.recipe_prompts import Prompts, as_prompts
from afina.recipe_section import Section
from afina.recipe_suites import Suites, as_suites


class Evaluate(Section):
    """What is measured, and against what."""

    metrics: Literal["auto"] | list[Literal[tuple(METRICS)]] = Field(  # type: ignore[valid-type]
        "auto", description=f"auto, or a list of {', '.join(METRICS)}."
    )
    baselines: list[Literal["tfidf", "blend"]] = Field(
        default=["tfidf"],
        description="Models fitted beside the tuned one on the same rows: tfidf (word 1-2 grams, "
        "logistic regression), and blend, the tuned model and tfidf together: a weighted sum of their "
        "log-odds, fitted on the validation rows.",
    )
    leave_out: str | None = Field(
        None,
        min_length=1,
        description="A column (source, channel, country) of which each value is left out in turn: a "
        "model trained without its rows answers the test rows that have it, as the set left_out. "
        "Values with one label only are left out together with one of each other label.",
    )
    leave_out_models: Literal["auto"] | list[Literal["probe", "tfidf", "tuned"]] = Field(
        "auto",
        description="What is trained without each value. auto: probe and tfidf, where the recipe has "
        "them, which costs little; tuned trains an adapter for each fold, in children/.",
    )
    slices: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Columns by whose values each metric is measured apart (country, channel, source), "
        "with the gap between the best and the worst value. Values with fewer than 10 rows are left "
        "out.",
    )
    swaps: list[Literal[SWAPS]] = Field(  # type: ignore[valid-type]
        default_factory=list,
        description="Of a classifier: test texts are asked again with other names of people (names: "
        "gender, region), another country (countries) or another form of address (address: tú, vos, "
        "usted), and the decisions that change are counted. Only texts that hold such words are asked "
        "again, once for each kind, of the tuned model and the baselines.",
    )
    written_rows: int = Field(
        100,
        ge=1,
        description="How many rows of a test set are answered in writing for exact_match, ROUGE, BLEU "
        "and chrF, a seeded part: writing takes seconds a row without a GPU.",
    )
    max_new_tokens: int = Field(
        256, ge=1, le=8192, description="Longest answer that is written for these metrics, in tokens."
    )
    suites: Annotated[Suites, BeforeValidator(as_suites)] = Field(
        default_factory=Suites,
        description="Public test suites, asked of the base and the tuned model as language models.",
    )
    prompts: Annotated[Prompts | None, BeforeValidator(as_prompts)] = Field(
        None,
        description="Prompts compared on the untouched base with the validation rows: the best is the "
        "model `prompted` in every table, and shows whether training was needed. Short: [plain, "
        "few_shot]. null asks nothing.",
    )
    compare: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Other runs, as phishing@1 or a path: their models answer the same test rows. Rows "
        "that one of them was trained on are left out of its figures.",
    )
    bits: list[Literal[4, 8]] = Field(
        default_factory=list,
        description="The tuned model on a base of 8 or 4 bits (bitsandbytes) beside itself, as "
        "tuned_8bit and tuned_4bit: what holding it so costs.",
    )
    memorisation_rows: int = Field(
        50,
        ge=0,
        le=100_000,
        description="How many training rows, and as many others, base and tuned model are asked to go "
        "on with word for word, to see what was learned by heart; 0 asks none.",
    )
    learning_curve: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=list,
        description="Shares of the training rows that are trained on again, to see whether more data "
        "would help: [0.25, 0.5, 1]. 1 is the run itself. Each share costs its share of the "
        "training; `afina evaluate RUN --learning-curve` does the same for a run without it.",
    )

    @field_validator("learning_curve")
    @classmethod
    def _shares_in_order(cls, value: list[float]) -> list[float]:
        if value and (sorted(set(value)) != value or value[0] == 1):
            raise ValueError(
                _("give shares that rise, the first of them below 1, for example [0.25, 0.5, 1]")
            )
        return value

    @field_validator("swaps")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError(_("name each swap once"))
        return value


class Limit(Section):
    """One condition of the gate, decided on the bound of its 95 % interval."""

    metric: Literal[(*METRICS, SWAP_FLIPS, SUITE_SCORE)] = Field(  # type: ignore[valid-type]
        description="The metric that is limited. Or swap_flips: the share of decisions that a swap of "
        "evaluate.swaps changes, with by (names, countries or address) and max. Or suite_score: the "
        "figure of a suite of evaluate.suites, whose name is the set."
    )
    model: str = Field(
        "tuned",
        description="The model it is about: tuned, base, probe, tfidf, blend, prompted, tuned_8bit, "
        "tuned_4bit, or a run of evaluate.compare.",
    )
    against: str | None = Field(None, description="The model that min_gain compares with.")
    set: str = Field(
        "test",
        description="The test set it is measured on; left_out are the rows of evaluate.leave_out; for "
        "suite_score the name of a suite.",
    )
    min_gain: float | None = Field(
        None,
        description="How much better than against the model must be, its whole interval: model minus "
        "against, or against minus model where less is better (perplexity, bits_per_byte, "
        "false_positive_rate, calibration_error).",
    )
    by: str | None = Field(
        None,
        description="The column of evaluate.slices whose values max_gap compares, or the swap that "
        "swap_flips is about.",
    )
    max_gap: float | None = Field(
        None,
        ge=0,
        description="The metric may differ by at most this between the best and the worst value of "
        "`by`.",
    )
    max_train_gap: float | None = Field(
        None,
        ge=0,
        description="The tuned model may be better by at most this on training rows than on validation "
        "rows: accuracy, macro_f1 or perplexity.",
    )
    max: float | None = Field(None, description="The metric may be at most this.")
    min: float | None = Field(None, description="The metric must be at least this.")
    undecided: Literal["fail", "warn"] = Field(
        "fail", description="What an interval that holds the limit inside means."
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        kinds = ("min_gain", "max", "min", "max_gap", "max_train_gap")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                _("give exactly one of {kinds}; found: {found}").format(
                    kinds=", ".join(kinds), found=", ".join(given) or _("none")
                )
            )
        if (self.min_gain is not None) != (self.against is not None):
            raise ValueError(_("min_gain needs against, and against needs min_gain"))
        if self.metric == SWAP_FLIPS:
            if self.max is None or self.by not in SWAPS:
                raise ValueError(
                    _("swap_flips needs max, and by: one of {swaps}").format(swaps=", ".join(SWAPS))
                )
            return self
        if (self.max_gap is not None) != (self.by is not None):
            raise ValueError(_("max_gap needs by, and by needs max_gap"))
        return self
