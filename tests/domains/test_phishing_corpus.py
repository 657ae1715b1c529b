"""What the built-in corpus promises: its size, its variety, and no shortcut to the label."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from afina.data.duplicates import shingles
from afina.data.prepare import prepare
from afina.data.sources import BUILTIN
from afina.data.table import read_rows
from afina.recipe_file import parse_recipe

LATIN_AMERICA = "MX AR CO CL PE EC UY BO GT CR DO PA PY VE HN SV NI CU PR BR"
RECIPE = Path(__file__).parents[2] / "recipes" / "phishing.yaml"
LINK = re.compile(r"https?://|www\.")
ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"')\]]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)*")
BARE = re.compile(
    r"\b[\w-]+\.(?:com|net|org|info|biz|io|co|mx|ar|cl|pe|uy|ec|gob|gov|edu|xyz|ru)\b", re.I
)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [json.loads(line) for line in BUILTIN["builtin:phishing"].read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def truth(rows) -> np.ndarray:
    return np.array([row["label"] == "phishing" for row in rows])


def of(rows: list[dict], label: str) -> list[dict]:
    return [row for row in rows if row["label"] == label]


def test_size_and_fields(rows):
    assert len(rows) >= 1500
    for row in rows:
        assert set(row) == {"text", "label", "lang", "country", "family", "channel"}
        assert row["label"] in ("legitimate", "phishing")
        assert row["lang"] in ("es", "en")
        assert row["channel"] in ("email", "sms")
        assert re.fullmatch("[A-Z]{2}", row["country"])
        assert 8 <= len(row["text"].split()) <= 300
        assert "\ufffd" not in row["text"]


def test_families_hold_both_labels(rows):
    families: dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        families[row["family"]][row["label"]] += 1
    assert len(families) >= 60
    assert all(min(count["phishing"], count["legitimate"]) >= 5 for count in families.values())


def test_ten_latin_american_countries_in_spanish_of_both_labels(rows):
    for label in ("legitimate", "phishing"):
        count = Counter(row["country"] for row in of(rows, label) if row["lang"] == "es")
        assert (
            sum(number >= 5 for country, number in count.items() if country in LATIN_AMERICA.split())
            >= 10
        )


def test_labels_languages_and_channels_are_balanced(rows):
    for label in ("legitimate", "phishing"):
        mine = of(rows, label)
        assert 0.45 <= len(mine) / len(rows) <= 0.55
        assert 0.4 <= sum(row["lang"] == "es" for row in mine) / len(mine) <= 0.6
        assert sum(row["channel"] == "sms" for row in mine) >= 150


def test_links_stand_in_both_labels_and_are_missing_in_both(rows):
    assert sum(not LINK.search(row["text"]) for row in of(rows, "phishing")) >= 200
    assert sum(bool(LINK.search(row["text"])) for row in of(rows, "legitimate")) >= 200


def test_every_address_is_reserved(rows):
    for row in rows:
        for address in ADDRESS.findall(row["text"]):
            host = re.sub(r"^https?://", "", address).split("@")[-1]
            host = re.split(r"[/?#:]", host)[0].rstrip(".,;!")
            assert host.endswith(".example"), address
        assert not BARE.search(row["text"]), BARE.search(row["text"])


def test_at_most_two_percent_near_duplicates(rows):
    sets = [shingles(row["text"]) for row in rows]
    holders: dict[bytes, list[int]] = defaultdict(list)
    for number, found in enumerate(sets):
        for shingle in found:
            holders[shingle].append(number)
    shared: Counter = Counter()
    for numbers in holders.values():
        shared.update((a, b) for place, b in enumerate(numbers) for a in numbers[:place])
    near = {b for (a, b), both in shared.items() if both / len(sets[a] | sets[b]) >= 0.7}
    assert len(near) <= 0.02 * len(rows)


# No shortcut


def test_no_single_token_tells_the_label(rows, truth):
    """AUC of "the word stands in it": 0.5 + (share of phishing - share of legitimate) / 2."""
    counts = {True: Counter(), False: Counter()}
    for row, phishing in zip(rows, truth, strict=True):
        text = row["text"].lower()
        counts[bool(phishing)].update(set(re.findall(r"\w+|[^\w\s]|\n", text)) | set(text.split()))
    for token in counts[True] | counts[False]:
        away = counts[True][token] / truth.sum() - counts[False][token] / (~truth).sum()
        assert abs(away) / 2 <= 0.15, token


def one_hot(values: list[str]) -> np.ndarray:
    return np.array([[value == name for name in sorted(set(values))] for value in values], dtype=float)


PROBES = {
    "length": lambda rows: np.array(
        [
            [len(r["text"]), np.log(len(r["text"])), len(r["text"].split()), r["text"].count("\n")]
            for r in rows
        ]
    ),
    "channel": lambda rows: one_hot([r["channel"] for r in rows]),
    "language": lambda rows: one_hot([r["lang"] for r in rows]),
    "country": lambda rows: one_hot([r["country"] for r in rows]),
    "digits": lambda rows: np.array(
        [
            [
                n := sum(map(str.isdigit, r["text"])),
                n / len(r["text"]),
                len(re.findall(r"\d+", r["text"])),
                n > 0,
            ]
            for r in rows
        ],
        dtype=float,
    ),
    "links": lambda rows: np.array(
        [[len(LINK.findall(r["text"])), "@" in r["text"]] for r in rows], dtype=float
    ),
    "capitals": lambda rows: np.array(
        [[sum(map(str.isupper, r["text"])) / len(r["text"])] for r in rows]
    ),
}


@pytest.mark.parametrize("name", PROBES)
def test_no_probe_on_the_outside_of_a_message_tells_the_label(rows, truth, name):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        PROBES[name](rows),
        truth,
        groups=[row["family"] for row in rows],
        cv=GroupKFold(5),
        method="predict_proba",
    )[:, 1]
    auc = roc_auc_score(truth, scores)
    assert max(auc, 1 - auc) <= 0.65


def test_families_of_the_recipes_split_are_on_one_side(tmp_path, llama3):
    recipe = parse_recipe(RECIPE.read_text("utf-8"), "recipes/phishing.yaml", [])
    audit = prepare(recipe, llama3, tmp_path, lambda _text: None)
    sides = {name: read_rows(tmp_path / f"{name}.parquet") for name in ("train", "validation", "test")}
    families = {name: {row.extra["family"] for row in side} for name, side in sides.items()}
    assert not families["test"] & (families["train"] | families["validation"])
    assert not families["validation"] & families["train"]
    assert len(families["test"]) >= 5
    assert audit["near_duplicate"]["rows_in_them"] <= 0.02 * audit["rows_read"]
    assert audit["equal_rows_removed"] == audit["conflicting_rows_removed"] == 0
    for side in sides.values():
        assert {row.label for row in side} == {"legitimate", "phishing"}
        assert {row.extra["lang"] for row in side} == {"es", "en"}


def test_the_data_card_tells_the_counts(rows):
    card = (BUILTIN["builtin:phishing"].parent / "README.md").read_text("utf-8")
    families = {row["family"] for row in rows}
    assert card.count(f"{len(rows):,}") >= 2  # in English and in Spanish
    assert all(f"`{family}`" in card for family in families)
    for language in ("## English", "## Español"):
        assert language in card
    assert "Apache-2.0" in card
    for label in ("legitimate", "phishing"):
        mine = of(rows, label)
        assert f"| {label} | {len(mine)} | {sum(r['lang'] == 'es' for r in mine)} |" in card
