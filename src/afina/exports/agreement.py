"""Whether two models answer alike: their logits at every place of the same prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.data.batches import every_row
from afina.data.chat import Encoded
from afina.inference.engine import TOKEN_BUDGET
from afina.inference.states import measuring
from afina.metrics.statistics import Interval, bootstrap, joined, wilson
from afina.models.load import decoder, output_head

Array = np.ndarray[Any, np.dtype[Any]]
_BLOCK = 256  # places whose logits exist at one time


@dataclass(frozen=True)
class Agreement:
    """How two models differ.

    Attributes:
        prompts, places: how many were compared; a place is a token that something follows.
        largest_logit: of the first model, by its absolute value; largest_difference: between both.
        agreeing: places at which both find the same next token likeliest, given what the row says
            (teacher-forced). ci95, method: of its share; over prompts where they differ anywhere,
            joined with that over places.
    """

    prompts: int
    places: int
    largest_logit: float
    largest_difference: float
    agreeing: int
    ci95: tuple[float, float]
    method: str

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest logit."""
        return self.largest_difference / max(self.largest_logit, 1e-30)


@dataclass(frozen=True)
class States:
    """What a model makes of the prompts: last states of each, [length, hidden], and its output head."""

    rows: list[Any]
    head: Any

    def means(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Mean state of each prompt, in fp32; [prompts, hidden]."""
        return np.stack([row.float().mean(dim=0).numpy() for row in self.rows])


def states_of(model: Any, prompts: list[Encoded], pad: int) -> States:
    """The last states of a model, kept in the machine's memory."""
    rows: list[Any] = [None] * len(prompts)
    with measuring(model):
        for batch in every_row(prompts, pad, str(model.device), TOKEN_BUDGET):
            states = decoder(model)(input_ids=batch.ids, use_cache=False).last_hidden_state.cpu()
            for row, state, length in zip(batch.rows, states, batch.lengths.tolist(), strict=True):
                rows[row] = state[:length].clone()
    return States(rows, output_head(model))


def compare(first: States, second: States, seed: int) -> Agreement:
    """How the models behind two sets of states differ."""
    import torch

    largest = difference = 0.0
    same: list[int] = []
    with torch.no_grad():
        for one, other in zip(first.rows, second.rows, strict=True):
            count = 0
            for start in range(0, len(one), _BLOCK):
                left = _logits(first.head, one[start : start + _BLOCK])
                right = _logits(second.head, other[start : start + _BLOCK])
                largest = max(largest, float(left.abs().max()))
                difference = max(difference, float((left - right).abs().max()))
                count += int((left.argmax(dim=1) == right.argmax(dim=1)).sum())
            same.append(count)
    lengths = np.array([len(row) for row in first.rows])
    hits, places = int(sum(same)), int(lengths.sum())
    interval = share_interval(np.array(same), lengths, seed)
    return Agreement(
        len(same), places, largest, difference, hits, (interval.low, interval.high), interval.method
    )


def share_interval(same: Array, places: Array, seed: int) -> Interval:
    """95 % interval of the share of places that agree; places of one prompt are not independent.

    Args:
        same: places that agree; [prompts]. places: all of them; [prompts].
    """
    hits, all_places = int(same.sum()), int(places.sum())
    by_place = wilson(hits, all_places)
    if hits == all_places:
        return by_place
    by_prompt = bootstrap(
        lambda rows: same[rows].sum() / max(1, places[rows].sum()), len(same), None, seed
    )
    return joined(by_prompt, by_place)


def _logits(head: Any, states: Any) -> Any:
    return head(states.to(head.weight.device)).float()
