"""What training may cost: hours, GPU hours, money, and the price that money is counted at."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from afina.language import _
from afina.recipe_section import Section


class Budget(Section):
    """What training may cost."""

    hours: float | None = Field(
        None, gt=0, description="Most hours of wall time that this run's stages may take, over resumes."
    )
    gpu_hours: float | None = Field(
        None, gt=0, description="Most hours of wall time multiplied by the GPUs in use; needs a GPU."
    )
    cost: float | None = Field(
        None, gt=0, description="Most money, hours times their price; needs price_per_hour or machine."
    )
    price_per_hour: float | None = Field(
        None, gt=0, description="What an hour of the whole machine costs you."
    )
    currency: str = Field(
        "USD", pattern=r"^[A-Z]{3}$", description="Currency of cost and price_per_hour."
    )
    machine: str | None = Field(
        None,
        min_length=1,
        description="A machine of the price table, such as g5.xlarge, instead of price_per_hour; "
        "`afina prices list` shows them.",
    )
    spot: bool = Field(False, description="Take the machine's spot price, not the on-demand one.")
    prices: str | None = Field(
        None,
        min_length=1,
        description="A price table of your own (YAML). Empty takes the one that `afina prices copy` "
        "made for you to edit, else the list prices that come with Afina.",
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.price_per_hour is not None and self.machine is not None:
            raise ValueError(_("give price_per_hour or machine, not both"))
        if self.cost is not None and self.price_per_hour is None and self.machine is None:
            raise ValueError(_("cost needs a price: give price_per_hour, or machine"))
        if self.machine is None and (self.spot or self.prices is not None):
            raise ValueError(_("spot and prices are about a machine: give machine too"))
        return self
