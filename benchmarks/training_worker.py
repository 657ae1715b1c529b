"""One training run of one tool, in a process of its own: `benchmarks.training` starts it.

    python -m benchmarks.training_worker TOOL --precision bf16|fp32 --rows 96 --seed 13 [--answers long]

Prints one JSON line: seconds of the training loop alone, rows and tokens, peak memory of the process,
and the loss on held-out rows, read by the same code for every tool.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import tempfile
import time
from typing import Any

import numpy as np

from afina.data.chat import Encoded, Question, encode_conversation
from afina.data.sources import BUILTIN
from afina.models.base import find_base
from afina.models.load import attach_adapter, load_model
from afina.models.tokenizer import Tokens, load_tokens
from afina.recipe import Adapter

MEDIAN, SPREAD, LONGEST = 100, 0.6, 512
LABELS = ("legitimate", "phishing")
INSTRUCTION = "Classify the text below. Answer with one of these labels and nothing else: "
BATCH_ROWS, LEARNING_RATE = 16, 5e-4
TOOLS = ("afina", "trl-default", "trl-expert", "trl-plain", "peft-loop")


def make_rows(tokens: Tokens, count: int, seed: int, answers: str) -> list[Encoded]:
    """Rows of log-normal length out of the built-in corpus.

    `short`: a question about a text, answered in one word. `long`: the first 16 tokens of a text, the
    rest of which is the answer.
    """
    lines = [json.loads(line) for line in BUILTIN["builtin:phishing"].read_text("utf-8").splitlines()]
    random = np.random.default_rng(seed)
    by_label = {label: [line["text"] for line in lines if line["label"] == label] for label in LABELS}
    question = Question(INSTRUCTION + ", ".join(LABELS), LABELS)
    overhead = len(encode_conversation(tokens, question.messages("", LABELS[0])).ids)
    rows = []
    for number in range(count):
        label = LABELS[number % 2]
        length = int(np.clip(random.lognormal(math.log(MEDIAN), SPREAD), overhead + 8, LONGEST))
        text = ""
        while len(tokens.tokenizer(text, add_special_tokens=False)["input_ids"]) < length:
            text += " " + by_label[label][random.integers(len(by_label[label]))]
        ids = tokens.tokenizer(text.strip(), add_special_tokens=False)["input_ids"]
        if answers == "short":
            kept = tokens.tokenizer.decode(ids[: length - overhead])
            rows.append(encode_conversation(tokens, question.messages(kept, label)))
        else:
            rows.append(Encoded(ids[:length], [False] * 16 + [True] * (length - 16)))
    return rows


def peak_bytes() -> int:
    """Highest resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def share_of_matmul_rate(rows: list[Encoded], precision: str, seconds: float) -> float:
    """Floating-point operations of the linear layers a second, over this machine's rate just now.

    Four operations a weight and token (forward, and backward by the input), six a weight of the adapter.
    Every token of every row counts, also those that a tool need not compute twice.
    """
    from afina.models.memory import parameter_count
    from afina.models.precision import matmul_gflops

    config = json.loads((find_base("embedded", None).folder / "config.json").read_text("utf-8"))
    layers, _embeddings = parameter_count(config)
    adapter = 4_884_480  # rank 16 on every linear layer of the embedded base
    operations = sum(len(row.ids) for row in rows) * (4 * layers + 6 * adapter)
    return operations / seconds / 1e9 / matmul_gflops(precision)


def held_out_loss(model: Any, rows: list[Encoded]) -> float:
    """Mean loss in nats of the trained tokens, row by row through transformers' own forward pass."""
    import torch

    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for row in rows:
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1].float()
            goal = torch.tensor(row.ids[1:])
            where = torch.tensor(row.trained[1:])
            losses = torch.nn.functional.cross_entropy(logits, goal, reduction="none")
            total, count = total + float(losses[where].sum()), count + int(where.sum())
    return total / count


def train_afina(rows: list[Encoded], precision: str, seed: int, epochs: int) -> tuple[Any, float]:
    """Our own loop: the same `Trainer` that `afina run` uses."""
    from pathlib import Path

    from afina.recipe_file import parse_recipe
    from afina.runs.folder import open_run
    from afina.training.loop import Trainer, TrainingRows
    from afina.training.objective import TokenObjective

    base = find_base("embedded", None)
    tokens = load_tokens(base.folder)
    with tempfile.TemporaryDirectory() as folder:
        recipe = parse_recipe(
            f"name: bench\nseed: {seed}\ntask: {{kind: classify, head: tokens}}\n"
            "data: {train: 'builtin:phishing'}\n"
            f"train: {{epochs: {epochs}, learning_rate: {LEARNING_RATE}, batch_rows: {BATCH_ROWS}, "
            "patience: null, evaluations_per_epoch: 1, checkpoint_steps: 100000, "
            f"precision: {precision}}}\n",
            "bench.yaml",
            [],
        )
        run = open_run(recipe, str(Path(folder) / "runs"))
        model = attach_adapter(load_model(base.folder, precision), recipe.adapter, base.id, seed)
        names = [str(number) for number in range(len(rows))]
        kept = TrainingRows(rows, names, [1.0] * len(rows))
        few = TrainingRows(rows[:1], names[:1], [1.0])
        objective = TokenObjective()
        trainer = Trainer(run, recipe, model, tokens.pad, kept, few, objective, objective)
        started = time.monotonic()
        trainer.fit()
        return model, time.monotonic() - started


def train_trl(
    tool: str, rows: list[Encoded], precision: str, seed: int, epochs: int
) -> tuple[Any, float]:
    """TRL's SFTTrainer on the same token ids and masks."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    base = find_base("embedded", None)
    tokens = load_tokens(base.folder)
    expert = tool == "trl-expert"
    plain = load_plain(base.folder, "bf16" if expert and precision == "bf16" else "fp32")
    adapter = Adapter()
    settings: dict[str, Any] = {}
    if expert:  # what TRL's own guides say for speed, as far as a processor can
        settings = {"packing": True, "gradient_checkpointing": False, "loss_type": "chunked_nll"}
    elif tool == "trl-plain":
        settings = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=precision == "bf16",
            max_length=2048 if not expert else 1024,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH_ROWS // 2 if not expert else 1,
            gradient_accumulation_steps=2,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            max_grad_norm=1.0,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=seed,
            **settings,
        )
        data = Dataset.from_list(
            [
                {"input_ids": row.ids, "completion_mask": [int(trained) for trained in row.trained]}
                for row in rows
            ]
        )
        trainer = SFTTrainer(
            model=plain,
            args=config,
            train_dataset=data,
            processing_class=tokens.tokenizer,
            peft_config=LoraConfig(
                r=adapter.rank,
                lora_alpha=adapter.alpha,
                lora_dropout=adapter.dropout,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )
        started = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - started
    return trainer.model.to(torch.bfloat16 if precision == "bf16" else torch.float32), seconds


def load_plain(folder: Any, precision: str) -> Any:
    """The base as transformers loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype)


def train_peft(rows: list[Encoded], precision: str, seed: int, epochs: int) -> tuple[Any, float]:
    """A plain loop with peft, as tutorials write it: padded batches in random order."""
    import torch
    from peft import LoraConfig, get_peft_model

    base = find_base("embedded", None)
    adapter = Adapter()
    torch.manual_seed(seed)
    model = get_peft_model(
        load_plain(base.folder, precision),
        LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            target_modules="all-linear",
        ),
    )
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    random = np.random.default_rng(seed)
    started = time.monotonic()
    for _epoch in range(epochs):
        order = random.permutation(len(rows))
        for start in range(0, len(rows), BATCH_ROWS):
            step = order[start : start + BATCH_ROWS]
            for half in (step[: BATCH_ROWS // 2], step[BATCH_ROWS // 2 :]):
                if len(half):
                    part = [rows[index] for index in half]
                    longest = max(len(row.ids) for row in part)
                    ids = torch.zeros(len(part), longest, dtype=torch.long)
                    labels = torch.full((len(part), longest), -100)
                    seen = torch.zeros(len(part), longest, dtype=torch.long)
                    for index, row in enumerate(part):
                        length = len(row.ids)
                        ids[index, :length], seen[index, :length] = torch.tensor(row.ids), 1
                        where = torch.tensor(row.trained)
                        labels[index, :length][where] = torch.tensor(row.ids)[where]
                    loss = model(input_ids=ids, attention_mask=seen, labels=labels).loss / 2
                    loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return model, time.monotonic() - started


def main() -> None:
    """Trains once and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--answers", choices=["short", "long"], default="short")
    parser.add_argument("--held-out", type=int, default=32)
    given = parser.parse_args()
    tokens = load_tokens(find_base("embedded", None).folder)
    rows = make_rows(tokens, given.rows, given.seed, given.answers)
    arguments = (rows, given.precision, given.seed, given.epochs)
    if given.tool == "afina":
        model, seconds = train_afina(*arguments)
    elif given.tool == "peft-loop":
        model, seconds = train_peft(*arguments)
    else:
        model, seconds = train_trl(given.tool, *arguments)
    peak = peak_bytes()
    share = share_of_matmul_rate(rows, given.precision, seconds / given.epochs)
    held_out = make_rows(tokens, given.held_out, given.seed + 1000, given.answers)
    read = given.epochs * sum(len(row.ids) for row in rows)
    print(
        json.dumps(
            {
                "tool": given.tool,
                "precision": given.precision,
                "answers": given.answers,
                "seed": given.seed,
                "rows": given.rows,
                "tokens": read,
                "seconds": round(seconds, 2),
                "rows_per_second": round(given.epochs * given.rows / seconds, 3),
                "tokens_per_second": round(read / seconds, 1),
                "peak_memory_bytes": peak,
                "share_of_matmul_rate": round(share, 3),
                "held_out_loss": round(held_out_loss(model, held_out), 4) if given.held_out else None,
            }
        )
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
