"""Any valid recipe reads back as itself, and no text makes anything but a recipe or its faults."""

from __future__ import annotations

import contextlib
import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afina.errors import RecipeError
from afina.recipe import Recipe
from afina.recipe_file import dump_recipe, parse_recipe

words = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and "\x00" not in text)
tricky = st.sampled_from(
    ["no", "on", "1e-4", "1e5", "0x1F", "0o7", ".5", "1_000", "null", "~", "2024-01-01", "a: b"]
)
labels = st.lists(words | tricky, min_size=2, max_size=4, unique=True)


@st.composite
def recipes(draw) -> Recipe:
    """Valid recipes of kind classify."""
    names = draw(labels)
    value = {
        "name": draw(
            st.text(string.ascii_letters + string.digits, min_size=1, max_size=9) | st.just("1e4")
        ),
        "seed": draw(st.integers(0, 2**31 - 1)),
        "base": draw(st.sampled_from(["embedded", {"model": "1e3", "bits": 4}])),
        "task": {
            "labels": names,
            "positive": draw(st.sampled_from([None, *names])),
            "instruction": draw(words),
        },
        "data": {
            "train": draw(st.lists(words | tricky, min_size=1, max_size=3)),
            "near_duplicate": draw(st.none() | st.floats(0.5, 1)),
            "columns": {"text": draw(st.none() | words | tricky)},
        },
        "adapter": {"targets": draw(st.sampled_from(["all-linear", ["q_proj", "v_proj"]]))},
        "train": {
            "learning_rate": draw(st.floats(1e-9, 1)),
            "checkpoint_activations": draw(st.sampled_from(["auto", True, False])),
            "patience": draw(st.none() | st.integers(1, 9)),
        },
        "gate": [
            {"metric": draw(st.sampled_from(["accuracy", "macro_f1"])), "max": draw(st.floats(0, 1))}
        ],
    }
    return Recipe.model_validate(value)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes())
def test_a_written_recipe_reads_back_as_the_same(recipe: Recipe) -> None:
    assert parse_recipe(dump_recipe(recipe)) == recipe


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_makes_anything_but_a_recipe_or_its_faults(text: str) -> None:
    with contextlib.suppress(RecipeError):
        parse_recipe(text)
