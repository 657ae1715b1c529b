"""Writes a commented recipe for the user's own data, after a look at the rows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from afina.data.roles import find_roles
from afina.data.sources import files_of, read_source
from afina.errors import AfinaError, DataError, StorageError
from afina.language import _
from afina.recipe import Columns
from afina.recipe_file import parse_recipe
from afina.runs.files import storage_error, write_text

SAMPLE_ROWS = 2000
# Files sorted by label would show only one: after the first rows, every 50th of so many is looked at.
FARTHEST_ROW, STRIDE = 50_000, 50
MOST_LABELS = 20
# Names of columns whose equal values belong on one side of a split, the surest first.
GROUPS = (
    *("family", "familia", "campaign", "campaña", "campana", "group", "grupo", "author", "autor"),
    *("sender", "remitente", "from", "user", "usuario", "customer", "cliente", "patient", "paciente"),
    *("session", "sesión", "sesion", "thread", "hilo", "conversation", "project", "proyecto", "repo"),
    *("source", "fuente", "domain", "dominio", "host", "day", "día", "dia", "date", "fecha"),
    *("month", "mes"),
)
# Columns with few values that say where a row is from, not what it is.
ORIGINS = (
    *("lang", "language", "idioma", "country", "pais", "país", "channel", "canal", "split"),
    *("licence", "license"),
)
ALARMS = (
    *("phishing", "malicious", "malicioso", "maliciosa", "attack", "ataque", "vulnerable", "fraud"),
    *("fraude", "scam", "estafa", "spam", "smishing", "malware", "intrusion", "intrusión", "anomaly"),
    *("anomalía", "anomalia", "abuse", "toxic", "hate", "odio", "bad", "unsafe"),
)
YES = ("1", "true", "yes", "si", "sí", "y")  # an alarm only where there are two labels
LEARNING_RATES = {"pooled": "1.0e-3", "tokens": "5.0e-4"}


@dataclass(frozen=True)
class Look:
    """What was found in the rows.

    Attributes:
        rows: how many were looked at.
        kind: of the task; why: the reason in words.
        columns: role to column; named: whether Afina finds them by their names alone.
        labels: sorted; empty unless the kind is classify.
        positive: the label that an alarm is about, when one has such a name.
        group_by: a column to keep on one side of a split; usable: whether the split can be made with it.
    """

    rows: int
    kind: str
    why: str
    columns: dict[str, str]
    named: bool
    labels: list[str]
    positive: str | None
    group_by: str | None
    usable: bool


def new_recipe(source: str, path: Path, name: str | None = None) -> Path:
    """Writes a commented recipe for the rows of `source`.

    Args:
        source: as `data.train` takes it.
        path: the recipe's file; it must not exist.
        name: of the run's folder; made from the source when it is None.
    Returns:
        The path.
    Raises:
        AfinaError: when the file exists, the rows cannot be read or the name is not a folder's.
    """
    if path.exists() or path.is_symlink():
        raise AfinaError(
            _("this file exists already; nothing was written"),
            where=str(path),
            fix=_("give another file with --output, or remove this one"),
        )
    look = look_at(source)
    text = recipe_text(source, path, name if name is not None else name_for(source), look)
    parse_recipe(text, str(path))
    try:
        write_text(path, text)
    except OSError as error:
        known = storage_error(error)
        raise StorageError(
            _("this file cannot be written: {error}").format(
                error=known.what if known else error.strerror or error
            ),
            where=str(path),
            fix=_("give another file with --output"),
        ) from None
    return path


def name_for(source: str) -> str:
    """A run's name from a source: `data/Spam (2024).csv` gives `Spam-2024`."""
    if source.startswith("hf:"):
        source = re.split(r"[@:]", source.removeprefix("hf:"))[0]
    for part in reversed(re.split(r"[/\\:]", source)):
        bare = re.sub(r"[*?\[\]]", "", part)
        stem = bare.rpartition(".")[0] if "." in bare else bare
        name = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-_")[:80]
        if name:
            return name
    return "model"


def look_at(source: str) -> Look:
    """Reads a sample of the rows and decides what they can teach. Raises DataError."""
    rows = list(_sample(source))
    if not rows:
        fix = _("a table needs rows below its header")
        raise DataError(_("the sources hold no rows"), where=source, fix=fix)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    kind, why, roles, named = _decide(rows, columns, source)
    labels = sorted(_labels(rows, roles["label"])) if kind == "classify" else []
    group, usable = _group(rows, columns, roles)
    return Look(len(rows), kind, why, roles, named, labels, _positive(labels), group, usable)


def _sample(source: str) -> Iterator[dict[str, Any]]:
    """Rows of every file of the source, so that a folder with a file for each label shows them all."""
    if source.startswith("hf:"):
        places = [source]
    else:
        files = files_of(source)
        step = math.ceil(len(files) / SAMPLE_ROWS)
        places = [source] if len(files) == 1 else [str(path) for path in files[::step]]
    share = max(1, SAMPLE_ROWS // len(places))
    for place in places:
        for number, (_where, row) in enumerate(
            islice(read_source(place), FARTHEST_ROW // len(places) + 1)
        ):
            if number < share or number % STRIDE == 0:
                yield row


def _decide(
    rows: list[dict[str, Any]], columns: list[str], source: str
) -> tuple[str, str, dict[str, str], bool]:
    """The kind, why, the columns of its roles, and whether these are found by their names."""
    roles = _roles("classify", columns)
    if roles and _few_labels(rows, roles["label"]):
        return "classify", _("a text and a label column"), roles, True
    single = roles["label"] if roles and len(_labels(rows, roles["label"])) == 1 else None
    generate = _roles("generate", columns)
    if generate:
        why = _("conversations") if "messages" in generate else _("prompts and responses")
        return "generate", why, generate, True
    text = _roles("text", columns)
    wordy = [text["text"]] if text else _wordiest(rows, columns)
    if wordy and not roles:
        label = _guess_label(rows, [column for column in columns if column != wordy[0]])
        if label is not None:
            why = _("a text column, and one with few different values")
            return "classify", why, {"text": wordy[0], "label": label}, False
    if not wordy:
        raise DataError(
            _("no column with text was found"),
            where=source,
            fix=_("columns here: {columns}").format(columns=", ".join(columns[:30]) or "-"),
        )
    if single is not None:
        why = _("documents: the column {column} has one value only, so there is nothing to tell apart")
        return "text", why.format(column=quoted(single)), {"text": wordy[0]}, bool(text)
    return "text", _("documents without labels"), {"text": wordy[0]}, bool(text)


def _roles(kind: str, columns: list[str]) -> dict[str, str] | None:
    try:
        return find_roles(kind, Columns.model_validate({}), columns, "")
    except DataError:
        return None


def _label(value: Any) -> str | None:
    """A value as the label it would be; None for one that cannot be."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def _labels(rows: list[dict[str, Any]], column: str) -> set[str]:
    return {label for row in rows if (label := _label(row.get(column))) is not None}


def _few_labels(rows: list[dict[str, Any]], column: str) -> bool:
    labelled = sum(_label(row.get(column)) is not None for row in rows)
    return 2 <= len(_labels(rows, column)) <= MOST_LABELS and 2 * labelled > len(rows)


def _wordiest(rows: list[dict[str, Any]], columns: list[str]) -> list[str]:
    """The column with the longest texts on average, if any holds text; at most one."""
    sizes = {
        column: sum(len(row[column]) for row in rows if isinstance(row.get(column), str))
        for column in columns
    }
    best = max(sizes, key=lambda column: sizes[column], default=None)
    return [best] if best is not None and sizes[best] > 0 else []


def _guess_label(rows: list[dict[str, Any]], columns: list[str]) -> str | None:
    """A column that can only be the label: its values say so, or no other has so few."""
    few = [
        column
        for column in columns
        if _few_labels(rows, column)
        and not set(_words(column)) & {*GROUPS, *ORIGINS}
        and 2 * len(_labels(rows, column)) < len(rows)
        and all(len(label) <= 40 for label in _labels(rows, column))
    ]
    alarming = [column for column in few if _positive(sorted(_labels(rows, column)))]
    return alarming[0] if len(alarming) == 1 else few[0] if len(few) == 1 else None


def _positive(labels: list[str]) -> str | None:
    """The label with the name of an alarm, if there is one."""
    lower = {label.lower(): label for label in reversed(labels)}
    known = (*ALARMS, *YES) if len(labels) == 2 else ALARMS
    return next((lower[name] for name in known if name in lower), None)


def _words(column: str) -> list[str]:
    """The words of a column's name: `senderId` and `sender_id` are sender and id."""
    return re.split(r"[^\w]+|_", re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower())


def _group(
    rows: list[dict[str, Any]], columns: list[str], roles: dict[str, str]
) -> tuple[str | None, bool]:
    """A column whose values stay together, and whether each label is in 3 or more of its groups."""
    best: tuple[int, str] | None = None
    for column in columns:
        ranks = [GROUPS.index(word) for word in _words(column) if word in GROUPS]
        values = [value for row in rows if (value := _label(row.get(column))) is not None]
        different = len(set(values))
        is_group = different >= 3 and 2 * different < len(rows) and 2 * len(values) > len(rows)
        if (
            ranks
            and is_group
            and column not in roles.values()
            and (best is None or min(ranks) < best[0])
        ):
            best = (min(ranks), column)
    if best is None:
        return None, False
    groups: dict[str | None, set[str | None]] = {}
    for row in rows:
        label = _label(row.get(roles["label"])) if "label" in roles else None
        groups.setdefault(label, set()).add(_label(row.get(best[1])))
    return best[1], all(len(found) >= 3 for found in groups.values())


def quoted(text: str) -> str:
    """A text as a YAML scalar on one line: plain where every reader takes it for that text."""
    plain = re.fullmatch(r"(?:\.{0,2}/)?[A-Za-z_][A-Za-z0-9_./@-]*(?::[A-Za-z0-9_./@-]+)*", text)
    if plain and text.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n"):
        return text
    escaped = json.dumps(text, ensure_ascii=False)
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]",
        lambda m: f"\\u{ord(m[0]):04x}",
        escaped,
    )


def recipe_text(source: str, path: Path, name: str, look: Look) -> str:
    """The recipe as YAML, with comments in the language in use."""
    parts = [
        _head(source, path, look),
        _base(name),
        _task(look),
        _data(source, look),
        _train(look),
        _evaluate(look),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(source: str, path: Path, look: Look) -> list[str]:
    return [
        "# "
        + _("Made from {source}: {rows:,} rows were looked at.").format(
            source=quoted(source), rows=look.rows
        ),
        "# " + _("They hold {what}, so the kind is {kind}.").format(what=look.why, kind=look.kind),
        "# " + _("See what it would do: afina recipe check {path}").format(path=quoted(str(path))),
        "# " + _("Do it:                afina run {path}").format(path=quoted(str(path))),
        "# " + _("Every setting:        afina recipe explain"),
    ]


def _base(name: str) -> list[str]:
    llama = "meta-llama/Llama-3.1-8B-Instruct"
    return [
        "version: 1",
        f"name: {quoted(name)}  # " + _("the folder of its runs"),
        "seed: 13  # " + _("same seed, same split and same order"),
        "",
        "base: embedded  # " + _("small, works offline; good at English, weak at Spanish"),
        f"# base: {llama}  # " + _("larger; expected to be better, also in Spanish; see `afina doctor`"),
        f"# base: {{model: {llama}, bits: 4}}  # " + _("the same in less than half the memory"),
        "# base: ./my-model  # " + _("a folder or .gguf file of the Llama architecture"),
    ]


def _task(look: Look) -> list[str]:
    lines = ["task:", f"  kind: {look.kind}  # " + _("classify, generate or text")]
    if look.kind == "generate":
        return [
            *lines,
            "  # instruction: "
            + quoted(_("You are a helpful assistant."))
            + "  # "
            + _("a system message"),
        ]
    if look.kind == "text":
        return lines
    listed = ", ".join(quoted(label) for label in look.labels)
    lines.append(f"  # labels: [{listed}]  # " + _("those found; write them here to allow no others"))
    mark = "" if look.positive else "# "
    positive = look.positive or look.labels[-1]
    lines.append(f"  {mark}positive: {quoted(positive)}  # " + _("the label that an alarm is about"))
    lines.append("  head: pooled  # " + _("a linear head on the mean of the states; or: tokens"))
    return lines


def _data(source: str, look: Look) -> list[str]:
    lines = ["data:", f"  train: {quoted(source)}  # " + _("a file, glob or folder; or a list of them")]
    lines.append(
        "  # test: [{name: other, source: other.csv}]  # " + _("more test sets, never trained on")
    )
    shown = ", ".join(
        f"{role}: {quoted(column)}" for role, column in look.columns.items() if role != "input"
    )
    why = _("found by their names") if look.named else _("guessed from the values: please check")
    lines.append(f"  {'# ' if look.named else ''}columns: {{{shown}}}  # {why}")
    lines += ["  split:", "    train: 0.8", "    validation: 0.1", "    test: 0.1"]
    if look.group_by and look.usable:
        lines.append(
            f"    group_by: {quoted(look.group_by)}  # "
            + _("equal values stay on one side of the split")
        )
    elif look.group_by:
        why = _("would be fairer, but some label is in fewer than 3 of its groups")
        lines.append(f"    # group_by: {quoted(look.group_by)}  # {why}")
    else:
        lines.append(
            "    # group_by: author  # " + _("a column whose equal values must stay on one side")
        )
    lines.append("  max_length: 2048  # " + _("tokens; what is longer is cut"))
    return [*lines, "  # limit: 500  # " + _("for a quick first try: only so many rows")]


def _train(look: Look) -> list[str]:
    pooled = look.kind == "classify"
    rate = LEARNING_RATES["pooled" if pooled else "tokens"]
    advice = _("a small base needs this much; for Llama 3 take 1.0e-4")
    lines = [
        "adapter:",
        "  kind: lora  # " + _("or rslora, dora, full"),
        "  rank: 16  # " + _("more learns more and takes more memory"),
        "  alpha: 32",
        "",
        "train:",
        "  epochs: 3  # " + _("passes over the rows; it stops early when nothing improves"),
        f"  learning_rate: {rate}  # {advice}",
    ]
    if pooled:
        why = _("holds better on sources never seen, with a thousand rows or more")
        lines.append(f"  # head_strength: 0.001  # {why}")
    return [*lines, "  # micro_batch_tokens: 512  # " + _("less memory, same result")]


def _evaluate(look: Look) -> list[str]:
    lines = []
    if look.kind == "classify":
        lines += ["evaluate:", "  baselines: [tfidf]  # " + _("a classical model to compare with"), ""]
    metric = "macro_f1" if look.kind == "classify" else "perplexity"
    lines.append("gate:  # " + _("what a model must reach to be released"))
    why = _("better than the base, with its whole interval")
    lines.append(f"  - {{metric: {metric}, model: tuned, against: base, min_gain: 0.0}}  # {why}")
    if look.kind == "classify":
        limit = "- {metric: false_positive_rate, model: tuned, max: 0.05, undecided: warn}"
        lines.append(f"  {'' if look.positive else '# '}{limit}  # " + _("false alarms"))
    return lines
