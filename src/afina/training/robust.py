"""Training that looks at groups of rows rather than at their mean: group DRO and V-REx.

A group is a value of a column with a label: a source's phishing, a source's legitimate mail. Group DRO
lowers the loss of the worst group (Sagawa et al. 2020, "Distributionally Robust Neural Networks for
Group Shifts"); V-REx asks that the losses of all groups be equal (Krueger et al. 2021,
"Out-of-Distribution Generalization via Risk Extrapolation").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from afina.data.folds import value_of
from afina.data.roles import Row
from afina.errors import DataError
from afina.inference.pooled import PooledHead
from afina.language import _
from afina.metrics.calibration import softmax
from afina.recipe import Train

Array = np.ndarray[Any, np.dtype[Any]]
Kind = Literal["group_dro", "vrex"]
AUTO = {"group_dro": 0.01, "vrex": 1.0}
FORGET = 0.1  # how much a step counts in the running loss of a group
ROUNDS = 40  # of the head's own group DRO
HEAD_STEP = 1.0  # its step: each round is a whole fit, not one mini-batch


def robust_strength(settings: Train) -> float:
    """The strength that the recipe asks for; `auto` depends on the kind."""
    assert settings.robust is not None
    wanted = settings.robust_strength
    return AUTO[settings.robust] if wanted == "auto" else wanted


def group_codes(rows: Sequence[Row], column: str) -> tuple[Array, list[str]]:
    """Each row's group, and the groups' names: `value · label`; rows without a value are one value.

    Raises:
        DataError: when no row has the column.
    """
    if all(value_of(row, column) is None for row in rows):
        raise DataError(
            _("no training row has a value in `{column}` (train.robust_by)").format(column=column),
            fix=_("name another column, or leave train.robust out"),
        )
    names = [f"{value_of(row, column) or '–'} · {row.label}" for row in rows]
    known, codes = np.unique(names, return_inverse=True)
    return codes, [str(name) for name in known]


def dro_weights(before: Array, losses: Array, step: float) -> Array:
    """q_g · exp(step · loss_g), to a sum of 1; a group whose loss is NaN had no rows. [groups].

    The exponentiated-gradient ascent of algorithm 1 of Sagawa et al. 2020.
    """
    exponents = np.where(np.isfinite(losses), step * losses, 0.0)
    raised = before * np.exp(exponents - exponents.max())
    return np.asarray(raised / raised.sum())


def vrex_weights(losses: Array, strength: float) -> Array:
    """What each group's loss counts in the gradient of mean + strength · variance; [groups].

    d/dl_g of mean_g(l) + β · var_g(l) = (1 + 2 β (l_g − mean)) / G (Krueger et al. 2021, eq. 8). Groups
    without a known loss count as those of mean loss. A weight below 0 is possible and means what the
    formula says: a group whose loss is far below the others' is not lowered further.
    """
    known = np.isfinite(losses)
    mean = float(losses[known].mean()) if known.any() else 0.0
    away = np.where(known, losses - mean, 0.0)
    return np.asarray((1 + 2 * strength * away) / len(losses))


class GroupWeights:
    """What the rows of each step count for, by the losses of their groups in the steps before.

    The loss of a step is Σ_g c_g · (mean loss of the step's rows of group g), where c are the weights of
    group DRO or of V-REx. They rest on the losses before the step, since the step's own are known only
    once all its micro-batches are through; the mean number of rows of each group in training, not in the
    step, divides, so that a step without a group lacks only that group's part.

    Attributes:
        weights: c of each group; [groups], 1 / groups at first.
        losses: running mean loss of each group, NaN before its first rows; [groups].
    """

    def __init__(self, kind: Kind, strength: float, codes: Array, names: list[str]) -> None:
        self.kind, self.strength, self.names = kind, strength, names
        self._codes = codes
        groups = len(names)
        # So that with even weights each row counts as in a mean over groups.
        self._shares = len(codes) / np.bincount(codes, minlength=groups)
        self.weights = np.full(groups, 1 / groups)
        self.losses = np.full(groups, np.nan)
        self._sums, self._counts = np.zeros(groups), np.zeros(groups)

    def begin(self) -> None:
        """A step begins, perhaps again after a stop in its middle."""
        self._sums[:] = self._counts[:] = 0

    def of(self, rows: Sequence[int]) -> Array:
        """What each of these rows counts in the step's sum of losses; [rows]."""
        codes = self._codes[list(rows)]
        return np.asarray(self.weights[codes] * self._shares[codes])

    def saw(self, rows: Sequence[int], losses: Array) -> None:
        """Notes the losses of a micro-batch; [rows]."""
        codes = self._codes[list(rows)]
        np.add.at(self._sums, codes, losses)
        np.add.at(self._counts, codes, 1)

    def end(self) -> None:
        """The step is taken: its losses move the weights."""
        with np.errstate(invalid="ignore"):
            seen = self._sums / self._counts  # NaN without rows
        first = np.isnan(self.losses) & np.isfinite(seen)
        moved = np.where(np.isfinite(seen), (1 - FORGET) * self.losses + FORGET * seen, self.losses)
        self.losses = np.where(first, seen, moved)
        if self.kind == "group_dro":
            self.weights = dro_weights(self.weights, seen, self.strength)
        else:
            self.weights = vrex_weights(self.losses, self.strength)

    def state(self) -> dict[str, list[float | None]]:
        """For a checkpoint."""
        losses = [None if np.isnan(loss) else float(loss) for loss in self.losses]
        return {"weights": self.weights.tolist(), "losses": losses}

    def put(self, state: dict[str, list[float | None]]) -> None:
        """Goes on from a checkpoint."""
        if state:
            self.weights = np.array(state["weights"], dtype=float)
            self.losses = np.array(
                [np.nan if loss is None else loss for loss in state["losses"]], dtype=float
            )

    def as_json(self) -> dict[str, Any]:
        """For train.json."""
        groups = zip(self.names, self.weights, self.losses, strict=True)
        return {
            "kind": self.kind,
            "strength": self.strength,
            "groups": {
                name: {"weight": round(float(w), 6), "loss": None if np.isnan(x) else round(float(x), 6)}
                for name, w, x in groups
            },
        }


def fit_robust_head(
    features: Array, truth: Array, labels: int, strength: float, codes: Array, kind: Kind, step: float
) -> PooledHead:
    """The head with an L2 penalty whose groups' losses are as group DRO or V-REx wants them.

    Minimised over all rows: Σ_g c_g · loss_g + ‖w‖² / (2 · strength · rows). V-REx: c and the losses at
    once, by L-BFGS. Group DRO: ROUNDS of raising the weights of the groups with the larger losses and
    fitting again; the mean of the weights over the rounds is what the head is fitted with at last, as
    the average of such rounds approaches the minimax.

    Args:
        features: [rows, hidden]. truth, codes: label and group of each row; [rows].
        strength: inverse strength of the penalty, as of scikit-learn's C. step: V-REx's β; group DRO's
            is HEAD_STEP, since a round is a whole fit.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = (features.std(axis=0, dtype=np.float64) + 1e-6).astype(np.float32)
    rows = ((features - mean) / scale).astype(np.float64)
    fit = _Fit(rows, truth, labels, codes, strength)
    found = np.zeros(labels * (rows.shape[1] + 1))
    if kind == "vrex":
        found = fit.minimise(found, None, step)
    else:
        groups = int(codes.max()) + 1
        weights = np.full(groups, 1 / groups)
        total = np.zeros(groups)
        for _round in range(ROUNDS):
            found = fit.minimise(found, weights, 0.0)
            weights = dro_weights(weights, fit.losses(found), HEAD_STEP)
            total += weights
        found = fit.minimise(found, total / total.sum(), 0.0)
    weight, bias = fit.parts(found)
    return PooledHead(weight.astype(np.float32), bias.astype(np.float32), mean, scale)


class _Fit:
    """A softmax regression over groups."""

    def __init__(self, rows: Array, truth: Array, labels: int, codes: Array, strength: float) -> None:
        self._rows, self._truth, self._labels, self._codes = rows, truth, labels, codes
        self._counts = np.bincount(codes)
        self._penalty = 1 / (strength * len(rows))
        self._goal = np.eye(labels)[truth]

    def parts(self, flat: Array) -> tuple[Array, Array]:
        """Weight [labels, hidden] and bias [labels]."""
        table = flat.reshape(self._labels, -1)
        return table[:, :-1], table[:, -1]

    def losses(self, flat: Array) -> Array:
        """Mean log loss of each group; [groups]."""
        return self._by_group(self._row_losses(self._probabilities(flat)))

    def _probabilities(self, flat: Array) -> Array:
        weight, bias = self.parts(flat)
        return softmax(self._rows @ weight.T + bias)

    def _row_losses(self, probabilities: Array) -> Array:
        right = probabilities[np.arange(len(self._truth)), self._truth]
        return np.asarray(-np.log(np.clip(right, 1e-300, None)))

    def _by_group(self, losses: Array) -> Array:
        return np.asarray(np.bincount(self._codes, weights=losses) / self._counts)

    def value(self, flat: Array, weights: Array | None, beta: float) -> tuple[float, Array]:
        """The cost and its gradient; with `weights` a fixed mean of groups, else mean + β · variance."""
        probabilities = self._probabilities(flat)
        losses = self._by_group(self._row_losses(probabilities))
        if weights is None:
            counts = vrex_weights(losses, beta)
            cost = float(losses.mean() + beta * losses.var())
        else:
            counts, cost = weights, float(weights @ losses)
        of_row = (counts / self._counts)[self._codes]
        error = (probabilities - self._goal) * of_row[:, None]
        weight, _bias = self.parts(flat)
        gradient = np.concatenate(
            [error.T @ self._rows + self._penalty * weight, error.sum(axis=0)[:, None]], axis=1
        )
        return cost + 0.5 * self._penalty * float((weight**2).sum()), gradient.ravel()

    def minimise(self, start: Array, weights: Array | None, beta: float) -> Array:
        """The parameters with the least cost."""
        from scipy.optimize import minimize

        found = minimize(
            self.value,
            start,
            args=(weights, beta),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 500},
        )
        return np.asarray(found.x)
