"""Every setting of the recipe changes something that can be seen; one that changes nothing is a defect.

The table names for each setting two values and what differs between their runs. A setting without an
entry fails the test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import afina.inference.engine as engine
from afina.errors import AfinaError
from afina.recipe_file import all_fields
from afina.training import tune
from afina.training.loop import Trainer
from tests.conftest import colour_rows, write_jsonl
from tests.field_cases import FIELDS, SEEN_BY_REFUSAL, Case, ids
from tests.suites.small_rows import write_small_rows
from tests.tiny import Tiny, adapter_hash


class Refused(str):
    """What an error said."""


def leaves() -> list[str]:
    """The settings that hold no other settings."""
    names = [name for name, _field in all_fields()]
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


class CrashAfterFive(Trainer):
    """The real trainer in a process that fails after five steps."""

    def _step(self, stop):
        if self.progress.step == 5:
            raise MemoryError("the process fails here")
        super()._step(stop)


ROWS: dict[str, list[dict]] = {
    "classify": [
        {
            **row,
            "note": f"note {number} of {row['text']}",
            "mail": f"ask lot{number}@example.com about {row['text']}",
        }
        for number, row in enumerate(colour_rows())
    ],
    "generate": [
        {"prompt": f"Box {n}?", "response": f"It is box {n}.", "other": f"Or else {n}."}
        for n in range(40)
    ],
    "messages": [
        {
            name: [
                {"role": "user", "content": f"Box {n}?"},
                {"role": "assistant", "content": said.format(n)},
            ]
            for name, said in (("messages", "It is {}."), ("others", "Or else {}."))
        }
        for n in range(40)
    ],
    "text": [{"text": f"Box {number} stands on shelf {number % 7}."} for number in range(40)],
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, llama3_folder, llama3) -> dict[str, Tiny]:
    folder = tmp_path_factory.mktemp("fields")
    return {name: Tiny(folder / name, llama3_folder, llama3, rows) for name, rows in ROWS.items()}


@pytest.fixture(scope="module")
def names(tmp_path_factory, llama3_folder) -> dict[str, str]:
    """What BASE, OTHER and MORE stand for: the base, the same with other weights, more rows.

    TASKS and LONGER: rows of test suites, and more of them.
    """
    import torch
    from transformers import LlamaForCausalLM

    from tests.conftest import tiny_config

    folder = tmp_path_factory.mktemp("names")
    for path in llama3_folder.iterdir():
        if "token" in path.name:
            (folder / path.name).symlink_to(path)
    torch.manual_seed(99)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    more = write_jsonl(
        folder / "more.jsonl",
        [
            {
                **row,
                "text": f"New {row['text']}" + (f", Ana, ana{number}@x.example" if number % 4 else ""),
                "note": "n",
                "half": "ab"[number % 4 < 2],
                "third": "xy"[number % 3 == 0],
            }
            for number, row in enumerate(colour_rows(80))
        ],
    )
    longer = folder / "longer"
    longer.mkdir()
    for path in sorted(write_small_rows(folder / "tasks").glob("glue/*.jsonl")):
        (longer / path.name).write_text(path.read_text() * 2)
    return {
        "BASE": str(llama3_folder),
        "OTHER": str(folder),
        "MORE": str(more),
        "TASKS": str(folder / "tasks"),
        "LONGER": str(longer),
    }


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory, llama3_folder) -> Path:
    """A cache as a download leaves it: one model with a commit on main and another one on v2."""
    cache = tmp_path_factory.mktemp("hub")
    folder = cache / "models--tiny--llama"
    for reference, commit in (("main", "a" * 40), ("v2", "b" * 40)):
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / reference).write_text(commit)
        (folder / "snapshots").mkdir(exist_ok=True)
        (folder / "snapshots" / commit).symlink_to(llama3_folder)
    return cache


@pytest.fixture(autouse=True)
def without_network_and_with_one_tokenizer(monkeypatch, hub_cache, llama3):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("AFINA_METADATA", "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache))
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)


def seen(case: Case, chosen: str | tuple[str, ...], place: Tiny, names: dict[str, str]) -> Any:
    """What is seen with one value: of its run, or the error that it gives."""
    overrides = [chosen] if isinstance(chosen, str) else list(chosen)
    for short, path in {**names, "ROWS": str(place.rows)}.items():
        overrides = [override.replace(short, f"'{path}'") for override in overrides]
    more = list(case.more)
    for short in ("MORE", "TASKS"):
        more = [override.replace(short, f"'{names[short]}'") for override in more]
    try:
        if case.stage == "none":
            return case.look(place.workflow(*more, *overrides).run)
        return case.look(place.run(*more, *overrides, stage=case.stage))
    except AfinaError as error:
        return Refused(error.what)


def test_every_setting_has_an_entry():
    assert set(leaves()) == set(FIELDS)


@pytest.mark.parametrize("field", [name for name in FIELDS if FIELDS[name].stage != "crash"])
def test_a_setting_changes_what_can_be_seen(field, places, names):
    case = FIELDS[field]
    one = seen(case, case.one, places[case.rows], names)
    other = seen(case, case.other, places[case.rows], names)
    assert one != other
    # Elsewhere an error would hide that nothing was seen.
    refused = [found for found in (one, other) if isinstance(found, Refused)]
    assert len(refused) == (field in SEEN_BY_REFUSAL), refused


def test_steps_between_checkpoints(places, names, monkeypatch):
    monkeypatch.setattr(tune, "Trainer", CrashAfterFive)
    case = FIELDS["train.checkpoint_steps"]
    found = []
    for chosen in (case.one, case.other):
        assert isinstance(chosen, str)
        with pytest.raises(MemoryError):
            places["classify"].run(*case.more, chosen, runs="crash")
        found.append(case.look(places["classify"].workflow(*case.more, chosen, runs="crash").run))
    assert found == [["step-4"], ["step-0"]]


def test_the_adapter_differs_by_seed_alone(places):
    """The seed is also of the dropout and of the adapter's first matrix, not only of the split."""
    runs = [
        places["classify"].run("data.split.seed=5", f"seed={seed}", "train.patience=null")
        for seed in (1, 2)
    ]
    assert ids("train")(runs[0]) == ids("train")(runs[1])
    assert adapter_hash(runs[0]) != adapter_hash(runs[1])
