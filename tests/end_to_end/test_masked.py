"""A run on masked texts: counted by split, and read in the same way by training, chat and exports."""

from __future__ import annotations

import json

import pytest

import afina.inference.engine as engine_module
from afina.data.chat import encode_row
from afina.data.table import read_rows
from afina.exports.export import export
from afina.inference.engine import Engine
from afina.inference.settings import read_settings
from tests.conftest import colour_rows
from tests.tiny import Tiny, value

PHONES = ("+52 55 5123 4567", "+57 300 123 4567", "+56 9 6123 4567")


def with_personal() -> list[dict]:
    """Every second row with an address, every third with a phone; two that differ in these alone."""
    rows = []
    for number, row in enumerate(colour_rows()):
        text = row["text"]
        text += f", write to box{number}@mail.example" if number % 2 else ""
        text += f", or call {PHONES[number % 3]}" if number % 3 == 0 else ""
        rows.append({**row, "text": text, "note": f"seen by guard{number}@mail.example"})
    twin = rows[1]
    return [*rows, {**twin, "text": twin["text"].replace("box1@", "other@")}]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("masked"), llama3_folder, llama3, with_personal())


@pytest.fixture(autouse=True)
def with_one_tokenizer(monkeypatch, llama3):
    monkeypatch.setattr(engine_module, "load_tokens", lambda *_given: llama3)


@pytest.fixture(scope="module")
def run(tiny):
    return tiny.run("data.personal=mask", "train.epochs=1")


def test_what_was_masked_is_counted_by_kind_and_split(run, tiny) -> None:
    audit = value(run, "data/audit.json")
    assert audit["personal"] == {"texts": "mask", "names": None}
    found = {"email": 0, "phone": 0}
    for name, part in audit["splits"].items():
        rows = read_rows(run.path(f"data/{name}.parquet"))
        texts = [row.text for row in rows]
        assert not any("@mail" in text or "+5" in text for text in texts)
        counts = {
            "email": sum("[EMAIL_1]" in t for t in texts),
            "phone": sum("[PHONE_1]" in t for t in texts),
        }
        assert part["masked"] == {kind: count for kind, count in counts.items() if count}
        assert part["masked_rows"] == sum("[" in text for text in texts)
        assert part["masked_rows"] == sum(bool(row.masked) for row in rows)
        found = {kind: found[kind] + counts[kind] for kind in found}
    given = with_personal()
    assert found["email"] == sum("@" in row["text"] for row in given) - 1
    # Rows that differ in an address alone are equal once it is masked.
    assert audit["equal_rows_removed"] == 1
    # Other columns stay as they are: no model reads them.
    assert all("guard" in row.extra["note"] for row in rows)


def test_kept_texts_stay(tiny) -> None:
    run = tiny.run("data.personal=keep", stage="data")
    audit = value(run, "data/audit.json")
    assert audit["personal"]["texts"] == "keep"
    assert {part["masked_rows"] for part in audit["splits"].values()} == {0}
    assert any("@mail.example" in row.text for row in read_rows(run.path("data/train.parquet")))


def test_the_model_is_asked_about_what_it_was_trained_on(run, tiny) -> None:
    """A raw text becomes the tokens of its row; the answers are those to the masked text."""
    engine = Engine(run.path("release"))
    assert (engine.settings.personal, engine.settings.names) == ("mask", None)
    by_masked = {engine.masked([row["text"]])[0]: row["text"] for row in with_personal()}
    recipe, labels = tiny.recipe("data.personal=mask"), value(run, "data/audit.json")["labels"]
    rows = read_rows(run.path("data/test.parquet"))
    assert any(row.masked for row in rows)
    for row in rows:
        (trained,) = encode_row(tiny.tokens, recipe, labels, row)
        assert engine.encode([by_masked[row.text]])[0].ids == trained.ids
    raw = [by_masked[row.text] for row in rows]
    assert (engine.classify(raw) == engine.classify([row.text for row in rows])).all()


def test_exports_say_that_texts_are_masked(run, tmp_path) -> None:
    merged = export(run, "merged", tmp_path / "merged", None, False, lambda _text: None)
    assert read_settings(merged.folder / "inference.json").personal == "mask"
    assert "stand for personal data" in " ".join(
        (merged.folder / "README.md").read_text("utf-8").split()
    )
    copied = export(run, "adapter", tmp_path / "adapter", None, False, lambda _text: None)
    assert read_settings(copied.folder / "inference.json").personal == "mask"
    text = "Box 1, write to box1@mail.example"
    ids = [Engine(folder).encode([text])[0].ids for folder in (run.path("release"), merged.folder)]
    assert ids[0] == ids[1]


def test_settings_without_the_entry_are_of_kept_texts(run, tmp_path) -> None:
    known = json.loads(run.path("release/inference.json").read_text("utf-8"))
    for name in ("personal", "names"):
        del known[name]
    path = tmp_path / "inference.json"
    path.write_text(json.dumps(known), encoding="utf-8")
    assert (read_settings(path).personal, read_settings(path).names) == ("keep", None)


# Equal once they are masked, but for the numbers of boxes.
TALKS = [
    {
        "messages": [
            {
                "role": "user",
                "content": f"I am box{n}@mail.example, call {PHONES[n % 3]} about box {n} of {n * 7}",
            },
            {"role": "assistant", "content": f"I will write to box{n}@mail.example"},
            {"role": "user", "content": f"And to shelf{n}@mail.example"},
            {"role": "assistant", "content": f"To both: box{n}@mail.example, shelf{n}@mail.example"},
        ]
    }
    for n in range(40)
]


def test_a_chat_reads_as_the_conversation_was_trained(tmp_path, llama3_folder, llama3) -> None:
    """Prompts and answers are masked: the model learns to write [EMAIL_1], never a person's address."""
    tiny = Tiny(tmp_path, llama3_folder, llama3, TALKS)
    settings = ("task.kind=generate", "task.instruction=Answer in short.", "data.personal=mask")
    run = tiny.run(*settings, "data.max_length=256", "train.epochs=1")
    engine = Engine(run.path("release"))
    recipe = tiny.recipe(*settings, "data.max_length=256")
    row = read_rows(run.path("data/train.parquet"))[0]
    number = int(str(row.messages[0]["content"]).split(" about box ")[1].split()[0])
    answers = [message["content"] for message in row.messages if message["role"] == "assistant"]
    assert answers == ["I will write to [EMAIL_1]", "To both: [EMAIL_1], [EMAIL_2]"]
    (trained,) = encode_row(tiny.tokens, recipe, [], row)
    # The person's words as they were written, the model's as it wrote them.
    raw = TALKS[number]["messages"]
    chat = [raw[0], {"role": "assistant", "content": answers[0]}, raw[2]]
    plain = [{"role": m["role"], "content": m["content"]} for m in chat]
    asked = tiny.tokens.encode_chat(engine.conversation(plain))
    assert asked == trained.ids[: len(asked)]
    assert trained.trained[len(asked)]
    assert "".join(engine.reply(plain, 2)) is not None
