"""Training on one GPU: our loop beside TRL's, on models of Llama's sizes with random weights.

Tokens a second, share of the card's own rate of bf16 products (MFU) and peak memory of Llama-3.2-1B and
Llama-3.1-8B shapes. Needs no download. One line a run in `benchmarks/results/gpu.jsonl`, written as soon
as it is measured, so that a session that ends early keeps what it has; no run begins after --seconds.

    python -m benchmarks.gpu [--seconds 480] [--rows 64] [--only 1b 8b]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from afina.data.chat import Encoded
from benchmarks.heads import RESULTS

PATH = RESULTS / "gpu.jsonl"
SHAPES: dict[str, dict[str, Any]] = {
    "1b": {  # Llama-3.2-1B
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "8b": {  # Llama-3.1-8B
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
}
WORDS = 128_256
BATCH_ROWS, BATCH_TOKENS = 16, 16_384


def make_model(shape: str) -> Any:
    """A Llama of this shape with random weights, bf16, on the GPU."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=WORDS,
        max_position_embeddings=8192,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        attn_implementation="sdpa",
        **SHAPES[shape],
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.requires_grad_(False)
    return model.eval()


def make_rows(count: int, seed: int) -> list[Encoded]:
    """Random rows of log-normal length (median 400, longest 2,048), the last quarter trained."""
    random = np.random.default_rng(seed)
    rows = []
    for length in np.clip(random.lognormal(math.log(400), 0.6, count), 32, 2048).astype(int):
        trained = [False] * (length - length // 4) + [True] * (length // 4)
        rows.append(Encoded(random.integers(1000, 100_000, length).tolist(), trained))
    return rows


def train_afina(model: Any, rows: list[Encoded]) -> float:
    """Seconds of one epoch by our Trainer."""
    from afina.models.load import attach_adapter
    from afina.recipe_file import parse_recipe
    from afina.runs.folder import open_run
    from afina.training.loop import Trainer, TrainingRows
    from afina.training.objective import TokenObjective

    with tempfile.TemporaryDirectory() as folder:
        recipe = parse_recipe(
            "name: bench\ntask: {kind: text}\ndata: {train: a.jsonl}\n"
            f"train: {{epochs: 1, batch_rows: {BATCH_ROWS}, micro_batch_tokens: {BATCH_TOKENS}, "
            "patience: null, evaluations_per_epoch: 1, checkpoint_steps: 100000, precision: bf16}\n",
            "bench.yaml",
            [],
        )
        run = open_run(recipe, str(Path(folder) / "runs"))
        tuned = attach_adapter(model, recipe.adapter, "random", 13)
        names = [str(number) for number in range(len(rows))]
        objective = TokenObjective()
        trainer = Trainer(
            run,
            recipe,
            tuned,
            0,
            TrainingRows(rows, names, [1.0] * len(rows)),
            TrainingRows(rows[:1], names[:1], [1.0]),
            objective,
            objective,
        )
        trainer.rehearse(list(range(min(BATCH_ROWS, len(rows)))))  # kernels are chosen at first use
        return timed(trainer.fit)


def train_trl(model: Any, rows: list[Encoded]) -> float:
    """Seconds of one epoch by TRL's SFTTrainer with its defaults, bf16, on the same rows."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_empty_tokenizer(), pad_token="<pad>")
    data = Dataset.from_list(
        [
            {"input_ids": row.ids, "completion_mask": [int(trained) for trained in row.trained]}
            for row in rows
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                bf16=True,
                max_length=2048,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH_ROWS // 2,
                gradient_accumulation_steps=2,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
        return timed(trainer.train)


def _empty_tokenizer() -> Any:
    """A tokenizer with one word: the rows are ids already."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    return Tokenizer(WordLevel({"<pad>": 0}, unk_token="<pad>"))


def timed(work: Any) -> float:
    """Seconds until the GPU is done."""
    import torch

    torch.cuda.synchronize()
    started = time.monotonic()
    work()
    torch.cuda.synchronize()
    return time.monotonic() - started


def product_rate() -> float:
    """This card's bf16 products in floating-point operations a second: the best of a few runs."""
    import torch

    left = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    return max(2 * 8192**3 / timed(lambda: left @ left) for _repeat in range(8))


def measure(tool: str, shape: str, rows: list[Encoded]) -> dict[str, Any]:
    """One line of the results."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    rate = product_rate()
    model = make_model(shape)
    inside = sum(p.numel() for p in model.model.layers.parameters())
    seconds = {"afina": train_afina, "trl-default": train_trl}[tool](model, rows)
    tokens = sum(len(row.ids) for row in rows)
    return {
        "tool": tool,
        "shape": shape,
        "rows": len(rows),
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1),
        "mfu": round(4 * inside * tokens / seconds / rate, 4),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(),
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "command": f"python -m benchmarks.gpu --only {shape} --rows {len(rows)}",
        "date": date.today().isoformat(),
    }


def main() -> None:
    """Measures until the time is up."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--tools", nargs="+", default=["afina", "trl-default"])
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here; `make bench` measures the processor")
    until = time.monotonic() + given.seconds
    RESULTS.mkdir(exist_ok=True)
    for shape in given.only:
        for tool in given.tools:
            if time.monotonic() > until:
                print("the time is up; what was measured is kept")
                return
            try:
                line = measure(tool, shape, make_rows(given.rows, 13))
            except (ImportError, torch.cuda.OutOfMemoryError) as error:
                print(f"{tool} on {shape}: {error}")
                continue
            with PATH.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
