"""The recipe's sections on evidence: what is measured, and the limits of the gate."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from afina.language import _
from afina.metric_names import METRICS, SWAP_FLIPS, SWAPS
from afina.recipe_section import Section


class Evaluate(Section):
    """What is measured, and against what."""

    metrics: Literal["auto"] | list[Literal[tuple(METRICS)]] = Field(  # type: ignore[valid-type]
        "auto", description=f"auto, or a list of {', '.join(METRICS)}."
    )
    baselines: list[Literal["tfidf"]] = Field(
        default=["tfidf"],
        description="Classical models fitted on the same rows: tfidf (word 1-2 grams, logistic "
        "regression).",
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

    @field_validator("swaps")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError(_("name each swap once"))
        return value


class Limit(Section):
    """One condition of the gate, decided on the bound of its 95 % interval."""

    metric: Literal[(*METRICS, SWAP_FLIPS)] = Field(  # type: ignore[valid-type]
        description="The metric that is limited, or swap_flips: the share of decisions that a swap of "
        "evaluate.swaps changes, with by (names, countries or address) and max."
    )
    model: Literal["tuned", "probe", "base", "tfidf"] = Field(
        "tuned", description="The model it is about."
    )
    against: Literal["base", "probe", "tfidf"] | None = Field(
        None, description="The model that min_gain compares with."
    )
    set: str = Field("test", description="The test set it is measured on.")
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
    max: float | None = Field(None, description="The metric may be at most this.")
    min: float | None = Field(None, description="The metric must be at least this.")
    undecided: Literal["fail", "warn"] = Field(
        "fail", description="What an interval that holds the limit inside means."
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        kinds = ("min_gain", "max", "min", "max_gap")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                _("give exactly one of min_gain, max, min, max_gap; found: {found}").format(
                    found=", ".join(given) or _("none")
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
