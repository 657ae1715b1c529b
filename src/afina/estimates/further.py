"""What the models beside the run's own will take in the evaluation: prompts, other runs, fewer bits."""

from __future__ import annotations

from afina.estimates.training import took
from afina.evaluation.answers import Answers, TestRows, test_rows
from afina.evaluation.prompt_asking import VALIDATION, Asking
from afina.evaluation.prompted_writer import PromptedWriter
from afina.recipe_prompts import PromptVariant

ASKED_ROWS = 4  # timed for each variant


def further_seconds(answers: Answers, tests: list[TestRows], tuned: float) -> dict[str, float]:
    """Seconds by part; empty without such models.

    Args:
        tuned: seconds of asking the tuned model about all test sets. Another run's model is taken to be
            as fast; so is one of fewer bits, which on a processor takes some times longer.
    """
    recipe, found = answers.recipe, {}
    others = len(recipe.evaluate.compare) + len(recipe.evaluate.bits)
    if others:
        found["other models"] = tuned * others
    prompts = recipe.evaluate.prompts
    if prompts is not None:
        validation = test_rows(answers.run, recipe, answers.labels, VALIDATION)
        count = min(prompts.rows, len(validation.rows))
        few = validation.rows[:: max(1, len(validation.rows) // ASKED_ROWS)][:ASKED_ROWS]
        part = TestRows(VALIDATION, few, validation.truth[: len(few)], None)
        rates = [_seconds(answers, variant, part) / len(few) for variant in prompts.variants]
        everywhere = sum(len(test.rows) for test in tests)
        # Which variant will be chosen is not known: the test sets by the mean of all.
        found["prompts"] = sum(rates) * count + sum(rates) / len(rates) * everywhere
    return found


def _seconds(answers: Answers, variant: PromptVariant, part: TestRows) -> float:
    """Seconds of asking a variant about some rows."""
    prompts = answers.recipe.evaluate.prompts
    if answers.recipe.task.kind == "generate" and prompts is not None:
        writer = PromptedWriter(answers, prompts)
        way = writer.way(variant)
        return took(lambda: writer.losses_of(way, part.rows))
    asking = Asking(answers)
    prompt = asking.prompt(variant)
    name = f"part_{VALIDATION}"
    return took(lambda: asking.logits(variant, prompt, name, part.rows))
