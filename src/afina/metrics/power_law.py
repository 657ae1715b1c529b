"""How an error falls with the training rows: error = scale · rows^(−exponent)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law; an exponent of 0 is an error that stays as it is."""

    scale: float
    exponent: float

    def error(self, rows: float) -> float:
        """The error that so many rows would leave."""
        return float(self.scale * rows**-self.exponent)

    def rows(self, error: float) -> float:
        """How many rows would leave this error; infinite where the error does not fall."""
        if not (self.exponent > 0 and error > 0):
            return math.inf
        power = (math.log(self.scale) - math.log(error)) / self.exponent
        return math.exp(power) if power < 700 else math.inf


def fit_power_law(rows: Array, errors: Array) -> PowerLaw | None:
    """The law through points by least squares of the logarithms; both of shape [points].

    Without a floor that the error never falls under: three points or so cannot tell it from the
    exponent, so the law is for a short way beyond the last point only (Hestness et al. 2017, "Deep
    Learning Scaling is Predictable, Empirically"; Viering & Loog 2021, "The Shape of Learning Curves").
    None where an error is 0, or there are fewer than two different numbers of rows.
    """
    if len(set(rows.tolist())) < 2 or not (errors > 0).all() or not np.isfinite(errors).all():
        return None
    across, up = np.log(rows), np.log(errors)
    middle = across - across.mean()
    slope = float((middle * (up - up.mean())).sum() / (middle**2).sum())
    return PowerLaw(math.exp(float(up.mean()) - slope * float(across.mean())), -slope)
