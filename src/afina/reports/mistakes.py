"""The rows that the tuned model got wrong, the surest first, masked unless asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afina.data.table import iterate_rows
from afina.reports.masking import mask
from afina.runs.folder import Run

EACH_KIND = 5
FALSE_POSITIVE, FALSE_NEGATIVE, CONFUSED = "false_positive", "false_negative", "confused"


@dataclass(frozen=True)
class Wrong:
    """One row that was answered wrongly; probabilities of what was said and of the truth."""

    id: str
    label: str
    said: str
    said_probability: float | None
    label_probability: float | None
    text: str | None = None


@dataclass(frozen=True)
class Group:
    """Errors of one kind: how many there are, and some of them."""

    kind: str
    count: int
    of: int
    shown: list[Wrong]


@dataclass(frozen=True)
class Mistakes:
    """The errors on one set."""

    set: str
    rows: int
    groups: list[Group]


def find_mistakes(
    run: Run, labels: list[str], positive: str | None, language: str, reveal: bool, model: str = "tuned"
) -> list[Mistakes]:
    """The errors of a model on every set that has its predictions, the set `test` first."""
    found = []
    files = sorted(
        run.path("predictions").glob(f"*/{model}.parquet"),
        key=lambda file: (file.parent.name != "test", file),
    )
    for file in files:
        test_set = file.parent.name
        rows, wrong, totals = _wrong(file, labels, positive)
        texts = _texts(run, test_set, {item.id for items in wrong.values() for item in items})
        groups = []
        for kind, (count, of) in totals.items():
            shown = [_with_text(item, texts.get(item.id), language, reveal) for item in wrong[kind]]
            groups.append(Group(kind, count, of, shown))
        found.append(Mistakes(test_set, rows, groups))
    return found


def _with_text(item: Wrong, text: str | None, language: str, reveal: bool) -> Wrong:
    if text is not None and not reveal:
        text = mask(text, language)
    return Wrong(item.id, item.label, item.said, item.said_probability, item.label_probability, text)


def _wrong(
    file: Path, labels: list[str], positive: str | None
) -> tuple[int, dict[str, list[Wrong]], dict[str, tuple[int, int]]]:
    """Number of rows; the surest errors of each kind; how many there are, of how many that could be."""
    kinds = [FALSE_POSITIVE, FALSE_NEGATIVE] if positive is not None else []
    if positive is None or len(labels) > 2:
        kinds.append(CONFUSED)
    wrong: dict[str, list[Wrong]] = {kind: [] for kind in kinds}
    rows = positives = 0
    for value in _predictions(file):
        rows += 1
        positives += value["label"] == positive
        if value["said"] == value["label"]:
            continue
        kind = CONFUSED
        if positive is not None and positive in (value["label"], value["said"]):
            kind = FALSE_NEGATIVE if value["label"] == positive else FALSE_POSITIVE
        wrong.setdefault(kind, []).append(_item(value, labels))
    possible = {FALSE_POSITIVE: rows - positives, FALSE_NEGATIVE: positives, CONFUSED: rows}
    totals = {kind: (len(items), possible[kind]) for kind, items in wrong.items()}
    most = EACH_KIND if positive is not None else 2 * EACH_KIND
    surest = {kind: sorted(items, key=_surest)[:most] for kind, items in wrong.items()}
    return rows, surest, totals


def _predictions(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(str(file)) as table:
        for batch in table.iter_batches(batch_size=5000):
            yield from batch.to_pylist()


def _item(value: dict[str, Any], labels: list[str]) -> Wrong:
    known = dict(zip(labels, value.get("probabilities") or [], strict=False))
    return Wrong(
        str(value["id"]),
        str(value["label"]),
        str(value["said"]),
        known.get(value["said"]),
        known.get(value["label"]),
    )


def _surest(item: Wrong) -> tuple[float, str]:
    return (-(item.said_probability if item.said_probability is not None else -1.0), item.id)


def _texts(run: Run, test_set: str, wanted: set[str]) -> dict[str, str]:
    """The texts of some rows; the file is read a block at a time."""
    path = run.path("data/test.parquet" if test_set == "test" else f"data/test_{test_set}.parquet")
    if not wanted or not path.exists():
        return {}
    return {row.id: row.content() for row in iterate_rows(path) if row.id in wanted}
