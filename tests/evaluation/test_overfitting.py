"""What was learned by heart: figures that can be counted by hand, and models that did and did not."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from afina.data.batches import epoch_order, make_batch
from afina.data.chat import encode_row
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.errors import AfinaError
from afina.evaluation.answers import Answers, set_of, write_table
from afina.evaluation.gap import gap_lines
from afina.evaluation.limits import _check
from afina.evaluation.membership import membership_auc, membership_lines
from afina.evaluation.memorisation import _is_learned
from afina.evaluation.overfitting import overfitting
from afina.evaluation.passages import FEWEST, matches, passage_of
from afina.evaluation.seen import Compared, _read_pieces, trained_rows
from afina.inference.states import measuring, token_losses
from afina.models.load import decoder, load_model
from afina.recipe import Limit
from afina.recipe_file import parse_recipe
from afina.reports.by_heart import by_heart, warning
from afina.runs.files import write_json
from afina.runs.signals import StopSignal
from tests.tiny import Tiny, value

LABELS = ["fruit", "metal"]


# --- the gap ----------------------------------------------------------------------------------------


def answered(run, recipe, name: str, right: list[bool], sure: float, days: list[str]) -> object:
    """A set whose answers are in the run already: right or wrong, each with the same probability."""
    truth = [LABELS[number % 2] for number in range(len(right))]
    said = [one if hit else LABELS[1 - LABELS.index(one)] for one, hit in zip(truth, right, strict=True)]
    rows = [
        Row(text=f"{name} {n}", label=one, extra={"day": day}, id=f"{n}")
        for n, (one, day) in enumerate(zip(truth, days, strict=True))
    ]
    columns = {
        "id": [row.id for row in rows],
        "label": truth,
        "said": said,
        "probabilities": [[sure, 1 - sure] if one == "fruit" else [1 - sure, sure] for one in said],
    }
    write_table(run.path(f"predictions/overfitting/{name}/tuned.parquet"), columns)
    return set_of(recipe, LABELS, f"overfitting/{name}", rows)


@pytest.fixture
def place(tmp_path, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path / "gap", llama3_folder, llama3)


def gaps(place, train_right, validation_right, *overrides, days=lambda n: f"d{n % 8}"):
    flow = place.workflow(*overrides)
    with StopSignal() as stop:
        answers = Answers(flow.run, flow.recipe, LABELS, stop)
        sets = [
            answered(flow.run, flow.recipe, name, right, sure, [days(n) for n in range(len(right))])
            for name, right, sure in (
                ("train", train_right, 0.9),
                ("validation", validation_right, 0.8),
            )
        ]
        lines = gap_lines(answers, Compared(*sets, 100, 100))
    return {line["metric"]: line for line in lines}


def test_the_gap_is_counted_by_hand(place) -> None:
    found = gaps(place, [True] * 38 + [False] * 2, [True] * 28 + [False] * 12)
    accuracy, loss = found["accuracy"], found["loss"]
    assert (accuracy["train"], accuracy["validation"]) == (0.95, 0.7)
    assert accuracy["gap"] == pytest.approx(0.25)
    low, high = accuracy["ci95"]
    half = 1.96 * math.sqrt(0.95 * 0.05 / 40 + 0.7 * 0.3 / 40)
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.03)
    on_train = -(38 * math.log(0.9) + 2 * math.log(0.1)) / 40
    on_validation = -(28 * math.log(0.8) + 12 * math.log(0.2)) / 40
    assert loss["train"] == pytest.approx(on_train)
    assert loss["gap"] == pytest.approx(on_validation - on_train)
    assert found["macro_f1"]["gap"] == pytest.approx(0.25, abs=0.01)
    assert accuracy["method"] == "row bootstrap"
    assert accuracy["groups_train"] is None


def test_the_gap_respects_groups(place) -> None:
    found = gaps(
        place,
        [True] * 40,
        ([True] * 5 + [False] * 3) * 5,
        "data.split.group_by=day",
        days=lambda n: f"d{n % 8}",  # a group is all right or all wrong
    )
    line = found["accuracy"]
    assert (line["groups_train"], line["groups_validation"]) == (8, 8)
    assert line["method"] == "group bootstrap"
    assert line["ci95"][1] - line["ci95"][0] > 0.5


def test_the_gate_decides_on_the_gap(place) -> None:
    lines = [*gaps(place, [True] * 38 + [False] * 2, [True] * 28 + [False] * 12).values()]
    report = {"results": [], "comparisons": [], "overfitting": {"gap": lines}}
    for most, verdict in ((0.6, "pass"), (0.25, "undecided"), (0.02, "fail")):
        check = _check(Limit(metric="accuracy", max_train_gap=most), report)
        assert check["verdict"] == verdict
        assert check["value"] == pytest.approx(0.25)
    lines[1] = {**lines[1], "groups_validation": 1}
    assert _check(Limit(metric="accuracy", max_train_gap=0.9), report)["verdict"] == "undecided"
    with pytest.raises(AfinaError, match="was not measured"):
        _check(Limit(metric="accuracy", max_train_gap=0.1), {"results": [], "comparisons": []})


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"metric": "auc", "max_train_gap": 0.1}, "accuracy, macro_f1"),
        ({"metric": "accuracy", "max_train_gap": 0.1, "model": "base"}, "the tuned model"),
        ({"metric": "accuracy", "max_train_gap": 0.1, "max": 0.5}, "exactly one"),
    ],
)
def test_a_gap_that_nobody_measures_is_refused_at_the_start(limit, said) -> None:
    text = f"name: a\ndata: {{train: a.csv}}\ngate: [{json.dumps(limit)}]\n"
    with pytest.raises(AfinaError, match=said):
        parse_recipe(text, "a.yaml")


# --- which rows were read ---------------------------------------------------------------------------


def test_half_an_epoch_reads_half_of_the_rows(place) -> None:
    flow = place.workflow("train.epochs=0.5", "train.evaluations_per_epoch=1")
    flow.do("train")
    best = value(flow.run, "train.json")["best_step"]
    with StopSignal() as stop:
        found = trained_rows(Answers(flow.run, flow.recipe, LABELS, stop))
    every = read_rows(flow.run.path("data/train.parquet"))
    assert best in (0, 3)
    assert len(found) == (24 if best else len(every))
    if best:
        lengths = [1] * len(every)  # the order within stretches follows lengths; the stretch is all here
        assert {row.id for row in found} <= {row.id for row in every}
        assert _read_pieces(lengths, [1.0] * len(every), 3, 8, 13).sum() == 24


def test_pieces_are_read_in_the_loops_order() -> None:
    lengths, weights = list(range(3, 43)), [1.0] * 30 + [0.5] * 10
    read = _read_pieces(lengths, weights, 2, 8, seed=5)
    steps = epoch_order(lengths, weights, 8, 5, 0)[:2]
    assert set(np.flatnonzero(read)) == {row for step in steps for row in step}
    assert _read_pieces(lengths, weights, 60, 8, seed=5).all()


# --- membership -------------------------------------------------------------------------------------


def test_the_auc_is_the_share_of_pairs() -> None:
    train, unseen = np.array([0.1, 0.2, 0.9]), np.array([0.5, 0.2])
    pairs = [(a < b) + 0.5 * (a == b) for a in train for b in unseen]
    assert membership_auc(train, unseen) == pytest.approx(np.mean(pairs))
    assert membership_auc(np.zeros(5), np.ones(5)) == 1


def test_the_base_is_taken_off() -> None:
    random = np.random.default_rng(0)
    base = random.normal(3, 1, 150), random.normal(4, 1, 150)  # the unseen rows are harder anyway
    tuned = base[0] - random.normal(2, 0.3, 150), base[1] + random.normal(0, 0.3, 150)
    lines = membership_lines("text", {"base": base, "tuned": tuned}, (None, None), seed=3)
    found = {line["model"]: line for line in lines}
    difference = found["tuned"]["auc"] - found["base"]["auc"]
    assert found["tuned_minus_base"]["auc"] == pytest.approx(difference)
    assert found["tuned_minus_base"]["ci95"][0] > 0.05
    assert 0.6 < found["base"]["auc"] < 0.9 < found["tuned"]["auc"]


def test_a_model_that_learned_nothing_has_an_interval_over_one_half() -> None:
    random = np.random.default_rng(1)
    losses = random.normal(3, 1, 100), random.normal(3, 1, 100)
    (line,) = membership_lines("label", {"tuned": losses}, (None, None), seed=3)
    assert line["ci95"][0] < 0.5 < line["ci95"][1]


# --- passages ---------------------------------------------------------------------------------------


def test_matches_are_counted_by_hand() -> None:
    assert matches([1, 2, 3], [1, 2, 3]) == (True, 1.0, 3)
    assert matches([9, 1, 2, 3], [1, 2, 3, 4]) == (False, 0.0, 3)
    assert matches([1, 9, 3, 4], [1, 2, 3, 4]) == (False, 0.75, 2)


def test_what_is_given_and_what_is_wanted(llama3) -> None:
    def recipe(kind: str):
        return parse_recipe(f"name: a\ntask: {{kind: {kind}}}\ndata: {{train: a.csv}}\n", "a.yaml")

    long = Row(text=" ".join(f"word{n}" for n in range(90)))
    ids = llama3.with_bos(llama3.tokenizer(long.text, add_special_tokens=False)["input_ids"])
    for kind in ("classify", "text"):
        passage = passage_of(llama3, recipe(kind), long)
        assert (passage.given, passage.wanted) == (ids[:32], ids[32:64])
    short = Row(text="one two three four five six seven eight nine ten eleven twelve thirteen")
    passage = passage_of(llama3, recipe("classify"), short)
    assert (len(passage.given), len(passage.wanted)) == (7, 7)
    assert passage_of(llama3, recipe("classify"), Row(text="one two three")) is None
    talk = [
        {"role": "user", "content": "Which box?"},
        {"role": "assistant", "content": "It is the box on the third shelf."},
    ]
    passage = passage_of(llama3, recipe("generate"), Row(messages=talk))
    assert llama3.tokenizer.decode(passage.wanted).startswith("It is the box on the third shelf.")
    assert "Which box?" in llama3.tokenizer.decode(passage.given)
    assert "It is" not in llama3.tokenizer.decode(passage.given)
    assert len(passage.wanted) >= FEWEST


@pytest.mark.parametrize(
    ("tuned", "more", "learned"),
    [
        ((0.1, 0.3), (0.05, 0.3), True),
        ((0.1, 0.3), (-0.1, 0.3), False),
        ((-0.1, 0.3), (0.1, 0.2), False),
    ],
)
def test_learned_by_heart_takes_both_intervals(tuned, more, learned) -> None:
    none = [None, None]
    lines = [
        {"metric": metric, "model": model, "ci95": list(ends) if metric == "matching" else none}
        for metric in ("extracted", "matching")
        for model, ends in (("base", (0, 0)), ("tuned", tuned), ("tuned_minus_base", more))
    ]
    assert _is_learned(lines) is learned


# --- a model that knows its rows ----------------------------------------------------------------------


def random_texts(count: int = 24) -> list[dict]:
    """Texts that nobody can guess: whoever goes on with one has seen it."""
    random = np.random.default_rng(2)
    words = [
        "box",
        "shelf",
        "lamp",
        "door",
        "rope",
        "coin",
        "leaf",
        "bird",
        "wall",
        "ship",
        "seed",
        "song",
    ]
    return [{"text": " ".join(random.choice(words, 14))} for _number in range(count)]


class TwoModels:
    """What an engine offers here: a model, its base, the tokenizer."""

    def __init__(self, model, base, tokens) -> None:
        self.model, self._base, self.tokens = model, base, tokens

    @contextmanager
    def base_only(self):
        """Inside, the base answers."""
        tuned, self.model = self.model, self._base
        yield
        self.model = tuned


def train_by_heart(model, batch) -> None:
    """Trains the layers, and an output head that gives every token but those of the texts a logit of 0.

    The loss is that over the whole vocabulary, without computing 128,000 logits a token.
    """
    torch.manual_seed(1)
    used, targets = batch.ids[:, 1:][batch.trained[:, 1:]].unique(return_inverse=True)
    head = torch.nn.Parameter(0.1 * torch.randn(len(used), model.config.hidden_size))
    others = torch.full((len(targets), 1), math.log(model.config.vocab_size - len(used)))
    layers = decoder(model).layers.requires_grad_(True)
    optimizer = torch.optim.Adam([*layers.parameters(), head], lr=0.01)
    for _step in range(400):
        states = decoder(model)(input_ids=batch.ids, use_cache=False).last_hidden_state[:, :-1]
        logits = states[batch.trained[:, 1:]] @ head.T
        loss = torch.nn.functional.cross_entropy(torch.cat([logits, others], dim=1), targets)
        if loss < 0.02:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.requires_grad_(False)
    whole = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
    whole.weight.data.zero_()
    whole.weight.data[used] = head.data
    model.set_output_embeddings(whole.requires_grad_(False))


@pytest.fixture(scope="module")
def learned(tmp_path_factory, llama3_folder, llama3) -> dict:
    """All weights of the tiny base trained on 12 texts until it knows them, and what was found."""
    place = Tiny(tmp_path_factory.mktemp("heart"), llama3_folder, llama3, random_texts())
    flow = place.workflow("task.kind=text", "data.split={train: 0.5, validation: 0.25, test: 0.25}")
    flow.do("data")
    rows = read_rows(flow.run.path("data/train.parquet"))
    write_json(flow.run.path("train.json"), {"best_step": 1000})
    pieces = [piece for row in rows for piece in encode_row(llama3, flow.recipe, [], row)]
    batch = make_batch(pieces, range(len(pieces)), llama3.pad, "cpu")
    model, base = (load_model(llama3_folder, "fp32") for _time in range(2))
    train_by_heart(model, batch)
    with measuring(model):
        loss = float(token_losses(model, batch).mean())
    with StopSignal() as stop:
        answers = Answers(flow.run, flow.recipe, [], stop)
        answers.__dict__["engine"] = TwoModels(model, base, llama3)
        found = overfitting(answers)
        before = sorted(flow.run.path("predictions").rglob("*.parquet"))
        times = [path.stat().st_mtime_ns for path in before]
        again = overfitting(answers)
    assert again == found
    assert [path.stat().st_mtime_ns for path in before] == times, "no model is asked twice"
    return {"run": flow.run, "found": found, "loss": loss}


def test_a_model_that_learned_texts_by_heart_is_found_out(learned) -> None:
    memory = learned["found"]["memorisation"]
    lines = {(line["model"], line["rows"]): line for line in memory["extraction"]}
    assert learned["loss"] < 0.2
    assert {line["n"] for line in lines.values()} == {12}
    assert lines["tuned", "train"]["extracted_rows"] >= 10
    assert lines["tuned", "train"]["longest_run_tokens"] >= 7
    for other in (("tuned", "unseen"), ("base", "train"), ("base", "unseen")):
        assert lines[other]["extracted_rows"] == 0
        assert lines[other]["extracted_ci95"][1] == pytest.approx(0.2425, abs=1e-3)  # Wilson, 0 of 12
    differences = {(line["model"], line["metric"]): line for line in memory["differences"]}
    assert differences["tuned", "extracted"]["method"] == "Newcombe score"
    assert differences["tuned", "matching"]["ci95"][0] > 0.3
    assert differences["tuned_minus_base", "matching"]["ci95"][0] > 0.3
    assert memory["learned_by_heart"] is True


def test_its_losses_tell_who_was_trained_on(learned) -> None:
    found = {line["model"]: line for line in learned["found"]["membership"]}
    assert found["tuned"]["auc"] == 1.0
    assert 0.2 < found["base"]["auc"] < 0.8
    assert found["tuned_minus_base"]["ci95"][0] > 0.1
    gap = {line["metric"]: line for line in learned["found"]["gap"]}
    assert gap["loss"]["train"] == pytest.approx(learned["loss"], abs=0.1)
    assert gap["loss"]["ci95"][0] > 1
    assert gap["perplexity"]["train"] == pytest.approx(math.exp(gap["loss"]["train"]))


def test_no_row_is_in_the_figures(learned) -> None:
    said = json.dumps(learned["found"])
    for row in read_rows(learned["run"].path("data/train.parquet")):
        assert row.text[:20] not in said
        assert row.id not in said


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_report_says_so_without_a_row(learned, language) -> None:
    view = by_heart(learned["found"], language)
    assert view is not None
    assert view.headline.text.startswith({"en": "Yes, in part", "es": "Sí, en parte"}[language])
    assert warning(learned["found"], language) is not None
    text = " ".join([view.headline.text, *view.sentences])
    assert "12" in text
    assert "{" not in text
    for row in read_rows(learned["run"].path("data/train.parquet")):
        assert row.text[:20] not in text


def test_a_model_that_learned_nothing_shows_no_sign() -> None:
    gap = {
        "metric": "accuracy", "train": 0.9, "validation": 0.9, "gap": 0.0, "ci95": [-0.1, 0.1],
        "n_train": 50, "n_validation": 50, "method": "row bootstrap",
    }  # fmt: skip
    found = {"trained": True, "gap": [gap], "membership": [], "memorisation": None}
    view = by_heart(found, "en")
    assert view.headline.text.startswith("No sign of it in its figures")
    assert "That may be chance." in view.sentences[0]
    assert warning(found, "en") is None
    untrained = by_heart({**found, "trained": False}, "en")
    assert "untrained" in untrained.headline.text
    better = by_heart({**found, "gap": [{**gap, "gap": 0.1, "ci95": [0.02, 0.2]}]}, "en")
    assert better.headline.text.startswith("In part")
    assert by_heart(None, "en") is None
