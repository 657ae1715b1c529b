"""The recipe's section on public test suites: GLUE, SuperGLUE and any task of lm-evaluation-harness."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from afina.recipe_section import Section


class Suites(Section):
    """What a model still knows of general tasks, before and after it was tuned."""

    tasks: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Suites and tasks: glue, superglue, xnli_es (XNLI in Spanish), own (tasks made of "
        "this run's test rows), or the name of any task, group or tag of lm-evaluation-harness. Empty "
        "measures none. `suites: [glue]` is short for `suites: {tasks: [glue]}`.",
    )
    data: str | None = Field(
        None,
        min_length=1,
        description="A folder with the rows of each task as TASK.jsonl (and TASK.train.jsonl for "
        "examples), or with the folders glue and superglue; nothing is downloaded then. null reads them "
        "from the Hub.",
    )
    rows: int | None = Field(
        100,
        ge=1,
        description="How many rows of each task are asked at most, a seeded part; null asks all.",
    )
    shots: int = Field(
        0, ge=0, le=64, description="Solved examples put before each question, from the task's own."
    )
    chat_template: bool = Field(
        False,
        description="Ask in the model's chat format. Figures with and without it do not compare, so "
        "that each figure says which it is.",
    )


def as_suites(value: Any) -> Any:
    """`suites: [glue]` is short for `suites: {tasks: [glue]}`."""
    return {"tasks": value} if isinstance(value, list) else value
