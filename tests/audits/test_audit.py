"""The audit of whole sources: what was planted is counted, and the tells that were made are named."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

import afina
from afina.audits import labels as label_audit
from afina.audits.language import address_of, country_of, language_of
from afina.audits.tells import FORMS, column_tells, folds_of, form_features, form_tells
from afina.audits.toxicity import toxic_words
from afina.cli import main
from afina.errors import AfinaError, DataError
from tests.conftest import write_jsonl

SYLLABLES = ("ba", "ko", "ri", "mu", "te", "lo", "sa", "ni")
NOUNS = ["garden", *(a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES)]


def mails(count: int = 120, seed: int = 3) -> list[dict[str, str]]:
    """Legitimate mail of the post with a year of the nineties; phishing of the bank with a link."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        words = " ".join(chance.choices(NOUNS, k=12))
        bad = number % 2
        rows.append(
            {
                "text": f"The {words} is at https://x.example/{number} for you"
                if bad
                else f"The {words} of 1998 is with the {number}th of them",
                "label": "phishing" if bad else "legitimate",
                "source": "bank" if bad else "post",
                "country": chance.choice(["MX", "AR"]),
            }
        )
    return rows


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    rows = mails()
    rows[0]["text"] += " Write to ana@x.example, CURP BOXW310820HNERXN09, +52 55 5123 4567"
    rows[2]["text"] += " ana@x.example AKIAIOSFODNN7EXAMPLE you idiot"
    rows[10]["text"], rows[12]["text"] = rows[4]["text"], rows[4]["text"].upper()
    rows[14] |= {"text": rows[1]["text"], "source": "post"}  # equal text, the other label
    path = write_jsonl(folder / "mails.jsonl", rows)
    leaked = write_jsonl(
        folder / "test.jsonl",
        [{**rows[5], "text": "Fwd: " + rows[5]["text"]}, *mails(20, seed=99)[:9]],
    )
    (folder / "r.yaml").write_text(
        f"name: audit\ndata: {{train: '{path}', test: [{{name: other, source: '{leaked}'}}]}}\n"
    )
    return afina.audit_data(folder / "r.yaml"), folder


def test_what_was_planted_is_counted_by_kind_and_label(audited) -> None:
    found, _folder = audited
    assert found["rows"] == found["rows_read"] == 120
    kinds = found["personal"]["kinds"]
    assert {name: (entry["pieces"], entry["rows"]) for name, entry in kinds.items()} == {
        "email": (2, 2), "curp": (1, 1), "phone": (1, 1),
    }  # fmt: skip
    assert kinds["email"]["by_label"] == {"legitimate": 2}
    assert found["personal"]["rows"] == 2
    assert list(found["secrets"]["kinds"]) == ["aws_key"]
    assert (found["toxicity"]["rows"], found["toxicity"]["words"]) == (1, {"idiot": 1})
    assert found["languages"]["rows"] == {"en": 120}
    assert found["duplicates"]["equal_rows"] == 3  # also the one in capitals
    assert found["duplicates"]["equal_with_other_label"] == 1


def test_what_gives_the_label_away_is_named(audited) -> None:
    found, _folder = audited
    source, country = (found["columns"][name] for name in ("source", "country"))
    assert source["tells"]["accuracy"] > 0.97
    assert source["tells"]["strong"]
    assert source["cramers_v"] > 0.95
    assert not country["tells"]["strong"]
    assert country["cramers_v"] < 0.3
    assert found["form"]["strong"]
    strongest = {item["form"] for item in found["form"]["strongest"][:2]}
    assert strongest == {"link", "year 1990-2009"}


def test_the_leaked_row_is_found_and_no_other(audited) -> None:
    found, _folder = audited
    leaks = found["leaks"]["other"]
    assert (leaks["rows"], leaks["leaked"]) == (10, 1)
    assert leaks["first"][0]["longest_words"] >= 12


def test_no_text_of_a_row_leaves_the_audit(audited) -> None:
    found, _folder = audited
    said = json.dumps(found)
    for word in ("ana@x.example", "AKIA", "BOXW", "garden"):
        assert word not in said


def command(*words: str) -> int:
    """The exit code of `afina …`."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_the_command_says_the_same_and_changes_nothing(audited, capsys) -> None:
    found, folder = audited
    before = sorted(path.name for path in folder.iterdir())
    assert command("data", "audit", str(folder / "r.yaml"), "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    assert command("--lang", "en", "data", "audit", str(folder / "mails.jsonl"), "--rows", "60") == 0
    said = capsys.readouterr().out
    assert "rows: 60 of 120 looked at" in said
    assert "column source: 9" in said or "column source: 100%" in said
    assert "<- strong: a model may learn this alone" in said
    assert sorted(path.name for path in folder.iterdir()) == before
    assert command("--lang", "es", "data", "audit", str(folder / "mails.jsonl")) == 0
    assert "lo que delata la etiqueta" in capsys.readouterr().out


def test_bad_input_is_one_clear_message(tmp_path) -> None:
    with pytest.raises((DataError, AfinaError)):
        afina.audit_data(tmp_path / "none.csv")
    with pytest.raises(AfinaError, match="at least one"):
        afina.audit_data(write_jsonl(tmp_path / "x.jsonl", mails(20)), most_rows=0)


def test_documents_and_conversations_have_no_labels_to_give_away(tmp_path) -> None:
    talk = [
        {"prompt": f"Who is at {number}?", "response": f"Write to p{number}@x.example"}
        for number in range(30)
    ]
    found = afina.audit_data(write_jsonl(tmp_path / "talk.jsonl", talk))
    assert found["personal"]["kinds"]["email"]["rows"] == 30
    assert "form" not in found
    assert found["labels"] == {}


# --- parts ------------------------------------------------------------------------------------------


def test_columns_that_say_nothing_are_right_as_often_as_the_usual_label() -> None:
    random_ = np.random.default_rng(0)
    truth = (random_.random(2000) < 0.3).astype(int)
    folds = folds_of(None, 2000, 1)
    values = [str(number) for number in random_.integers(0, 4, 2000)]
    found = column_tells(values, truth, 2, folds)
    assert found["accuracy"] == pytest.approx(found["most_frequent_label"], abs=0.01)
    assert not found["strong"]
    known = column_tells([str(code) for code in truth], truth, 2, folds)
    assert known["accuracy"] == 1
    assert known["strong"]


def test_form_alone_tells_nothing_where_forms_are_alike() -> None:
    chance = random.Random(5)
    texts = [" ".join(chance.choices(NOUNS, k=10)) for _row in range(600)]
    truth = np.random.default_rng(1).integers(0, 2, 600)
    found = form_tells(texts, truth, 2, folds_of(None, 600, 1))
    assert 0.4 < found["accuracy"] < 0.6
    assert not found["strong"]


def test_folds_keep_groups_together_and_are_of_like_size() -> None:
    groups = [f"g{number % 37}" for number in range(1000)]
    folds = folds_of(groups, 1000, 3)
    assert all(len({int(folds[i]) for i in range(1000) if groups[i] == g}) == 1 for g in set(groups))
    assert np.bincount(folds_of(None, 1000, 3)).tolist() == [200] * 5


def test_each_form_is_seen() -> None:
    names, found = form_features(
        ["plain words only", "SEE https://x.example/a on 12.11.2024!\n> quoted"]
    )
    seen = {name for name, value in zip(FORMS, found[1][: len(FORMS)], strict=True) if value}
    assert seen == {
        "link", "year 2010-2029", "quoted line (>)", "line break", "exclamation mark", "digit",
    }  # fmt: skip
    assert not found[0][: len(FORMS)].any()
    assert form_features([])[1].shape == (0, len(names))


def test_flipped_labels_are_suspected() -> None:
    rows = mails(400)
    texts = [row["text"].replace("https", "") for row in rows]
    truth = np.array([row["label"] == "phishing" for row in rows]).astype(int)
    flipped = truth.copy()
    wrong = [7, 100, 255, 301]
    flipped[wrong] = 1 - flipped[wrong]
    found = label_audit.suspects(texts, flipped, 2, folds_of(None, 400, 1))
    assert {row for row, _said, _share in found[:4]} == set(wrong)
    assert all(said == truth[row] for row, said, _share in found[:4])
    assert label_audit.suspects(texts[:20], truth[:20], 2, folds_of(None, 20, 1)) == []


@pytest.mark.parametrize(
    ("table", "value"),
    [([[50, 0], [0, 50]], 1.0), ([[25, 25], [25, 25]], 0.0), ([[10, 10]], 0.0), ([[5, 0], [7, 0]], 0.0)],
)
def test_cramers_v_at_its_ends(table, value) -> None:
    assert label_audit.cramers_v(np.array(table, dtype=float)) == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Su paquete está en la oficina; pase por él hoy mismo con su identificación", "es"),
        ("Your parcel is at the office, please come and get it today", "en"),
        ("O seu pacote está na agência, você não precisa pagar até hoje", "pt"),
        ("OK 12345", None),
        ("", None),
    ],
)
def test_languages(text, language) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Hola, ingresá acá y verificá tus datos, si querés", "vos"),
        ("Estimada clienta: verifique sus datos e ingrese su clave", "usted"),
        ("Hola, verifica tus datos si quieres seguir", "tú"),
        ("La reunión es a las diez", None),
    ],
)
def test_forms_of_address(text, address) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("Ahorita le marco para platicar del SPEI y su CURP", "MX"),
        ("Che, ¿fuiste al laburo en colectivo?", "AR"),
        ("Consigna por Nequi o Bancolombia, parce", "CO"),
        ("Transfiere por Yape al BCP", "PE"),
        ("Buenos días a todos", None),
    ],
)
def test_words_of_a_country(text, country) -> None:
    assert country_of(text) == country


def test_insults_are_whole_words() -> None:
    assert toxic_words("Eres un IDIOTA. Te voy a matar, imbécil") == [
        "idiota",
        "te voy a matar",
        "imbécil",
    ]
    assert toxic_words("disputas, computa, reputación, the stupidity of slots") == []
