"""`afina.quantize`, for Python: what `afina quantize` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import afina.exports.quantize as quantising
from afina.arguments import check_name
from afina.exports.cost import ROUNDS
from afina.registry import find_run


def quantize(
    name: str,
    *,
    bits: int = 8,
    rounds: int = ROUNDS,
    estimate: bool = False,
    runs: str = "runs",
    say: Callable[[str], None] = lambda _text: None,
) -> dict[str, Any]:
    """Makes a release at fewer bits and measures what a token costs, beside full precision.

    Args:
        bits: 8 or 4. rounds: of the comparison, at least 10.
        estimate: also make joules out of the processor's data sheet where nothing counts them.
    Returns:
        The value of quantize.json in the run; `passed` is false where the model at these bits differs
        from the run's own by more than they allow: its costs are measured, and it is not kept.
    Raises:
        AfinaError: for other bits, too few rounds, a run without a model.
    """
    check_name(name, "name")
    return quantising.quantize(find_run(name, runs, say), bits, say, rounds, estimate)
