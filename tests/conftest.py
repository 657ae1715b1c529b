"""What tests share: a tiny random Llama 3, the real Llama 3 tokenizer, small data files."""

from __future__ import annotations

import fnmatch
import json
import os
from pathlib import Path

import pytest

from afina.language import choose

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def english() -> None:
    """Messages in English unless a test chooses otherwise."""
    choose("en")


@pytest.fixture(scope="session", autouse=True)
def nobody_is_trusted(tmp_path_factory) -> None:
    """A trust store of the tests' own, with nobody in it: the person's own one is left alone."""
    os.environ["AFINA_TRUST"] = str(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data for development; tests that need it are skipped by name without it."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED


@pytest.fixture(scope="session")
def llama3_tokenizer():
    """The real Llama 3 tokenizer, from the package llama-models."""
    return make_tokenizer()


def make_tokenizer():
    """The same, for those who are no tests."""
    import llama_models
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    path = Path(llama_models.__file__).parent / "llama3" / "tokenizer.model"
    special = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
    ]
    special += ["<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    special += ["<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
    special += [f"<|reserved_special_token_{number}|>" for number in range(2, 256 - len(special) + 2)]
    converter = TikTokenConverter(
        vocab_file=str(path),
        pattern=(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        extra_special_tokens=special,
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(), bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )


def tiny_config(vocab_size: int = 128_256):
    """A Llama 3 with everything the real one has, but small: grouped heads, rope scaling."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_theta=500000.0,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024,
        },
        bos_token_id=128000,
        eos_token_id=[128001, 128008, 128009],
        tie_word_embeddings=True,
    )


@pytest.fixture(scope="session")
def llama3_folder(tmp_path_factory, llama3_tokenizer) -> Path:
    """A tiny random Llama 3 with the real tokenizer, saved as any base model is."""
    return save_tiny(tmp_path_factory.mktemp("llama3"), llama3_tokenizer)


def save_tiny(folder: Path, tokenizer) -> Path:
    """Saves the tiny random Llama 3 into a folder."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wide_llama3(tmp_path_factory, llama3_tokenizer) -> Path:
    """The tiny Llama 3 with rows of 64 weights and more: a base of 4 bits needs whole blocks."""
    import torch
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide")
    config = tiny_config()
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    llama3_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama3(llama3_folder):
    """The Tokens of the tiny Llama 3."""
    from afina.models.tokenizer import load_tokens

    return load_tokens(llama3_folder)


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    """Rows as JSON lines."""
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def colour_rows(count: int = 60) -> list[dict]:
    """A task that a tiny model can learn: does the text speak of fruit or of metal?"""
    fruit = ["mango", "papaya", "guava", "banana", "lime", "peach"]
    metal = ["iron", "copper", "silver", "zinc", "lead", "tin"]
    rows = []
    for number in range(count):
        words, label = (fruit, "fruit") if number % 2 else (metal, "metal")
        pair = f"the {words[number % 6]} and the {words[(number * 5 + 1) % 6]}"
        text = f"Lot {number}: {pair} came on day {number * 7 % 31}"
        rows.append({"text": text, "label": label, "day": f"d{number % 12}"})
    return rows


_skipped: list[tuple[str, str]] = []


def pytest_runtest_logreport(report) -> None:
    """Notes each skipped test with its reason."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped.append((report.nodeid, str(report.longrepr[2]).removeprefix("Skipped: ")))


def pytest_sessionfinish(session) -> None:
    """Fails the run when a test was skipped for a reason that skips.txt does not name."""
    lines = (Path(__file__).parent / "skips.txt").read_text(encoding="utf-8").splitlines()
    known = [line.split("\t") for line in lines if line and not line.startswith("#")]
    for name, why in _skipped:
        if not any(
            fnmatch.fnmatch(name, test) and fnmatch.fnmatch(why, reason) for test, reason in known
        ):
            print(f"\nskipped, but not on tests/skips.txt: {name}: {why}")
            session.exitstatus = 1
