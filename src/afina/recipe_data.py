"""The recipe's part about rows: sources, test sets, split, columns."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from afina.language import _
from afina.recipe_section import Section


class Source(Section):
    """One source of training rows."""

    source: str = Field(
        min_length=1,
        description="builtin:phishing, a file (.jsonl, .csv, .parquet, .txt), a glob, a folder, or "
        "hf:DATASET[:CONFIG][@SPLIT].",
    )
    weight: float = Field(
        1.0,
        gt=0,
        le=100,
        description="How often a training row of this source is seen in an epoch: 0.5 is a seeded "
        "half, 2 is twice. Validation and test rows are never repeated.",
    )


class TestSet(Section):
    """A further test set: never split, never trained on."""

    __test__ = False  # not a pytest class

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Its name in reports.")
    source: str = Field(min_length=1, description="Where its rows are; as in data.train.")

    @field_validator("name")
    @classmethod
    def _not_a_split(cls, value: str) -> str:
        if value in ("train", "validation", "test"):
            raise ValueError(
                _("{name!r} is the name of a split; give this set another name").format(name=value)
            )
        if value == "left_out":
            raise ValueError(_("left_out is the set of evaluate.leave_out; give this set another name"))
        return value


class Split(Section):
    """How rows are divided. Near-duplicates, and rows with one `group_by` value, stay together."""

    train: float = Field(0.8, gt=0, lt=1, description="Share of the rows that is trained on.")
    validation: float = Field(
        0.1, gt=0, lt=1, description="Share that chooses the best checkpoint and the temperature."
    )
    test: float = Field(0.1, gt=0, lt=1, description="Share that the evaluation is measured on.")
    group_by: str | None = Field(
        None, description="A column whose equal values stay on one side: family, author, source, day."
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**31 - 1,
        description="The split's own seed; empty takes the recipe's seed.",
    )

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(_("train + validation + test must be 1, not {total:g}").format(total=total))
        return self


class Columns(Section):
    """Which column plays which role; empty ones are found from their names and shown."""

    text: str | None = Field(None, description="The column with the text (classify, text).")
    label: str | None = Field(None, description="The column with the label (classify).")
    prompt: str | None = Field(None, description="The column with the prompt (generate).")
    response: str | None = Field(None, description="The column with the response (generate).")
    messages: str | None = Field(
        None, description="The column with a list of {role, content, train} messages (generate)."
    )


class Augment(Section):
    """Shares of the training rows that are changed, so that the form of a source does not help."""

    casing: float = Field(
        0.0, ge=0, le=1, description="Put in lower case, in capitals, or with a capital at each word."
    )
    typos: float = Field(
        0.0, ge=0, le=1, description="Given a wrong letter in 6 of 100 words, one word at least."
    )
    headers: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Stripped of the e-mail header lines they begin with, or given a subject line.",
    )
    addresses: float = Field(
        0.0, ge=0, le=1, description="With other e-mail addresses, links and phone numbers."
    )
    truncation: float = Field(
        0.0, ge=0, le=1, description="Cut after 30 to 100 % of their words, by lot."
    )


def _as_sources(value: Any) -> Any:
    """`train: file` and `train: [file, {source, weight}]` are short for a list of sources."""
    entries = value if isinstance(value, list) else [value]
    return [{"source": entry} if isinstance(entry, str) else entry for entry in entries]


class Data(Section):
    """The rows: where they come from and what is done to them."""

    train: Annotated[list[Source], BeforeValidator(_as_sources)] = Field(
        min_length=1, description="The source of the rows, or a list of sources with weights."
    )
    test: list[TestSet] = Field(
        default_factory=list, description="Further named test sets, never split nor trained on."
    )
    columns: Columns = Field(default_factory=Columns)
    split: Split = Field(default_factory=Split)
    max_length: int = Field(
        2048, ge=16, le=131072, description="Longest row, in tokens, prompt and answer together."
    )
    over_long: Literal["cut", "drop"] = Field(
        "cut",
        description="A row over max_length: cut shortens the classified text at its end, or takes the "
        "oldest whole turns from a conversation; drop leaves the row out. Both are counted.",
    )
    near_duplicate: float | None = Field(
        0.8,
        ge=0.5,
        le=1.0,
        description="Rows whose Jaccard similarity is at least this are one cluster: it stays on one "
        "side of the split, and only the first of rows with equal text is kept. null looks for equal "
        "text only.",
    )
    balance: str | None = Field(
        None,
        min_length=1,
        description="A column (source, channel) of which every value is trained on equally often with "
        "every label: rows of small ones come several times in an epoch, 20 at most, those of large "
        "ones not in every epoch.",
    )
    augment: Augment = Field(
        default_factory=Augment,
        description="Shares of the training rows that are changed, so that the form of a source does "
        "not help.",
    )
    personal: Literal["keep", "mask"] = Field(
        "keep",
        description="mask: placeholders such as [EMAIL_1] and [PHONE_1] stand for e-mail addresses, "
        "phones, cards, bank accounts, identity and tax numbers in every text, prompt and response "
        "before anything else is done with it, and in the texts that the model is asked about later. "
        "keep: texts stay as they are.",
    )
    names: str | None = Field(
        None,
        min_length=1,
        description="An installed spaCy model, or a folder with one, that finds the names of people: "
        "they are masked too, as [NAME_1]. Needs personal: mask and pip install 'afina[names]'.",
    )
    limit: int | None = Field(
        None,
        ge=20,
        description="Train and validate on this many rows at most, a seeded part stratified by label "
        "and group. Test sets stay whole.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [test.name for test in self.test]
        if len(set(names)) != len(names):
            raise ValueError(_("two test sets have the same name"))
        return self

    @model_validator(mode="after")
    def _names_are_masked(self) -> Self:
        if self.names is not None and self.personal != "mask":
            raise ValueError(_("names are masked only with personal: mask"))
        return self
