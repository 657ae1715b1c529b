"""`afina data audit`: what the rows hold, in one value, without training anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from afina.audits import labels as label_audit
from afina.audits.language import address_of, country_of, language_of
from afina.audits.leaks import LeakIndex
from afina.audits.secrets import find_secrets
from afina.audits.tells import MOST_VALUES, column_tells, folds_of, form_tells
from afina.audits.toxicity import toxic_words
from afina.data.duplicates import NearDuplicates, content_hash
from afina.data.roles import Row
from afina.data.rows import group_of, read_rows_of
from afina.data.table import iterate_rows, read_rows
from afina.language import _
from afina.personal.masking import Masker, make_masker
from afina.recipe import Recipe
from afina.runs.folder import Run

SCHEMA = "afina/data_audit/1"
# Rows that are held and looked at; of more, a seeded part.
MOST_ROWS = 50_000
MOST_NAMED = 20
Say = Callable[[str], None]


@dataclass
class _Sample:
    """The rows that are looked at, of all that were read."""

    most: int
    random: np.random.Generator
    rows: list[Row] = field(default_factory=list)
    read: int = 0

    def add(self, row: Row) -> None:
        """Takes a row, or leaves it out, so that each has the same chance (reservoir sampling)."""
        self.read += 1
        if len(self.rows) < self.most:
            self.rows.append(row)
            return
        place = int(self.random.integers(0, self.read))
        if place < self.most:
            self.rows[place] = row


def audit_rows(
    recipe: Recipe,
    say: Say = lambda _text: None,
    most_rows: int = MOST_ROWS,
    names: str | None = None,
) -> dict[str, Any]:
    """Reads the sources of a recipe and says what is in their rows.

    Args:
        names: the spaCy model that finds names of people; None takes the recipe's `data.names`.
    Returns:
        A value for JSON: rows, personal, secrets, toxicity, languages, duplicates, columns, form,
        label_suspects and leaks. No text of a row is in it: rows are named by id.
    Raises:
        DataError: as the data stage does, for rows that cannot be used.
        MissingExtra: for names without what finds them.
    """
    names = names or recipe.data.names
    masker = make_masker(names)
    sample = _Sample(most_rows, np.random.default_rng(recipe.seed))
    roles: dict[str, dict[str, str]] = {}
    for source in recipe.data.train:
        for row in read_rows_of(recipe, source.source, roles, recipe.data.split.group_by):
            sample.add(row)
    tests = {test.name: partial(_rows_of, recipe, test.source) for test in recipe.data.test}
    found = _look(recipe, sample, masker, tests, say)
    return {**found, "roles": roles, "names": names}


def profile_rows(
    run: Run, recipe: Recipe, say: Say = lambda _text: None, most_rows: int = MOST_ROWS
) -> dict[str, Any]:
    """What is in the training rows of a run, as they were trained on: the same, and no text either.

    Names of people are looked for only where `data.names` masked them; nothing that was masked is left
    to be found, and data/audit.json counts it. Leaks are of the run's own test split too.
    """
    sample = _Sample(most_rows, np.random.default_rng(recipe.seed))
    for row in iterate_rows(run.path("data/train.parquet")):
        sample.add(row)
    tests = {"test": partial(read_rows, run.path("data/test.parquet"))}
    for test in recipe.data.test:
        tests[test.name] = partial(read_rows, run.path(f"data/test_{test.name}.parquet"))
    return {**_look(recipe, sample, make_masker(), tests, say), "run": run.title}


def _look(
    recipe: Recipe,
    sample: _Sample,
    masker: Masker,
    tests: Mapping[str, Callable[[], list[Row]]],
    say: Say,
) -> dict[str, Any]:
    """Everything that is said of rows, but where they come from."""
    rows = sample.rows
    texts = [row.content() for row in rows]
    say(_("looking at {rows:,} of {read:,} rows").format(rows=len(rows), read=sample.read))
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "rows_read": sample.read,
        "rows": len(rows),
        "seed": recipe.seed,
        "labels": dict(sorted(Counter(row.label for row in rows if row.label is not None).items())),
        "personal": _pieces(rows, texts, masker.find),
        "secrets": _pieces(rows, texts, lambda text: list(find_secrets(text))),
        "toxicity": _toxicity(rows, texts),
        "languages": _languages(rows, texts),
        "duplicates": _duplicates(rows, texts, recipe.data.near_duplicate),
    }
    if recipe.task.kind == "classify":
        found |= _about_labels(recipe, rows, texts, say)
    found["leaks"] = {name: _leaks(read(), rows, texts) for name, read in tests.items()}
    return found


def _rows_of(recipe: Recipe, source: str) -> list[Row]:
    return list(read_rows_of(recipe, source, {}))


def _pieces(rows: list[Row], texts: list[str], find: Callable[[str], Any]) -> dict[str, Any]:
    """By kind: pieces, rows with any, rows by label, and the first rows' ids."""
    kinds: dict[str, dict[str, Any]] = {}
    touched = 0
    for row, text in zip(rows, texts, strict=True):
        counts = Counter(piece.kind for piece in find(text))
        touched += bool(counts)
        for kind, count in counts.items():
            entry = kinds.setdefault(kind, {"pieces": 0, "rows": 0, "by_label": {}, "first": []})
            entry["pieces"] += count
            entry["rows"] += 1
            if row.label is not None:
                entry["by_label"][row.label] = entry["by_label"].get(row.label, 0) + 1
            if len(entry["first"]) < MOST_NAMED:
                entry["first"].append(row.id)
    ordered = dict(sorted(kinds.items(), key=lambda item: (-item[1]["rows"], item[0])))
    return {"rows": touched, "kinds": ordered}


def _toxicity(rows: list[Row], texts: list[str]) -> dict[str, Any]:
    words: Counter[str] = Counter()
    by_label: Counter[str] = Counter()
    first: list[str] = []
    touched = 0
    for row, text in zip(rows, texts, strict=True):
        found = toxic_words(text)
        if found:
            touched += 1
            words.update(found)
            by_label[str(row.label)] += 1
            first += [row.id] if len(first) < MOST_NAMED else []
    return {
        "rows": touched,
        "words": dict(words.most_common(MOST_NAMED)),
        "by_label": dict(sorted(by_label.items())) if any(row.label for row in rows) else {},
        "first": first,
    }


def _languages(rows: list[Row], texts: list[str]) -> dict[str, Any]:
    """Rows by language; of the Spanish ones, by address and by the country of their words."""
    languages: Counter[str] = Counter()
    by_label: dict[str, Counter[str]] = {}
    address: Counter[str] = Counter()
    country: Counter[str] = Counter()
    for row, text in zip(rows, texts, strict=True):
        language = language_of(text) or "unknown"
        languages[language] += 1
        if row.label is not None:
            by_label.setdefault(row.label, Counter())[language] += 1
        if language == "es":
            address[address_of(text) or "none"] += 1
            country[country_of(text) or "none"] += 1
    return {
        "rows": dict(languages.most_common()),
        "by_label": {label: dict(counts.most_common()) for label, counts in sorted(by_label.items())},
        "spanish_address": dict(address.most_common()),
        "spanish_country_words": dict(country.most_common()),
    }


def _duplicates(rows: list[Row], texts: list[str], threshold: float | None) -> dict[str, Any]:
    hashes = np.array([content_hash(text) for text in texts], dtype=np.uint64)
    _values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    labels = np.array([row.label or "" for row in rows])
    conflicting = int(np.sum(labels != labels[first][inverse]))
    found = {"equal_rows": len(rows) - len(first), "equal_with_other_label": conflicting}
    if threshold is not None and len(first):
        near = NearDuplicates(threshold)
        for place in first:
            near.add(texts[int(place)])
        sizes = np.bincount(near.clusters())
        found |= {
            "near_duplicate_clusters": int((sizes > 1).sum()),
            "rows_in_them": int(sizes[sizes > 1].sum()),
        }
    return {**found, "threshold": threshold}


def _about_labels(recipe: Recipe, rows: list[Row], texts: list[str], say: Say) -> dict[str, Any]:
    """What the label goes together with: columns, source, form; and rows whose label may be wrong."""
    names = sorted({str(row.label) for row in rows})
    codes = {name: code for code, name in enumerate(names)}
    truth = np.array([codes[str(row.label)] for row in rows], dtype=np.int64)
    group_by = recipe.data.split.group_by
    groups = [group_of(row, group_by) for row in rows] if group_by else None
    folds = folds_of(groups, len(rows), recipe.seed)
    columns = {}
    for name, values in _columns(rows).items():
        say(_("  column {name}").format(name=name))
        columns[name] = {
            **label_audit.spread(values, truth, len(names)),
            "tells": column_tells(values, truth, len(names), folds),
        }
    say(_("  the form of the texts, and labels that may be wrong"))
    suspects = label_audit.suspects(texts, truth, len(names), folds)
    return {
        "label_order": names,
        "group_by": group_by,
        "groups": None if groups is None else label_audit.by_group(groups, truth),
        "columns": columns,
        "form": form_tells(texts, truth, len(names), folds),
        "label_suspects": {
            "rows": len(suspects),
            "first": [
                {
                    "id": rows[row].id,
                    "label": names[truth[row]],
                    "would_be": names[said],
                    "probability_of_its_label": round(share, 4),
                }
                for row, said, share in suspects[:MOST_NAMED]
            ],
        },
    }


def _columns(rows: list[Row]) -> dict[str, list[str]]:
    """The other columns that have a few values each, and the source where there are several."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(column for row in rows for column in row.extra):
        values = [str(row.extra.get(name, "")) for row in rows]
        if 2 <= len(set(values)) <= MOST_VALUES:
            found[name] = values
    sources = [row.source for row in rows]
    if len(set(sources)) > 1 and "source" not in found:
        found["source"] = sources
    return found


def _leaks(test: list[Row], rows: list[Row], texts: list[str]) -> dict[str, Any]:
    """Test rows that stand in the training rows."""
    found = LeakIndex([row.content() for row in test], texts).leaks()
    return {
        "rows": len(test),
        "leaked": len(found),
        "first": [
            {
                "id": test[leak.row].id,
                "train_id": rows[leak.train_row].id if leak.train_row >= 0 else None,
                "covered": round(leak.covered, 4),
                "longest_words": leak.longest,
                "shared": round(leak.shared, 4),
            }
            for leak in found[:MOST_NAMED]
        ],
    }
