"""What a person reads of the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afina.cli.runs import NOTHING, SHORT, table
from afina.language import _
from afina.registry.promotion import Promotion
from afina.registry.store import Entry
from afina.registry.version import Standing, Version, standing_in_words
from afina.registry_api import Registered
from afina.runs.compare import MAIN_METRICS

if TYPE_CHECKING:
    from afina.registry.comparing import FigurePair, ReleaseComparison


def list_lines(found: list[Registered]) -> list[str]:
    """Every version of every model, one a line."""
    if not found:
        return [_("nothing is registered; register a finished run with `afina registry add RUN`")]
    head = [_("VERSION"), _("RUN"), _("ALIASES"), _("GATE"), _("TEST FIGURE"), _("RELEASE")]
    return table([head, *(row for one in found for row in _rows(one))])


def _rows(found: Registered) -> list[list[str]]:
    return [
        [
            version.title,
            version.run,
            ", ".join(version.aliases) or NOTHING,
            _gate(version),
            _main_figure(version),
            _standing_word(state),
        ]
        for version, state in zip(found.versions, found.standings, strict=True)
    ]


def _gate(version: Version) -> str:
    return _("pass") if version.gate == "passed" else _("FAIL")


def _standing_word(state: Standing) -> str:
    words = {
        "intact": _("intact"),
        "copy": _("copy only"),
        "changed": _("CHANGED"),
        "gone": _("GONE"),
        "elsewhere": _("elsewhere"),
    }
    return words[state]


def _main_figure(version: Version) -> str:
    for metric in MAIN_METRICS:
        figure = version.figures.get(f"tuned.test.{metric}")
        if figure is not None:
            return f"{SHORT.get(metric, metric)} {figure_text(figure)}"
    return NOTHING


def figure_text(figure: dict[str, Any] | None) -> str:
    """`0.912 [0.890, 0.934]`"""
    if figure is None or figure.get("value") is None:
        return NOTHING
    value = figure["value"]
    digits = 3 if abs(value) < 10 else 1
    low, high = figure.get("ci95") or (None, None)
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def model_lines(found: Registered) -> list[str]:
    """A registered model: its versions, then its journal, newest entry first."""
    lines = [_("{name} in {place}").format(name=found.model.name, place=found.place)]
    lines += list_lines([found])
    lines += [
        f"{version.title}: {standing_in_words(version, state)}"
        for version, state in zip(found.versions, found.standings, strict=True)
        if state != "intact"
    ]
    if found.model.journal:
        lines += ["", _("journal:")]
        lines += [f"  {entry_line(found.model.name, entry)}" for entry in reversed(found.model.journal)]
    return lines


def entry_line(name: str, entry: Entry) -> str:
    """`2026-11-25 19:45 ana@host promoted phishing@v3 (before: v2): fewer false alarms`"""
    words = {
        "add": _("candidate: {title}"),
        "promote": _("champion: {title} (before: {before})"),
        "rollback": _("rolled back to {title} (before: {before})"),
    }
    before = entry.before["champion"]
    text = words[entry.action].format(
        title=f"{name}@v{entry.version}", before=NOTHING if before is None else f"v{before}"
    )
    ends = {"done": "", "begun": _(" [stopped in the middle]"), "undone": _(" [taken back]")}
    when = entry.at[:16].replace("T", " ")
    reason = f": {entry.why}" if entry.why else ""
    return f"{when} {entry.who} {text}{ends[entry.state]}{reason}"


def version_lines(version: Version, state: Standing) -> list[str]:
    """One version: where it is, what it was made of, what was measured."""
    aliases = ", ".join(version.aliases)
    lines = [
        f"{version.title} ({aliases})" if aliases else version.title,
        _("run: {run}, registered {when}").format(run=version.run, when=version.made_at),
        standing_in_words(version, state),
        _("manifest SHA-256: {digest}").format(digest=version.manifest_sha256),
        _("gate: {verdict}").format(verdict=_gate(version)),
        *(f"  {line}" for line in version.checks),
    ]
    if version.rolled_back:
        lines.append(_("rolled back: {when}").format(when=version.rolled_back))
    lines.append(_("figures:"))
    lines += (
        table(
            [
                [name, figure_text(figure), f"n {figure['n']}" if figure.get("n") else ""]
                for name, figure in version.figures.items()
            ]
        )
        if version.figures
        else [f"  {NOTHING}"]
    )
    lines.append(_("made of:"))
    return lines + [f"  {name}: {text}" for name, text in version.parents.items()]


def promotion_lines(done: Promotion) -> list[str]:
    """What a promotion or a rollback did."""
    version = done.version
    line = _("{alias} of {name}: {title}, the release of {run}").format(
        alias=done.alias, name=version.name, title=version.title, run=version.run
    )
    if not done.changed:
        return [_("nothing to do: {line}").format(line=line)]
    if done.replaced is not None and done.entry is not None and done.entry.action == "rollback":
        return [line, _("taken back: {title}").format(title=done.replaced)]
    if done.replaced is not None:
        back = _("previous: {title}; `afina registry rollback {name}` goes back to it")
        return [line, back.format(title=done.replaced, name=version.name)]
    return [line]


def comparison_lines(found: ReleaseComparison) -> list[str]:
    """Two releases side by side; the difference is A minus B, of pairs only."""
    lines = [_("A: {a}, B: {b}").format(a=found.a, b=found.b)]
    for one in found.sets:
        if one.paired:
            lines.append(
                _("{set}: the same {rows} rows: A minus B is paired").format(set=one.name, rows=one.rows)
            )
        else:
            lines.append(_("{set}: not paired: {why}").format(set=one.name, why=one.why))
    head = [_("SET METRIC"), "A", "B", _("A MINUS B"), _("P (HOLM)")]
    lines += table([head, *(_pair(pair) for pair in found.figures)])
    if found.parents:
        lines += ["", _("made of other things:")]
        for name, a, b in found.parents:
            lines.append(f"  {name}: {_short(a)} / {_short(b)}")
    return lines


def _pair(pair: FigurePair) -> list[str]:
    paired = pair.paired
    difference, p_value = NOTHING, NOTHING
    if paired is not None:
        difference = figure_text({"value": paired["difference"], "ci95": paired["ci95"]})
        p_value = NOTHING if paired["p_holm"] is None else f"{paired['p_holm']:.3f}"
    name = f"{pair.set} {pair.metric}"
    return [name, figure_text(pair.a), figure_text(pair.b), difference, p_value]


def _short(text: str | None) -> str:
    if text is None:
        return NOTHING
    return text if len(text) < 40 else f"{text[:12]}…"
