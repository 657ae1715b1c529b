"""What training needs in memory, and what is chosen as there is less of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from afina.models.base import FoundBase
from afina.models.memory import (
    GIB,
    adapter_parameters,
    cgroup_memory,
    estimate_memory,
    free_main_bytes,
    parameter_count,
)
from afina.recipe import Recipe
from afina.training.resources import choose_memory

LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False, "model_type": "llama",
}  # fmt: skip


def recipe(**sections) -> Recipe:
    return Recipe.model_validate({"name": "memory", "data": {"train": "rows.jsonl"}, **sections})


@pytest.fixture
def base(tmp_path) -> FoundBase:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return FoundBase("meta-llama/Llama-3.1-8B", None, tmp_path, "0" * 64)


def total(base: FoundBase, bits: int, checkpointed: bool = True, **sections) -> float:
    return estimate_memory(base.folder, recipe(**sections), "bf16", bits, checkpointed).total / GIB


def test_parameters_are_those_that_the_model_cards_give():
    assert sum(parameter_count(LLAMA_8B)) == 8_030_261_248
    tied = {
        **LLAMA_8B,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "tie_word_embeddings": True,
    }
    assert sum(parameter_count(tied)) == 1_235_814_400
    # Rank 16 on every linear layer of the 8B: as peft prints it.
    assert adapter_parameters(LLAMA_8B, recipe()) == 41_943_040
    few = recipe(adapter={"targets": ["q_proj", "v_proj"], "rank": 8})
    assert adapter_parameters(LLAMA_8B, few) == 3_407_872


def test_counts_are_those_of_the_real_model(llama3_folder):
    from transformers import AutoModelForCausalLM

    from afina.models.load import attach_adapter

    settings = recipe(adapter={"targets": ["q_proj", "k_proj", "gate_proj", "down_proj"], "rank": 3})
    model = AutoModelForCausalLM.from_pretrained(llama3_folder)
    config = json.loads((llama3_folder / "config.json").read_text())
    assert sum(parameter_count(config)) == model.num_parameters()
    tuned = attach_adapter(model, settings.adapter, "tiny", 1)
    trained = sum(p.numel() for name, p in tuned.named_parameters() if "lora_" in name)
    assert adapter_parameters(config, settings) == trained


def test_estimates_for_8b_are_plausible(base):
    assert 16 < total(base, 16) < 19
    assert 6 < total(base, 4) < 8
    assert total(base, 4) < total(base, 8) < total(base, 16) < total(base, 16, checkpointed=False)


def test_longer_rows_and_token_heads_need_more(base):
    assert total(base, 4, data={"train": "x", "max_length": 8192}) > total(base, 4) + 1
    assert total(base, 4, train={"micro_batch_tokens": 8192}) > total(base, 4) + 1
    assert total(base, 4, task={"head": "tokens"}) > total(base, 4)


def test_less_free_memory_takes_checkpointing_then_fewer_bits(base):
    needs = [(bits, checked, int(total(base, bits, checked) * GIB / 0.9) + 1) for bits, checked in
             [(16, False), (16, True), (8, True), (4, True)]]  # fmt: skip
    for bits, checked, free in needs:
        assert choose_memory(recipe(), base, "bf16", free) == (bits, checked)
    sizes = [free for _bits, _checked, free in needs]
    assert sizes == sorted(sizes, reverse=True)
    # A little less than what one choice needs gives the next one; nothing fits: the smallest.
    chosen = [choose_memory(recipe(), base, "bf16", free - 8) for _bits, _checked, free in needs]
    assert chosen == [(16, True), (8, True), (4, True), (4, True)]


def test_8b_fits_in_16_gib_with_fewer_bits(base):
    bits, checkpointed = choose_memory(recipe(), base, "bf16", 16 * GIB)
    assert bits in (4, 8)
    assert checkpointed
    assert total(base, bits) <= 0.9 * 16


@pytest.mark.parametrize(
    ("sections", "free", "expected"),
    [
        ({"base": {"bits": 16}}, 1, (16, True)),  # what the recipe fixes is never overruled
        ({"base": {"bits": 8}}, 1000, (8, True)),
        ({"base": {"bits": 4}, "train": {"checkpoint_activations": False}}, 1, (4, False)),
        ({"train": {"checkpoint_activations": False}}, 1, (4, False)),
        ({"train": {"checkpoint_activations": True}}, 1000, (16, True)),
        ({}, 1000, (16, False)),
        ({}, 1, (4, True)),
    ],
)
def test_what_the_recipe_says_is_kept(base, sections, free, expected):
    assert choose_memory(recipe(**sections), base, "bf16", free * GIB) == expected


def _write(folder: Path, **values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_memory_limit_of_the_narrowest_group(tmp_path: Path) -> None:
    root, mine = tmp_path / "cgroup", tmp_path / "self"
    mine.write_text("0::/outer/inner\n")
    _write(
        root / "outer",
        memory__max=4 * GIB,
        memory__current=3 * GIB,
        memory__stat=f"anon 1\ninactive_file {GIB}",
    )
    _write(root / "outer" / "inner", memory__max="max", memory__current=GIB)
    assert cgroup_memory(root, mine) == (4 * GIB, 2 * GIB)


def test_memory_limit_of_version_1_where_the_group_itself_is_not_visible(tmp_path: Path) -> None:
    root, mine = tmp_path / "cgroup", tmp_path / "self"
    mine.write_text("3:cpuset:/\n4:cpu,memory:/docker/abc\n0::/\n")
    _write(root / "memory", memory__limit_in_bytes=GIB, memory__usage_in_bytes=5)
    assert cgroup_memory(root, mine) == (GIB, 5)


def test_no_limit_without_control_groups(tmp_path: Path) -> None:
    assert cgroup_memory(tmp_path / "none", tmp_path / "absent") is None


def test_free_memory_is_what_the_tightest_group_leaves(tmp_path: Path) -> None:
    root, mine = tmp_path / "cgroup", tmp_path / "self"
    mine.write_text("0::/outer/inner\n")
    _write(root / "outer", memory__max=8 * GIB, memory__current=8 * GIB - 500)
    _write(root / "outer" / "inner", memory__max=GIB, memory__current=100)
    assert free_main_bytes(root, mine) == 500
    _write(root / "outer", memory__current=9 * GIB)
    assert free_main_bytes(root, mine) == 0


def test_free_memory_without_a_limit_is_the_machines(tmp_path: Path) -> None:
    assert free_main_bytes(tmp_path / "none", tmp_path / "absent") > 0
