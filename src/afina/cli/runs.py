"""`afina runs …`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from afina.cli.common import (
    JsonOption,
    LangOption,
    RunsOption,
    bytes_for_people,
    check_language,
    print_json,
)
from afina.language import _

if TYPE_CHECKING:
    from pathlib import Path

    from afina.runs.compare import Figure, RunComparison, RunSummary
    from afina.runs.folder import Run

WIDTH = 80
NOTHING = "–"
SHORT = {"macro_f1": "F1", "perplexity": "ppl"}

app = typer.Typer(help=_("List, compare and tidy up runs."), no_args_is_help=True)


@app.command(
    "list",
    help=_("List the runs: how far each one is, and its main figure."),
    epilog=_("Example: afina runs list --runs /data/runs"),
)
def list_(runs: RunsOption = "runs", json: JsonOption = False, lang: LangOption = None) -> None:
    """List the runs: how far each one is, and its main figure."""
    from afina.runs.compare import summaries

    check_language(lang)
    found = summaries(runs)
    if json:
        print_json([summary.as_json() for summary in found])
        return
    if not found:
        print(_("no runs in {runs}; make one with `afina run RECIPE`").format(runs=runs))
        return
    head = [_("RUN"), _("MADE"), _("STATE"), _("GATE"), _("TEST FIGURE"), _("SIZE")]
    for line in table([head, *(_cells(summary) for summary in found)]):
        print(line)
    for summary in found:
        for what in summary.damage:
            print(_("damaged: {title}: {what}").format(title=summary.title, what=what))


@app.command(
    help=_("Show one run: its state, its figures and whether it passed the gate."),
    epilog=_("Example: afina runs show phishing@2"),
)
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help=_("A run: a path, NAME or NAME@2."))],
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Show one run: its state, its figures and whether it passed the gate."""
    from afina.registry import find_run
    from afina.runs.compare import compare_runs, summarize

    check_language(lang)
    found = find_run(run, runs)
    summary, figures = summarize(found), compare_runs([found])
    if json:
        print_json({**summary.as_json(), "figures": figures.as_json()["figures"]})
        return
    for line in [*summary_lines(summary), *figure_lines(figures)]:
        print(line)


@app.command(
    help=_("Compare runs: the settings that differ, and the figures side by side."),
    epilog=_("Example: afina runs compare phishing@1 phishing@2"),
)
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN…", help=_("Two runs or more."))],
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Compare runs: the settings that differ, and the figures side by side."""
    from afina.errors import AfinaError
    from afina.registry import find_run
    from afina.runs.compare import compare_runs

    check_language(lang)
    if len(names) < 2:
        raise AfinaError(
            _("one run cannot be compared"), fix=_("name two runs; `afina runs show RUN` shows one")
        )
    found = compare_runs([find_run(name, runs) for name in names])
    if json:
        print_json(found.as_json())
        return
    for line in [*setting_lines(found), "", *figure_lines(found)]:
        print(line)
    for what in found.damage:
        print(_("damaged: {what}").format(what=what))


@app.command(
    help=_("Show what can be removed, such as checkpoints of finished runs; --yes removes it."),
    epilog=_("Example: afina runs clean --yes"),
)
def clean(
    runs: RunsOption = "runs",
    yes: Annotated[bool, typer.Option("--yes", help=_("Remove what is listed."))] = False,
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Show what can be removed, such as checkpoints of finished runs; --yes removes it."""
    check_language(lang)
    found = leftovers(runs)
    total = sum(size for _path, size in found)
    if yes:
        for path, _size in found:
            remove(path)
    if json:
        files = [{"path": str(path), "size_bytes": size} for path, size in found]
        print_json({"removed": yes, "size_bytes": total, "leftovers": files})
        return
    for path, size in found:
        print(f"  {bytes_for_people(size):>10}  {path}")
    if not found:
        print(_("nothing to remove"))
    elif yes:
        print(_("removed: {size} ({bytes:,} bytes)").format(size=bytes_for_people(total), bytes=total))
    else:
        print(
            _("to be removed with --yes: {size} ({bytes:,} bytes)").format(
                size=bytes_for_people(total), bytes=total
            )
        )


def leftovers(runs: str) -> list[tuple[Path, int]]:
    """What no run needs any more, with its size in bytes; runs that a process works on are left alone.

    Checkpoints of runs that are trained, the models of a learning curve that is drawn, half-written
    files, run folders that are empty, and runs without any stage that is done.
    Raises AfinaError for a URI.
    """
    from afina.errors import AfinaError
    from afina.runs.compare import is_locked
    from afina.runs.folder import list_runs

    if "://" in runs:
        raise AfinaError(_("only runs on this machine's disk can be cleaned"), where=runs)
    found = list_runs(runs)
    if not any(run.path("run.json").exists() for run in found):
        return []  # a folder without any run is somebody else's
    paths: list[Path] = []
    for run in found:
        if not is_locked(run):
            paths += _leftovers_of(run)
    return [(path, _size_of(path)) for path in paths]


def _leftovers_of(run: Run) -> list[Path]:
    files = [path for path in run.root.rglob("*") if path.name != ".lock" and not path.is_dir()]
    if not files or _is_fruitless(run):
        return [run.root]
    paths = [run.path("checkpoints")] if _is_trained(run) and run.path("checkpoints").is_dir() else []
    if _has_curve(run) and run.path("children/learning_curve").is_dir():
        paths.append(run.path("children/learning_curve"))  # learning_curve.json says what came of them
    for pattern in (".*.part", ".*.old"):
        for path in sorted(run.root.rglob(pattern)):
            if not any(path.is_relative_to(taken) for taken in paths):
                paths.append(path)
    return paths


def _is_trained(run: Run) -> bool:
    """Whether the train stage is done and does not count its checkpoints among its outputs."""
    from afina.errors import AfinaError
    from afina.runs.stages import is_done, state_of

    try:
        outputs = (state_of(run, "train") or {}).get("outputs", {})
        kept = any(str(name).startswith("checkpoints/") for name in outputs)
        return is_done(run, "train") and not kept
    except (AfinaError, OSError, KeyError, TypeError, AttributeError):
        return False


def _has_curve(run: Run) -> bool:
    """Whether the learning curve is done, so that nothing goes on from its models."""
    from afina.errors import AfinaError
    from afina.runs.stages import is_done

    try:
        return is_done(run, "curve")
    except (AfinaError, OSError, KeyError, TypeError, AttributeError):
        return False


def _is_fruitless(run: Run) -> bool:
    """Whether this run has neither a stage that is done nor a checkpoint to go on from."""
    from afina.errors import AfinaError
    from afina.runs.compare import ORDER
    from afina.runs.stages import state_of

    try:
        states = [state_of(run, name) for name in ORDER]
    except (AfinaError, OSError):
        return False
    made = run.path("run.json").exists() and not run.path("checkpoints").exists()
    return made and not any(state and state["state"] == "done" for state in states)


def _size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in inside if not file.is_dir())


def remove(path: Path) -> None:
    """Removes a leftover; with an empty run, the folder of its name when nothing else is in it."""
    import contextlib
    import shutil

    from filelock import FileLock, Timeout

    if path.name.isdigit() and (path / "run.json").exists():
        with contextlib.suppress(Timeout, OSError), FileLock(path / ".lock", timeout=0):
            shutil.rmtree(path)
            path.parent.rmdir()
    elif path.name.isdigit():
        # Not rmtree: a run that is begun in it at this moment must keep its files.
        with contextlib.suppress(OSError):
            (path / ".lock").unlink(missing_ok=True)
            for folder in sorted(path.rglob("*"), reverse=True):
                folder.rmdir()
            path.rmdir()
            path.parent.rmdir()
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def state_in_words(summary: RunSummary) -> str:
    """`done`, `failed at train`, …"""
    words = {
        "done": _("done"),
        "waiting": _("next: {stage}"),
        "stopped": _("failed at {stage}"),
        "interrupted": _("cut off at {stage}"),
        "working": _("working: {stage}"),
        "damaged": _("damaged"),
        "empty": _("empty"),
    }
    return words[summary.state].format(stage=summary.stage)


def _cells(summary: RunSummary) -> list[str]:
    gate = {True: _("pass"), False: _("FAIL"), None: NOTHING}[summary.gate]
    made = (summary.made_at or NOTHING)[:10]
    size = bytes_for_people(summary.size_bytes)
    return [summary.title, made, state_in_words(summary), gate, figure_in_words(summary.figure), size]


def figure_in_words(figure: Figure | None) -> str:
    """`F1 0.912 [0.890, 0.934]`"""
    if figure is None:
        return NOTHING
    return f"{SHORT.get(figure.metric, figure.metric)} {_value(figure)}"


def _value(figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    digits = 3 if abs(figure.value) < 10 else 1
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def table(rows: list[list[str]]) -> list[str]:
    """Rows as lines of at most 80 columns; the first column gives way when they are too long."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    while excess > 0 and max(widths) > 6:
        widest = widths.index(max(widths)) if widths[0] <= 16 else 0
        widths[widest] -= 1
        excess -= 1
    return [
        "  ".join(
            _cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cut(text: str, width: int) -> str:
    """A text in at most so many columns; its middle is left out, for its end often tells it apart."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return text[: width - 1 - end] + "…" + text[len(text) - end :]


def summary_lines(summary: RunSummary) -> list[str]:
    """One run as lines."""
    lines = [
        _("run {title} in {folder}").format(title=summary.title, folder=summary.folder),
        _("state: {state}").format(state=state_in_words(summary)),
        _("made: {when}").format(when=summary.made_at or NOTHING),
        _("base: {base}, kind: {kind}").format(
            base=summary.base or NOTHING, kind=summary.kind or NOTHING
        ),
        _("gate: {verdict}").format(
            verdict={True: _("pass"), False: _("FAIL"), None: _("not asked yet")}[summary.gate]
        ),
        _("time: {seconds:,.0f} s, size: {size}").format(
            seconds=summary.seconds, size=bytes_for_people(summary.size_bytes)
        ),
    ]
    if summary.spent is not None:
        lines.append(_("spent: {line}").format(line=summary.spent.line()))
        if summary.spent.exhausted:
            lines.append(_("the budget is spent: raise train.budget to go on"))
    return lines + [_("damaged: {what}").format(what=what) for what in summary.damage]


def figure_lines(found: RunComparison) -> list[str]:
    """The figures of one run or several, side by side."""
    if not found.figures:
        return [_("no figures yet: nothing was evaluated")]
    rows = [[_("SET MODEL METRIC"), *found.titles]]
    for row in found.figures:
        rows.append([f"{row.set} {row.model} {row.metric}", *(_value(value) for value in row.values)])
    return _side_by_side(rows)


def setting_lines(found: RunComparison) -> list[str]:
    """The settings that differ, side by side."""
    if not found.settings:
        return [_("no setting differs")]
    rows = [[_("SETTING"), *found.titles]]
    return _side_by_side(
        rows + [[row.name, *(_shown(value) for value in row.values)] for row in found.settings]
    )


def _shown(value: Any) -> str:
    import json

    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _side_by_side(rows: list[list[str]]) -> list[str]:
    """A table where the runs fit beside each other; else each row as a block with a line for a run."""
    if len(rows[0]) <= 4:
        return table(rows)
    lines = []
    for name, *values in rows[1:]:
        lines.append(name)
        pairs = [[f"  {title}", value] for title, value in zip(rows[0][1:], values, strict=True)]
        lines += table(pairs)
    return lines
