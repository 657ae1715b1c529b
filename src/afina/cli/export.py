"""`afina export RUN`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from afina.cli.quantize import answers_lines, same_label_line, task_lines
from afina.language import _

if TYPE_CHECKING:
    from afina.exports.export import ExportResult


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help=_("Make a model for other tools of a run: merged, adapter, or files for one of them."),
        epilog=_("Example: afina export phishing --to merged --out phishing-model"),
    )(export)


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help=_("A run: a path, NAME or NAME@2."))],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="KIND",
            help=_("merged, adapter, onnx, gguf, endpoint, torchserve, vllm or ray."),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help=_("Where to; empty takes exports/KIND in the run.")
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            metavar="N",
            help=_("16 or 32 (onnx: 32, 8 or 4; gguf: 16, 8 or 4); empty: the run's, of onnx 8."),
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help=_("Replace an export that is in the folder."))
    ] = False,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make a model for other tools of a run: merged, adapter, or files for one of them."""
    import afina

    check_language(lang)
    result = afina.export(
        run, to=to, out=out, bits=bits, overwrite=overwrite, runs=runs, say=Console().say
    )
    if json:
        print_json(result.as_json())
        return
    for line in export_lines(result):
        print(line)


def export_lines(result: ExportResult) -> list[str]:
    """What a person reads of an export."""
    size = bytes_for_people(result.bytes)
    lines = [_("{kind}: {folder}, {size}").format(kind=result.kind, folder=result.folder, size=size)]
    found = result.figures
    if not found:
        return lines
    if "perplexity" in found:
        return lines + answers_lines(found)
    lines.append(
        _(
            "against the run's own model, {prompts} prompts: largest logit difference {difference:.2g}, "
            "{share:.2g} of the largest logit (the adapter itself: {effect:.2g})"
        ).format(
            prompts=found["prompts"],
            difference=found["largest_difference"],
            share=found["relative_difference"],
            effect=found["adapter_effect"],
        )
    )
    low, high = found["top1"]["ci95"]
    lines.append(
        _(
            "the same likeliest token at {same:,} of {places:,} places: {share:.2%} "
            "(95 % interval {low:.2%} to {high:.2%})"
        ).format(
            same=found["top1"]["agreeing"],
            places=found["places"],
            share=found["top1"]["share"],
            low=low,
            high=high,
        )
    )
    lines += _rounding_line(found) + _label_lines(found)
    if not found["enough_prompts"]:
        lines.append(_("this run has only {count} rows to compare on").format(count=found["prompts"]))
    return lines


def _label_lines(found: dict[str, Any]) -> list[str]:
    """The labels that an exported handler says."""
    if "served_labels" not in found:
        return []
    return [same_label_line(found["served_labels"]), *task_lines(found["served_task"])]


def _rounding_line(found: dict[str, Any]) -> list[str]:
    """What bf16 does by itself, where an export was compared with a model that computes in it."""
    if found.get("own_rounding") is None:
        return []
    text = _(
        "compared in fp32: the run's own model computes in bf16, which changes the likeliest "
        "token at {share:.2%} of places by itself"
    )
    return [text.format(share=1 - found["own_rounding"])]
