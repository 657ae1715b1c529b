"""The untouched base, asked in the best of several ways: is training needed at all?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from afina.data.roles import Row
from afina.errors import AfinaError
from afina.evaluation.answers import Answers, TestRows, test_rows
from afina.evaluation.further import Further
from afina.evaluation.prompt_asking import VALIDATION, Asking
from afina.evaluation.prompt_rows import stratified
from afina.evaluation.score import Measured, label_answers, label_metric, number, results_of
from afina.evaluation.slices import rows_of
from afina.inference.prompt import Prompt
from afina.language import _
from afina.metric_names import LOWER_IS_BETTER, METRICS, RANKING
from afina.metrics.calibration import softmax
from afina.metrics.label_bias import (
    CONTENT_FREE,
    FEWEST_ROWS,
    METHODS,
    Calibration,
    calibrate,
    on_unseen_rows,
)
from afina.recipe_prompts import Prompts, PromptVariant

if TYPE_CHECKING:
    from afina.evaluation.prompted_writer import PromptedWriter

Array = np.ndarray[Any, np.dtype[Any]]


def prompted_model(answers: Answers) -> PromptedClassifier | PromptedWriter | None:
    """The prompted base of a recipe; None where it asks for none."""
    from afina.evaluation.prompted_writer import PromptedWriter

    prompts = answers.recipe.evaluate.prompts
    if prompts is None:
        return None
    if answers.recipe.task.kind == "generate":
        return PromptedWriter(answers, prompts)
    return PromptedClassifier(answers, prompts)


@dataclass(frozen=True)
class Asked:
    """A variant on the validation rows.

    Attributes:
        logits: before any calibration; [rows, labels]. value: of the main metric, on rows that the
            calibration has not seen; by_method: the same for each calibration that was tried.
        calibration: fitted on all of the validation rows.
    """

    variant: PromptVariant
    prompt: Prompt
    logits: Array
    value: float
    by_method: dict[str, float]
    calibration: Calibration
    lines: list[dict[str, Any]]
    rows_cut: int


class PromptedClassifier(Further):
    """Chooses among the variants on the validation rows, then answers as the chosen one.

    It is asked with the run's own engine about all rows: test rows are never among the examples.
    """

    def __init__(self, answers: Answers, prompts: Prompts) -> None:
        self._answers, self._prompts = answers, prompts
        self._asking = Asking(answers)

    @cached_property
    def _rows(self) -> TestRows:
        """The validation rows that variants are compared on."""
        every = test_rows(self._answers.run, self._answers.recipe, self._answers.labels, VALIDATION)
        if not every.rows:
            raise AfinaError(_("there is no validation row to compare prompts on"))
        chosen = stratified(every.truth, len(every.rows), self._prompts.rows, self._answers.recipe.seed)
        return rows_of(every, chosen)

    @cached_property
    def metric(self) -> str:
        """The metric that chooses: the first of the ranking that the recipe measures."""
        from afina.evaluation.measure import wanted_metrics

        wanted = wanted_metrics(self._answers.recipe)
        usable = [name for name in RANKING if name in wanted and self._metric(name) is not None]
        return usable[0] if usable else "macro_f1"

    def _metric(self, name: str) -> Any:
        if METRICS[name].needs not in ("labels", "alarm"):
            return None
        return label_metric(name, self._rows.truth, len(self._answers.labels), self._positive)

    @property
    def _positive(self) -> int | None:
        name = self._answers.settings.positive
        return self._answers.labels.index(name) if name else None

    @cached_property
    def variants(self) -> list[Asked]:
        """Every variant, asked; files that are there are not made again."""
        return [self._try(variant) for variant in self._prompts.variants]

    @cached_property
    def chosen(self) -> Asked:
        """The best on the validation rows; of equal ones the first."""
        best = max(self.variants, key=lambda one: goodness(self.metric, one.value))
        self._answers.run.say(
            _("best prompt on {rows} validation rows: {name} ({metric} {value:.3f})").format(
                rows=len(self._rows.rows), name=best.variant.name, metric=self.metric, value=best.value
            )
        )
        return best

    def _try(self, variant: PromptVariant) -> Asked:
        answers, rows = self._answers, self._rows
        answers.stop.check()
        prompt = self._asking.prompt(variant)
        logits = self._asking.kept_logits(variant, prompt, rows.rows)
        methods = self._methods(len(rows.rows))
        empty = np.zeros((1, len(answers.labels)))
        if "contextual" in methods:
            texts = [Row(text=text, id=f"content_free_{n}") for n, text in enumerate(CONTENT_FREE)]
            empty = self._asking.kept_logits(variant, prompt, texts, ".content_free")
        unseen = {
            method: on_unseen_rows(method, logits, rows.truth, empty, answers.recipe.seed)
            for method in methods
        }
        values = {method: self._value(found) for method, found in unseen.items()}
        method = max(methods, key=lambda one: goodness(self.metric, values[one]))
        return Asked(
            variant=variant,
            prompt=prompt,
            logits=logits,
            value=values[method],
            by_method=values,
            calibration=calibrate(method, logits, rows.truth, empty),
            lines=self._lines(unseen[method]),
            rows_cut=self._asking.rows_cut(variant, prompt, rows.rows),
        )

    def _methods(self, rows: int) -> list[str]:
        """The calibrations that are tried; nothing is fitted on a handful of rows unasked."""
        wanted = self._prompts.calibration
        if wanted != "auto":
            return [wanted]
        return list(METHODS) if rows >= FEWEST_ROWS else ["none"]

    def _measured(self, logits: Array, names: list[str]) -> Measured:
        probabilities = softmax(logits)
        found = label_answers(probabilities.argmax(axis=1), probabilities, self._positive)
        metrics = {name: metric for name in names if (metric := self._metric(name)) is not None}
        return Measured("prompted", found, metrics)

    def _value(self, logits: Array) -> float:
        one = self._measured(logits, [self.metric])
        return float(one.metrics[self.metric](one.answers, np.arange(len(logits))))

    def _lines(self, logits: Array) -> list[dict[str, Any]]:
        """The variant's figures on the validation rows, with intervals."""
        from afina.evaluation.measure import wanted_metrics

        names = list(dict.fromkeys([self.metric, *wanted_metrics(self._answers.recipe)]))
        one = self._measured(logits, names)
        lines = results_of(one, self._rows, self._positive, self._answers.recipe.seed)
        return [{key: line[key] for key in FIGURE} for line in lines]

    def probabilities(self, test: TestRows) -> Array:
        """Probabilities of the labels by the chosen variant; [rows, labels]."""
        best = self.chosen
        logits = self._asking.logits(best.variant, best.prompt, test.name, test.rows)
        return softmax(best.calibration.apply(logits))

    def report(self) -> list[dict[str, Any]]:
        """Every variant as a line of evaluation.json; no row's text is in it, for it is released."""
        labels = self._answers.labels
        return [
            {
                "name": one.variant.name,
                "chosen": one is self.chosen,
                "instruction": one.prompt.instruction,
                "answer_instruction": one.prompt.answer_instruction or None,
                "reasoning_tokens": one.variant.reasoning_tokens,
                "shots": self._asking.shots.get(one.variant.name),
                "rows": len(self._rows.rows),
                "rows_cut": one.rows_cut,
                "metric": self.metric,
                "calibration": one.calibration.method,
                "by_calibration": {name: number(value) for name, value in one.by_method.items()},
                "bias": dict(zip(labels, map(float, one.calibration.bias), strict=True)),
                "temperature": one.calibration.temperature,
                "results": one.lines,
            }
            for one in self.variants
        ]


FIGURE = ("metric", "value", "n", "groups", "ci95", "method")


def goodness(metric: str, value: float) -> float:
    """Higher is better; what is undefined is worst."""
    if not np.isfinite(value):
        return -np.inf
    return -value if metric in LOWER_IS_BETTER else value
