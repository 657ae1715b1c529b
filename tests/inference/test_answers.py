"""Labels by likelihood, the pooled head, generation, and the file that holds it all."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.chat import Question, encode_conversation, encode_text
from afina.errors import AfinaError, BaseModelError, StorageError
from afina.inference.engine import Engine, decide
from afina.inference.generate import answer, continue_text, generation_settings, stream
from afina.inference.label_likelihood import label_logits
from afina.inference.pooled import PooledHead, features_of, load_head
from afina.inference.settings import InferenceSettings, read_settings, write_settings
from afina.models.base import find_base
from afina.models.load import load_model
from afina.runs.files import sha256_of, write_json
from afina.trust.manifest import write_manifest
from tests.data.test_chat import LLAMA31_TEMPLATE

QUESTION = Question("Is this legitimate?", ("legitimate", "phishing", "no", "no sé, quizá"))
TEXTS = ["Hola", "Su paquete llega hoy a las 5", "a" * 300, "Dear customer, " * 9, "🙂", "  spaced  "]


@pytest.fixture(scope="module")
def model(llama3_folder):
    return load_model(llama3_folder, "fp32")


def plain_likelihood(model, tokens, text: str, label: str) -> float:
    """Teacher forcing of one label alone: the sum of its tokens' log-probabilities."""
    encoded = encode_conversation(tokens, QUESTION.messages(text, label))
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([encoded.ids])).logits[0].double(), dim=-1)
    return sum(
        float(scores[place - 1, token])
        for place, (token, trained) in enumerate(zip(encoded.ids, encoded.trained, strict=True))
        if trained
    )


@pytest.mark.parametrize("template", ["llama3", "llama3.1"])
@pytest.mark.parametrize("budget", [1, 400, 100_000])
def test_branches_equal_plain_likelihood(model, llama3, budget, template):
    tokens = llama3 if template == "llama3" else dataclasses.replace(llama3, template=LLAMA31_TEMPLATE)
    found = label_logits(model, tokens, QUESTION, TEXTS, 2048, budget)
    wanted = [
        [plain_likelihood(model, tokens, text, label) for label in QUESTION.labels] for text in TEXTS
    ]
    assert np.abs(found - np.array(wanted)).max() < 1e-4


def test_every_label_is_asked_of_the_same_cut_text(model, llama3):
    text = " ".join(f"word{number}" for number in range(60))
    found = label_logits(model, llama3, QUESTION, [text], 80, 4096)[0]
    cuts = []
    for end in range(1, len(text)):
        ids = encode_conversation(llama3, QUESTION.messages(text[:end], QUESTION.labels[3])).ids
        if 77 <= len(ids) <= 80:
            cuts.append(text[:end])
    wanted = [[plain_likelihood(model, llama3, cut, label) for label in QUESTION.labels] for cut in cuts]
    assert min(np.abs(np.array(row) - found).max() for row in wanted) < 1e-4


def test_no_texts_no_logits(model, llama3):
    assert label_logits(model, llama3, QUESTION, [], 100, 100).shape == (0, 4)


# The pooled head


def test_head_formula_and_round_trip(tmp_path):
    random = np.random.default_rng(0)
    head = PooledHead(*(random.random(s).astype(np.float32) for s in ((3, 5), (3,), (5,), (5,))))
    x = random.random((4, 5)).astype(np.float32)
    by_hand = [
        [
            head.bias[k]
            + sum(head.weight[k, j] * (x[i, j] - head.mean[j]) / head.scale[j] for j in range(5))
            for k in range(3)
        ]
        for i in range(4)
    ]
    np.testing.assert_allclose(head.logits(x), by_hand, rtol=1e-5)
    head.save(tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    for name, value in vars(head).items():
        assert getattr(again, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(again, name), value)
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]


# Generation


class Forced:
    """Makes a real model write given tokens: its output head adds a large number to the wanted one."""

    def __init__(self, model, wanted: list[int]) -> None:
        self.wanted = list(wanted)
        self.handle = model.get_output_embeddings().register_forward_hook(self._push)

    def _push(self, _module, _inputs, logits):
        if self.wanted:
            logits = logits.clone()
            logits[..., -1, self.wanted.pop(0)] += 1e4
        return logits


@pytest.fixture
def forced(model):
    made: list[Forced] = []

    def force(*ids: int) -> Forced:
        made.append(Forced(model, list(ids)))
        return made[-1]

    yield force
    for one in made:
        one.handle.remove()


MESSAGES = [{"role": "user", "content": "Hola"}]


@pytest.mark.parametrize("end", [128001, 128008, 128009])
def test_an_answer_ends_at_each_end_token(model, llama3, forced, end):
    words = llama3.tokenizer(" uno dos tres", add_special_tokens=False)["input_ids"]
    left = forced(*words, end, *words)
    assert answer(model, llama3, MESSAGES, generation_settings(llama3, 40)) == " uno dos tres"
    assert left.wanted == words
    left.wanted.clear()
    left = forced(*words, end, *words)
    assert continue_text(model, llama3, "Cuenta:", generation_settings(llama3, 40)) == " uno dos tres"
    assert left.wanted == words


def test_generation_settings_name_all_ends(llama3):
    kept = generation_settings(llama3, 9)
    assert kept["eos_token_ids"] == [128001, 128008, 128009]
    assert kept["pad_token_id"] not in kept["eos_token_ids"]
    assert kept["temperature"] == 0.0


def test_an_answer_stops_at_its_longest_and_is_the_same_each_time(model, llama3):
    kept = generation_settings(llama3, 5)
    first = answer(model, llama3, MESSAGES, kept)
    assert (
        first == answer(model, llama3, MESSAGES, kept) == "".join(stream(model, llama3, MESSAGES, kept))
    )
    assert 0 < len(llama3.tokenizer(first, add_special_tokens=False)["input_ids"]) <= 8


def test_a_failure_while_writing_reaches_the_reader(model, llama3):
    with pytest.raises(KeyError, match="max_new_tokens"):
        answer(model, llama3, MESSAGES, {"temperature": 0.0})


# inference.json


def settings_of(**changes) -> InferenceSettings:
    value = InferenceSettings(
        base={"model": "x", "id": "x", "revision": None, "sha256": "0"},
        adapters=[],
        kind="classify",
        head=None,
        template="{{ bos_token }}",
        date="26 Jul 2024",
        labels=["legitimate", "phishing"],
        positive="phishing",
        instruction="¿Cuál?",
        threshold=0.5,
        temperature=1.0,
        max_length=2048,
        precision="fp32",
        bits=16,
        generation={"max_new_tokens": 3},
    )
    return replace(value, **changes)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    labels=st.lists(words, max_size=3),
    instruction=st.none() | words,
    template=words,
    threshold=st.floats(0, 1),
    temperature=st.floats(0.01, 100),
    max_length=st.integers(16, 9000),
)
@settings(max_examples=50, deadline=None)
def test_any_settings_survive(tmp_path_factory, **changes):
    path = tmp_path_factory.mktemp("settings") / "inference.json"
    write_settings(path, settings_of(**changes))
    assert read_settings(path) == settings_of(**changes)


@pytest.mark.parametrize("schema", [None, "afina/inference/2", "afina/audit/1", 1])
def test_another_schema_is_refused(tmp_path, schema):
    path = tmp_path / "inference.json"
    path.write_text(json.dumps({"schema": schema, **asdict(settings_of())}))
    with pytest.raises(AfinaError, match="another version") as caught:
        read_settings(path)
    assert caught.value.where == str(path)
    assert caught.value.fix


@pytest.mark.parametrize("change", [{"colour": 1}, {"date": None}])
def test_other_keys_are_refused(tmp_path, change):
    path = tmp_path / "inference.json"
    value = {"schema": "afina/inference/1", **asdict(settings_of()), **change}
    value = {key: item for key, item in value.items() if item is not None or key not in change}
    path.write_text(json.dumps(value))
    with pytest.raises(AfinaError, match=next(iter(change))):
        read_settings(path)
    path.write_text("[1]")
    with pytest.raises(AfinaError):
        read_settings(path)


def test_the_threshold_decides_between_two_labels():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    assert decide(settings_of(), probabilities).tolist() == [0, 0, 1]
    assert decide(settings_of(threshold=0.4), probabilities).tolist() == [0, 1, 1]
    assert decide(settings_of(positive="legitimate", threshold=0.7), probabilities).tolist() == [0, 1, 1]
    assert decide(settings_of(), probabilities, threshold=0.05).tolist() == [1, 1, 1]
    three = settings_of(labels=["a", "b", "c"], positive=None)
    assert decide(three, np.array([[0.2, 0.3, 0.5]])).tolist() == [2]


# The engine


@pytest.fixture
def release(tmp_path, llama3_folder, llama3):
    """A release of the bare tiny Llama 3, written by hand; settings can be changed."""

    def make(**changes):
        base = find_base(str(llama3_folder), None)
        kept = {"model": str(llama3_folder), "id": base.id, "revision": None, "sha256": base.sha256}
        kept |= changes.pop("base", {})
        value = settings_of(
            base=kept,
            template=llama3.template,
            instruction=QUESTION.instruction,
            generation=generation_settings(llama3, 4),
            **changes,
        )
        write_settings(tmp_path / "inference.json", value)
        write_manifest(tmp_path, {"name": "by hand"})
        return tmp_path

    return make


def test_engine_refuses_a_base_with_another_hash(release):
    with pytest.raises(BaseModelError, match="not the one that this adapter was trained on") as caught:
        Engine(release(base={"sha256": "f" * 64}))
    assert "f" * 16 in caught.value.fix


def test_engine_without_a_release(tmp_path):
    with pytest.raises(AfinaError, match="no trained model yet"):
        Engine(tmp_path)


def test_engine_reads_its_answers_by_inference_json(release, llama3, model):
    folder = release(head={"kind": "pooled", "path": "head.safetensors"}, temperature=2.0, max_length=20)
    random = np.random.default_rng(1)
    head = PooledHead(
        *(random.random(s).astype(np.float32) + 0.5 for s in ((2, 32), (2,), (32,), (32,)))
    )
    head.save(folder / "head.safetensors")
    write_manifest(folder, {"name": "by hand"})
    engine = Engine(folder)
    texts = ["Hola", "", "word " * 90]
    encoded = engine.encode(texts)
    assert [row.ids for row in encoded] == [encode_text(llama3, text, 20) for text in texts]
    wanted = head.logits(features_of(model, encoded, llama3.pad, 4096))
    np.testing.assert_allclose(engine.logits(texts), wanted, atol=1e-4)
    powers = np.exp(wanted / 2 - (wanted / 2).max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        engine.classify(texts), powers / powers.sum(axis=1, keepdims=True), atol=1e-4
    )

    asking = Engine(release(head={"kind": "tokens"}))
    question = Question(QUESTION.instruction, ("legitimate", "phishing"))
    wanted = label_logits(model, llama3, question, ["Hola"], 2048, 4096)
    np.testing.assert_allclose(asking.logits(["Hola"]), wanted, atol=1e-4)
    said = "".join(asking.reply([{"role": "user", "content": "Hola"}]))
    assert said == answer(model, llama3, MESSAGES, generation_settings(llama3, 4))


# A release that is not as it was written


def flip(path, start: int, count: int = 50) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + count] = bytes(255 - byte for byte in data[start : start + count])
    path.write_bytes(data)


@pytest.fixture
def headed(release):
    """A release with a pooled head, by itself: not in a run."""
    folder = release(head={"kind": "pooled", "path": "head.safetensors"})
    ones = np.ones((2, 32), dtype=np.float32)
    PooledHead(ones, ones[:, 0], ones[0], ones[0]).save(folder / "head.safetensors")
    (folder / "README.md").write_text("card")
    write_manifest(folder, {"name": "by hand"})
    return folder


def test_a_release_by_itself_is_compared_with_its_manifest(headed):
    Engine(headed)
    (headed / "README.md").write_text("dear")
    with pytest.raises(StorageError, match="changed or damaged") as caught:
        Engine(headed)
    assert caught.value.where == str(headed / "README.md")
    (headed / "README.md").write_text("card")
    (headed / "more.txt").write_text("of somebody")
    with pytest.raises(StorageError, match="not in its manifest") as caught:
        Engine(headed)
    assert caught.value.where == str(headed / "more.txt")
    (headed / "more.txt").unlink()
    flip(headed / "head.safetensors", -60)
    with pytest.raises(StorageError, match="changed or damaged") as caught:
        Engine(headed)
    assert caught.value.where == str(headed / "head.safetensors")
    assert "copy the release again" in caught.value.fix
    (headed / "head.safetensors").unlink()
    with pytest.raises(StorageError, match="is missing"):
        Engine(headed)
    (headed / "manifest.json").unlink()
    with pytest.raises(StorageError, match="no manifest"):
        Engine(headed)


def test_the_train_stage_knows_better_than_a_manifest_of_an_earlier_model(headed):
    run = headed.parent / "run"
    shutil.copytree(headed, run / "release", ignore=lambda *_given: ["run"])
    manifest = json.loads((headed / "manifest.json").read_text())
    manifest["files"]["head.safetensors"]["sha256"] = "0" * 64
    write_json(run / "release/manifest.json", manifest)
    write_json(run / "run.json", {})
    digest = sha256_of(run / "release/head.safetensors")
    outputs = {"release/head.safetensors": digest, "train.json": "0"}
    write_json(run / "stages/train.json", {"state": "done", "key": "k", "outputs": outputs})
    Engine(run / "release")
    flip(run / "release/head.safetensors", 0)
    with pytest.raises(StorageError, match="changed or damaged") as caught:
        Engine(run / "release")
    assert f"afina run {run}" in caught.value.fix


@pytest.mark.parametrize("record", ["{}", "[]", '{"files": {"head.safetensors": 3}}', '{"files": [1]}'])
def test_a_manifest_that_is_none_is_named(headed, record):
    (headed / "manifest.json").write_text(record)
    with pytest.raises(StorageError) as caught:
        Engine(headed)
    assert caught.value.where == str(headed / "manifest.json")


def test_a_cut_file_that_the_manifest_knows_so_is_one_clear_message(headed):
    path = headed / "head.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    write_manifest(headed, {"name": "of the cut file"})
    with pytest.raises(StorageError, match="changed or damaged") as caught:
        Engine(headed)
    assert caught.value.where == str(path)
