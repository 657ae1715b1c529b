"""`afina suites`: GLUE, SuperGLUE and the like, of the base and the tuned model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from afina.cli.common import (
    Console,
    JsonOption,
    LangOption,
    RunsOption,
    SetOption,
    check_language,
    print_json,
)
from afina.cli.stages import Target
from afina.language import _


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help=_("Ask the base and the tuned model public test suites: what tuning did to the rest."),
        epilog=_("Example: afina suites phishing glue superglue --data FOLDER"),
    )(suites)


def suites(
    target: Target,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE]...",
            help=_("glue, superglue, xnli_es, own, or any task of lm-evaluation-harness."),
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="FOLDER", help=_("Where the rows are, as TASK.jsonl; else the Hub.")
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option("--rows", metavar="N", min=1, help=_("Rows of each task at most (100).")),
    ] = None,
    set_: SetOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Ask the base and the tuned model public test suites: what tuning did to the rest."""
    import afina

    check_language(lang)
    console = Console()
    found = afina.ask_suites(
        target,
        names or None,
        data=data,
        rows=rows,
        runs=runs,
        overrides=set_ or [],
        say=console.say,
        progress=console.progress,
    )
    if json:
        print_json(found)
        return
    for line in suite_lines(found):
        print(line)


def suite_lines(found: dict[str, Any]) -> list[str]:
    """A line for each task and metric, then the suites' own figures."""
    lines = [
        _("asked {how}, {shots} solved examples, by lm-evaluation-harness {version}").format(
            how=_("in the chat format") if found["chat_template"] else _("as plain text"),
            shots=found["shots"],
            version=found["harness"],
        )
    ]
    values = {(line["task"], line["metric"], line["model"]): line for line in found["results"]}
    differences = {(line["task"], line["metric"]): line for line in found["comparisons"]}
    for task, metric in dict.fromkeys((task, metric) for task, metric, _model in values):
        base, tuned = values.get((task, metric, "base")), values.get((task, metric, "tuned"))
        if base is None or tuned is None:
            continue
        text = (
            f"  {task:22} {metric:9} base {base['value']:.3f}  tuned {tuned['value']:.3f}  "
            f"n {base['n']}/{base['of']}"
        )
        difference = differences.get((task, metric))
        if difference and None not in (difference["difference"], *difference["ci95"]):
            low, high = difference["ci95"]
            text += f"  {difference['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        elif difference and difference["difference"] == 0:
            text += "  " + _("no row was answered otherwise")
        lines.append(text)
    for line in found["suites"]:
        base, tuned = line["models"]["base"], line["models"]["tuned"]
        low, high = line["ci95"]
        lines.append(
            _(
                "{suite}: base {base:.3f}, tuned {tuned:.3f}, difference {difference:+.3f} (95 % "
                "interval {low:+.3f} to {high:+.3f}); on validation rows: not a leaderboard's figure"
            ).format(
                suite=line["suite"],
                base=base["value"],
                tuned=tuned["value"],
                difference=line["difference"],
                low=low,
                high=high,
            )
        )
    return lines
