"""`afina run`, and each of its stages alone."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afina.cli.common import (
    Console,
    JsonOption,
    LangOption,
    RunsOption,
    SetOption,
    asked_language,
    check_language,
    print_json,
)
from afina.errors import EXIT_NO
from afina.language import _

if TYPE_CHECKING:
    from afina.api import RunResult

Target = Annotated[
    str,
    typer.Argument(metavar="RECIPE-or-RUN", help=_("A recipe file, or a run: a path, NAME or NAME@2.")),
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        help=_(
            "All stages: data, train, evaluate, gate, release, report. Again: goes on where it stopped."
        ),
        epilog=_("Example: afina run recipes/phishing.yaml --set train.epochs=5"),
    )(run)
    app.command(
        help=_("Fine-tune; prepares the data first if that is needed."),
        epilog=_("Example: afina train recipes/phishing.yaml"),
    )(train)
    app.command(
        help=_("Measure base, probe, tuned model and baseline on the test sets."),
        epilog=_("Example: afina evaluate phishing --learning-curve"),
    )(evaluate)
    app.command(
        help=_("Decide whether the model keeps to the recipe's limits; exit code 1 when it does not."),
        epilog=_("Example: afina gate phishing@2"),
    )(gate)
    app.command(
        help=_("Write the card and the manifest of a model that passed the gate."),
        epilog=_("Example: afina release phishing"),
    )(release)
    app.command(
        help=_("Write report.html, in English or Spanish."),
        epilog=_("Example: afina report phishing --lang es"),
    )(report)


def run(
    target: Target,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> int:
    """All stages: data, train, evaluate, gate, release, report. Again: goes on where it stopped."""
    return _do("run", target, set_, runs, json, lang)


def train(
    target: Target,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> int:
    """Fine-tune; prepares the data first if that is needed."""
    return _do("train", target, set_, runs, json, lang)


def evaluate(
    target: Target,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help=_("Also train on 25 and 50 % of the rows, to see whether more data would help."),
        ),
    ] = False,
    json: JsonOption = False,
    lang: LangOption = None,
) -> int:
    """Measure base, probe, tuned model and baseline on the test sets."""
    return _do("evaluate", target, set_, runs, json, lang, learning_curve=learning_curve)


def gate(
    target: Target,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> int:
    """Decide whether the model keeps to the recipe's limits; exit code 1 when it does not."""
    return _do("gate", target, set_, runs, json, lang)


def release(
    target: Target,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> int:
    """Write the card and the manifest of a model that passed the gate."""
    return _do("release", target, set_, runs, json, lang)


def report(
    target: Target,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    reveal: Annotated[
        bool, typer.Option("--reveal", help=_("Show rows as they are, not masked."))
    ] = False,
    json: JsonOption = False,
    lang: LangOption = None,
) -> int:
    """Write report.html, in English or Spanish."""
    return _do("report", target, set_, runs, json, lang, reveal=reveal)


def _do(
    verb: str,
    target: str,
    overrides: list[str] | None,
    runs: str,
    as_json: bool,
    lang: str | None,
    **more: Any,
) -> int:
    import afina

    check_language(lang)
    if verb in ("run", "report"):
        more["language"] = lang or asked_language()
    console = Console()
    together: AbstractContextManager[None] = nullcontext()
    if "RANK" in os.environ:  # torchrun has started several of this program
        from afina.training.distributed.torchrun import follow, follows, leading

        if follows():
            follow()
            return 0
        together = leading()
    with together:
        result = getattr(afina, verb)(
            target,
            runs=runs,
            overrides=overrides or [],
            say=console.say,
            progress=console.progress,
            **more,
        )
    if as_json:
        print_json(result_value(result))
    else:
        _print(verb, result)
    decides = verb in ("run", "gate", "release")
    return EXIT_NO if decides and result.passed is False else 0


def result_value(result: RunResult) -> dict[str, Any]:
    """A run for machines."""
    return {
        "run": f"{result.name}@{result.number}",
        "folder": str(result.folder),
        "did_work": result.did_work,
        "passed": result.passed,
        "report": str(result.report) if result.report else None,
        "evaluation": result.evaluation,
        "learning_curve": result.learning_curve,
        "training": {name: value for name, value in result.training.items() if name != "samples"},
    }


def _print(verb: str, result: RunResult) -> None:
    from afina.cli.figures import figure_lines, gate_lines, verdict_lines
    from afina.cli.overfitting_lines import overfitting_lines

    if not result.did_work:
        print(_("nothing to do: everything was done already"))
    if verb in ("run", "report"):
        for line in verdict_lines(result):
            print(line)
    if verb in ("run", "evaluate", "report"):
        for line in [*figure_lines(result), *overfitting_lines(result)]:
            print(line)
    if verb in ("run", "gate", "release"):
        for line in gate_lines(result):
            print(line)
    if verb in ("run", "report") and result.report:
        print(_("report: {path}").format(path=result.report))
    title = f"{result.name}@{result.number}"
    if verb == "run":
        print(_("next: afina chat {title}").format(title=title))
    elif verb == "train":
        print(_("next: afina evaluate {title}").format(title=title))
