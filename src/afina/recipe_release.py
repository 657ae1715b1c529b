"""The part of the recipe about what is said of a released model; nothing of the model depends on it."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from afina.language import _
from afina.recipe_section import Section


class Release(Section):
    """What the model card says that no file of the run can tell; changing it makes no new run."""

    license: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Under which licence the model is published, as the Hub writes it: apache-2.0, mit, "
        "llama3.1. null takes the base's; one derived from Llama 2 or 3 keeps that.",
    )
    intended_use: str | None = Field(
        None,
        min_length=1,
        max_length=2000,
        description="What the model is for, as the card says it, in your language. null says it from "
        "the task.",
    )
    out_of_scope: str | None = Field(
        None,
        min_length=1,
        max_length=2000,
        description="What the model must not be used for, as the card says it besides what follows from "
        "how it was measured.",
    )

    @field_validator("license")
    @classmethod
    def _license_is_an_id(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+_-]*", value):
            raise ValueError(_("must be a licence's id, such as apache-2.0 or mit"))
        return value.lower() if value is not None else None
