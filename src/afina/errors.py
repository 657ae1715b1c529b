"""The errors that a person can meet, and the one place that renders them.

Every error says what is wrong, where, and what to do. A stage raises one of these; the command line
prints it and leaves with its exit code. A traceback is a defect, not an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_OK = 0
EXIT_NO = 1  # the answer is no: a gate failed, a signature is bad
EXIT_WRONG_USE = 2  # wrong use or wrong input
EXIT_STOPPED = 3  # stopped early on purpose, resumable
EXIT_INTERRUPTED = 130  # interrupted by a person, resumable


class AfinaError(Exception):
    """Something a person can put right.

    Args:
        what: what is wrong, one sentence.
        where: file, line and field, when they are known.
        fix: what to do about it.
    """

    exit_code = EXIT_WRONG_USE

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        return render(self)

    def as_json(self) -> dict[str, object]:
        """The same error for a machine."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "fix": self.fix,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True)
class Problem:
    """One fault of a recipe: the dotted field, the line if known, and what to do."""

    field: str
    what: str
    line: int | None = None
    fix: str | None = None


class RecipeError(AfinaError):
    """A recipe that cannot be used; holds every fault found, not only the first."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        lines = []
        for problem in problems:
            place = f"{path}:{problem.line}" if problem.line else path
            lines.append(f"{place}: {problem.field}: {problem.what}")
            if problem.fix:
                lines.append(f"    {problem.fix}")
        super().__init__("\n".join(lines), where=None, fix=None)

    def as_json(self) -> dict[str, object]:
        faults = [
            {"field": p.field, "what": p.what, "line": p.line, "fix": p.fix} for p in self.problems
        ]
        return {**super().as_json(), "where": self.path, "problems": faults}


class DataError(AfinaError):
    """Rows that cannot be used."""


class BaseModelError(AfinaError):
    """A base model that cannot be had or is not of the Llama architecture."""


class StorageError(AfinaError):
    """A folder that cannot be written, or a disk that is full."""


class SignatureError(AfinaError):
    """A release that nobody who is trusted has signed, or whose signature is wrong: the answer is no."""

    exit_code = EXIT_NO


class SealError(AfinaError):
    """A sealed file that was changed, cut or is none, or a key or passphrase that does not open it."""


class Stopped(AfinaError):
    """Stopped early on purpose, in a state from which the same command goes on."""

    exit_code = EXIT_STOPPED


class BudgetSpent(Stopped):
    """The recipe's budget is spent; with a higher one the same command goes on."""


class Interrupted(AfinaError):
    """Interrupted by a person (Ctrl-C) or by a signal; the same command goes on."""

    exit_code = EXIT_INTERRUPTED


class MissingExtra(AfinaError):
    """An optional feature whose packages are not installed."""


def render(error: AfinaError) -> str:
    """What a person reads: the sentence, then where, then what to do."""
    from afina.language import _

    parts = [error.what]
    if error.where:
        parts.append(_("  where: {where}").format(where=error.where))
    if error.fix:
        parts.append(_("  what to do: {fix}").format(fix=error.fix))
    return "\n".join(parts)
