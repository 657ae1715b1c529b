"""What the page and the terminal say of the training rows and of swapped names, countries, address."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from afina.audits.audit import profile_rows
from afina.audits.labels import by_group
from afina.cli.figures import figure_lines
from afina.data.roles import Row
from afina.data.table import RowWriter
from afina.recipe import Limit
from afina.reports.figures import Check, Gate, collect
from afina.reports.gate_words import check_rows
from afina.reports.profile import profile_view
from afina.reports.swapped import swap_rows, swap_sentences
from afina.reports.unknowns import unknowns
from afina.runs.files import read_json, write_json
from afina.tracking.flat import of_evaluation

from . import fake_run
from .test_page import elements, page
from .test_terminal_figures import result_of


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_page_shows_both(tmp_path: Path, language: str) -> None:
    html = page(fake_run.classify_run(tmp_path), language)
    elements(html)
    assert 'id="profile"' in html
    assert "email 29" in html
    assert "0123456789abcdef" in html
    assert {"en": "50,000 of 60,000 training rows", "es": "50,000 de 60,000 filas"}[language] in html
    assert {"en": "Arabic names", "es": "nombres árabes"}[language] in html
    assert {"en": "5 of 29 rows", "es": "5 de 29 filas"}[language] in html


def test_a_run_without_a_profile_or_swaps_has_a_page(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    run.path("profile.json").unlink()
    found = read_json(run.path("evaluation.json"))
    del found["swaps"]
    write_json(run.path("evaluation.json"), found)
    html = page(run)
    assert 'id="profile"' not in html
    assert "another name, country" not in html
    assert any("evaluate.swaps" in text for text in unknowns(collect(run), "en"))


def test_the_facts_of_a_profile(tmp_path: Path) -> None:
    audit = fake_run.audit()
    view = profile_view(fake_run.profile(), audit, "en")
    facts = {fact.term: (fact.value, fact.note, fact.bad) for fact in view.facts}
    assert facts["Personal data"][0] == "31"
    assert facts["Personal data"][1].endswith(": email 29, phone 3")
    assert facts["Keys and passwords"] == ("0", "none found", False)
    assert facts["Form of address"][0] == "tú 300, usted 200"
    assert facts["Groups of one label alone"][:2] == (
        "12", "of 64 groups by family, with 900 rows; the largest group has 80 rows",
    )  # fmt: skip
    assert facts["Leaks into the set “sms”"] == (
        "2", "of 60 rows share long passages with training rows", True,
    )  # fmt: skip
    assert [(tell.what, tell.strong) for tell in view.tells] == [
        ("the column channel", True), ("the form of the text: links, years, capitals, …", False),
    ]  # fmt: skip
    assert view.forms == ["link: legitimate 10.0%, phishing 80.0%"]
    assert "Masked before training" not in facts
    audit["personal"] = {"texts": "mask", "names": None}
    audit["splits"]["train"] |= {"masked_rows": 7, "masked": {"email": 8, "phone": 1}}
    masked = {fact.term: fact for fact in profile_view(fake_run.profile(), audit, "en").facts}
    assert masked["Masked before training"].value == "9"
    assert masked["Masked before training"].note == "pieces in 7 rows: email 8, phone 1"


def test_the_sentences_and_rows_of_swaps(tmp_path: Path) -> None:
    evaluation = collect(fake_run.classify_run(tmp_path)).evaluation
    names, countries = swap_sentences(evaluation, "test", "phishing", "en")
    assert names == (
        "Swapping names of people: the tuned model decides otherwise in 5 of 29 rows that could be "
        "changed (17.2%, 95% interval 7.6% to 34.6%). The probability of phishing changes by +0.090 on "
        "average (95% interval +0.030 to +0.150) and moves by 0.120 either way. Most often for Spanish "
        "names → Arabic names: 5 of 25, the worst of 1 pairs with 10 rows or more; the worst of several "
        "is partly chance."
    )
    assert countries == "Swapping countries: no row of this set has anything to swap."
    rows = swap_rows(evaluation, "test", "en")
    assert [(row.pair, row.rows, row.flips) for row in rows] == [
        ("all", 29, 5), ("Spanish names → Arabic names", 25, 5),
    ]  # fmt: skip


def test_the_terminal_the_gate_and_the_tracker_say_it_too(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    lines = figure_lines(result_of(run))
    assert (
        "  swapping names of people: 5 of 29 decisions change (17.2%, 95 % interval 7.6% to 34.6%)"
        in lines
    )
    assert "  swapping countries: no row has anything to swap" in lines
    limit = Limit(metric="swap_flips", by="names", max=0.05)
    check = Check("x", "y", 0.17, (0.076, 0.346), "fail", None, "z")
    empty = Check("x", "y", None, None, "undecided", None, "z")
    rows = check_rows(Gate(False, [check, empty]), [limit, limit], "en")
    assert rows[0].name == "Decisions of the tuned model changed by swapping names of people, set “test”"
    assert rows[0].limit == "at most 0.05"
    assert rows[1].why == "No row of this set has anything to swap."
    sent = of_evaluation(read_json(run.path("evaluation.json")))
    assert sent["tuned.test.swap_flips:names"] == pytest.approx(5 / 29)
    assert sent["tuned.test.swap_flips:names.low"] == pytest.approx(0.076)


def test_the_profile_of_a_run_is_of_its_training_rows(tmp_path: Path) -> None:
    run = fake_run.make_run(tmp_path, fake_run.CLASSIFY.replace("group_by: family", "group_by: day"))
    run.path("data").mkdir()
    for name, first in (("train", 0), ("test", 200), ("test_sms", 0)):
        with RowWriter(run.path(f"data/{name}.parquet")) as writer:
            for number in range(first, first + 120):
                words = " ".join(f"w{(number * 7 + place * 13) % 97}x{number}" for place in range(20))
                row = Row(text=f"the {words} is a{number}@x.example", label=fake_run.LABELS[number % 2])
                row.extra["day"] = f"d{number // 2 if number < 60 else number % 2}"
                row.make_id()
                writer.write(row)
    found = profile_rows(run, run.recipe(), most_rows=100)
    assert (found["rows"], found["rows_read"]) == (100, 120)
    assert found["personal"]["kinds"]["email"]["rows"] == 100
    assert set(found["leaks"]) == {"test", "sms"}
    assert found["leaks"]["test"]["leaked"] == 0
    # The further set is the training rows: those that were looked at are found in it.
    assert 95 <= found["leaks"]["sms"]["leaked"] <= 100
    assert found["groups"]["groups"] >= 25
    assert found["run"] == run.title


def test_groups_of_one_label() -> None:
    truth = np.array([0, 0, 1, 1, 0, 1, 1])
    assert by_group(["a", "a", "a", "b", "c", "d", "d"], truth) == {
        "groups": 4, "of_one_label": 3, "rows_of_one_label": 4, "largest_rows": 3,
    }  # fmt: skip
