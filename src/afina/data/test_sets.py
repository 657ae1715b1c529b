"""Further test sets: never split, never trained on; rows that were trained on are counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from afina.data.duplicates import content_hash
from afina.data.lengths import LengthLimit, LengthReport
from afina.data.masked import masked_rows
from afina.data.rows import read_rows_of
from afina.data.table import RowWriter, blocks_of
from afina.errors import DataError
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.personal.masking import Masker
from afina.recipe import Recipe
from afina.runs.files import atomic

Array = np.ndarray[Any, np.dtype[Any]]


def write_test_set(
    recipe: Recipe,
    tokens: Tokens,
    labels: list[str],
    folder: Path,
    name: str,
    source: str,
    trained: Array,
    masker: Masker | None = None,
) -> dict[str, Any]:
    """Writes a further test set; counts rows that stand in the training split too."""
    limit = LengthLimit(tokens, recipe, labels)
    report = LengthReport()
    roles: dict[str, dict[str, str]] = {}
    seen: set[int] = set()
    equal = in_training = 0
    unknown: Counter[str] = Counter()
    with atomic(folder / f"test_{name}.parquet") as path, RowWriter(path) as writer:
        for block in blocks_of(masked_rows(read_rows_of(recipe, source, roles), masker)):
            kept = []
            for row in block:
                digest = content_hash(row.content())
                if recipe.task.kind == "classify" and row.label not in labels:
                    unknown[str(row.label)] += 1
                elif digest in seen:
                    equal += 1
                else:
                    seen.add(digest)
                    in_training += among(digest, trained)
                    kept.append(row)
            for row in limit.apply(kept, report):
                writer.write(row)
    if not report.rows:
        raise DataError(
            _("test set {name} has no row with a label of the training data").format(name=name),
            where=source,
            fix=_("labels here: {found}; labels trained on: {labels}").format(
                found=", ".join(unknown) or "-", labels=", ".join(labels)
            ),
        )
    return {
        **report.as_json(),
        "source": source,
        "roles": roles[source],
        "equal_rows_removed": equal,
        "rows_with_unknown_label": dict(unknown),
        "rows_also_in_training": in_training,
    }


def among(digest: int, sorted_hashes: Array) -> bool:
    """Whether a hash stands in a sorted array of them."""
    value = np.uint64(digest)
    place = int(np.searchsorted(sorted_hashes, value))
    return place < len(sorted_hashes) and bool(sorted_hashes[place] == value)
