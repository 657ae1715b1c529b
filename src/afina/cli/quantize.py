"""`afina quantize RUN`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from afina.cli.common import (
    Console,
    JsonOption,
    LangOption,
    RunsOption,
    bytes_for_people,
    check_language,
    print_json,
)
from afina.errors import EXIT_NO
from afina.language import _


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help=_("Make a release at fewer bits, and measure what a token costs beside full precision."),
        epilog=_("Example: afina quantize phishing --bits 8"),
    )(quantize)


def quantize(
    run: Annotated[str, typer.Argument(metavar="RUN", help=_("A run: a path, NAME or NAME@2."))],
    bits: Annotated[int, typer.Option("--bits", metavar="8|4", help=_("Bits of a weight."))] = 8,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", help=_("Rounds of the comparison, at least 10."))
    ] = 10,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help=_("Where no chip counts joules, estimate them from its data sheet.")
        ),
    ] = False,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make a release at fewer bits, and measure what a token costs beside full precision."""
    import afina

    check_language(lang)
    value = afina.quantize(
        run, bits=bits, rounds=rounds, estimate=estimate, runs=runs, say=Console().say
    )
    if json:
        print_json(value)
    else:
        for line in quantize_lines(value):
            print(line)
    if not value["passed"]:
        raise typer.Exit(EXIT_NO)


def quantize_lines(value: dict[str, Any]) -> list[str]:
    """What a person reads of quantize.json."""
    lines = [
        _(
            "{run} at {bits} bits; {rounds} rounds of {prompt} prompt tokens and {new} generated ones"
        ).format(
            run=value["run"],
            bits=value["bits"],
            rounds=value["rounds"],
            prompt=value["prompt_tokens"],
            new=value["new_tokens"],
        )
    ]
    for name, one in value["runtimes"].items():
        for kind in ("generated", "prompt"):
            found = one[kind]
            line = _("  {runtime}, {kind}: {cpu:.2f} ms of CPU, {bytes} read").format(
                runtime=name.replace("_", " "),
                kind=_("a generated token") if kind == "generated" else _("a prompt token"),
                cpu=1000 * found["cpu_seconds"],
                bytes=bytes_for_people(found["bytes_read"]),
            )
            if found["joules"] is not None:
                line += ", " + _("{joules:.3g} J ({method}: {meter})").format(
                    joules=found["joules"],
                    method=_("measured") if value["energy"]["method"] == "measured" else _("estimated"),
                    meter=value["energy"]["name"],
                )
            lines.append(line)
    lines += [f"- {line}" for line in value["verdicts"]]
    lines += answers_lines(value["answers"][str(value["bits"])])
    lines.append(value["energy"]["note"])
    if not value["gpu"]["measured"]:
        lines.append(value["gpu"]["why"])
    return lines


def answers_lines(found: dict[str, Any]) -> list[str]:
    """What a person reads of a check of an export: next tokens, perplexity, labels."""
    low, high = found["top1"]["ci95"]
    lines = [
        _(
            "the same likeliest token at {same:,} of {places:,} places: {share:.2%} "
            "(95 % interval {low:.2%} to {high:.2%})"
        ).format(
            same=found["top1"]["agreeing"],
            places=found["top1"]["places"],
            share=found["top1"]["share"],
            low=low,
            high=high,
        )
    ]
    rise = found["perplexity"]
    line = _("perplexity {own:.4g} becomes {export:.4g}: {rise:+.2%}").format(**rise)
    if rise["ci95"][0] is not None:
        line += _(" (95 % interval {low:+.2%} to {high:+.2%})").format(
            low=rise["ci95"][0], high=rise["ci95"][1]
        )
    lines.append(line)
    if found["labels"] is not None:
        lines.append(same_label_line(found["labels"]))
        if found["labels"].get("least") is not None:
            lines.append(_("it is judged by its labels: nobody reads the words that it would write"))
    lines += task_lines(found["task"])
    rounding = found["reference"]["own_rounding"]
    if rounding is not None:
        lines.append(
            _(
                "compared in fp32: the run's own model computes in bf16, which changes the likeliest "
                "token at {share:.2%} of places by itself"
            ).format(share=1 - rounding)
        )
    if not found["enough_prompts"]:
        lines.append(_("this run has only {count} rows to compare on").format(count=found["prompts"]))
    return lines


def same_label_line(labels: dict[str, Any]) -> str:
    """For how many rows an export says the run's own label."""
    low, high = labels["ci95"]
    return _(
        "the same label for {same:,} of {rows:,} rows (95 % interval {low:.1%} to {high:.1%})"
    ).format(same=labels["agreeing"], rows=labels["n"], low=low, high=high)


def task_lines(task: list[dict[str, Any]]) -> list[str]:
    """Each metric of the task: the run's own, the export's, and the paired difference."""
    lines = []
    for found in task:
        line = _("{metric} {own:.3f} becomes {export:.3f} on {n} rows").format(**found)
        if found["ci95"][0] is not None:
            line += _(" (difference, 95 % interval {low:+.3f} to {high:+.3f})").format(
                low=found["ci95"][0], high=found["ci95"][1]
            )
        lines.append(line)
    return lines
