"""The run's own model as exports are compared with it: its weights, computed in fp32."""

from __future__ import annotations

from afina.data.chat import Encoded
from afina.exports.agreement import States, states_of
from afina.inference.engine import Engine
from afina.models.load import leave_fast_way


def own_states(engine: Engine, prompts: list[Encoded]) -> States:
    """What the run's own model makes of the prompts.

    A bf16 model rounds every sum that it makes: on the demo's run that alone moves the likeliest token
    at 3 to 4 of 100 places, more than an export may. So the same weights are computed in fp32, adapter
    beside base, and the export is compared with that. Not for a base of 4 or 8 bits.
    """
    leave_fast_way(engine.model)
    engine.model.float()
    return states_of(engine.model, prompts, engine.tokens.pad)
