"""What a token costs in each runtime: turns about in the same minutes, since machines are shared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from afina.exports.energy import Meter
from afina.exports.onnx_model import weight_bytes_read
from afina.inference.states import measuring
from afina.language import _

ROUNDS = 10  # the least that a spread can be told from
PROMPT_TOKENS, NEW_TOKENS = 128, 32


class Runtime(Protocol):
    """A model that reads a prompt and then writes, token by token."""

    weight_bytes: int  # read in one pass

    def start(self, ids: list[int], more: int) -> None:
        """Reads a prompt; `more` tokens will be written."""

    def step(self) -> None:
        """Writes one token, the likeliest."""


class GenaiRuntime:
    """A model in onnxruntime-genai."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime_genai as genai

        config = genai.Config(str(folder))
        # Threads that wait in a loop would be counted as work.
        options = {"intra_op_num_threads": threads, "session.intra_op.allow_spinning": "0"}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._genai, self._model = genai, genai.Model(config)
        self._generator: Any = None
        self.weight_bytes = weight_bytes_read(folder / "model.onnx")["per_pass"]

    def start(self, ids: list[int], more: int) -> None:
        """See Runtime."""
        parameters = self._genai.GeneratorParams(self._model)
        length = len(ids) + more + 1
        parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
        self._generator = self._genai.Generator(self._model, parameters)
        self._generator.append_tokens(ids)

    def step(self) -> None:
        """See Runtime."""
        self._generator.generate_next_token()


class TorchRuntime:
    """A model in PyTorch, by transformers' own layers with their cache."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._memory: Any = None
        self._given: Any = None
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        table = inner.get_input_embeddings().weight
        tied = inner.get_output_embeddings().weight is table
        sizes = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
        row = table.shape[1] * table.element_size()
        self.weight_bytes = sizes if tied else sizes - table.numel() * table.element_size() + row

    def start(self, ids: list[int], more: int) -> None:
        """See Runtime."""
        import torch

        self._memory = None
        self._given = torch.tensor([ids], device=self._model.device)
        self.step()

    def step(self) -> None:
        """See Runtime."""
        with measuring(self._model):
            done = self._model(
                input_ids=self._given,
                past_key_values=self._memory,
                use_cache=True,
                logits_to_keep=1,
            )
            self._memory = done.past_key_values
            self._given = done.logits[:, -1:].argmax(dim=-1)
            if self._given.device.type == "cuda":
                self._given.cpu()  # waits until it is done


@dataclass
class Costs:
    """What one runtime's rounds took, per token; [rounds] each. Joules only with a meter."""

    cpu: dict[str, list[float]] = field(default_factory=lambda: {"prompt": [], "generated": []})
    wall: dict[str, list[float]] = field(default_factory=lambda: {"prompt": [], "generated": []})
    joules: dict[str, list[float]] = field(default_factory=lambda: {"prompt": [], "generated": []})


def measure(
    runtimes: dict[str, Runtime],
    ids: list[int],
    rounds: int,
    new_tokens: int,
    meter: Meter | None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Costs]:
    """Every runtime in every round, beginning with another one each time; a first round is not counted.

    Args:
        ids: the prompt. rounds: that are counted. new_tokens: written after it in each round.
        check: called before each runtime's turn.
    """
    found = {name: Costs() for name in runtimes}
    names = list(runtimes)
    for turn in range(rounds + 1):
        place = turn % len(names)
        for name in names[place:] + names[:place]:
            check()
            one = runtimes[name]

            def write(one: Runtime = one) -> None:
                for _token in range(new_tokens):
                    one.step()

            def begin(one: Runtime = one) -> None:
                one.start(ids, new_tokens)

            for kind, work, tokens in (("prompt", begin, len(ids)), ("generated", write, new_tokens)):
                cpu, wall, joules = _timed(work, meter)
                if turn:
                    found[name].cpu[kind].append(cpu / tokens)
                    found[name].wall[kind].append(wall / tokens)
                    if meter is not None:
                        found[name].joules[kind].append(joules / tokens)
    return found


def _timed(work: Callable[[], None], meter: Meter | None) -> tuple[float, float, float]:
    """CPU-seconds of this process, seconds, joules without what is taken at rest."""
    joules = meter.joules() if meter else 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if meter is not None:
        joules = max(0.0, meter.joules() - joules - meter.idle_watts * wall)
    return cpu, wall, joules


def ratio(ours: Sequence[float], theirs: Sequence[float], seed: int) -> dict[str, Any]:
    """Our cost by theirs, round by round: geometric mean, 95 % bootstrap interval, least and most."""
    logs = np.log(np.maximum(ours, 1e-12)) - np.log(np.maximum(theirs, 1e-12))
    random = np.random.default_rng(seed)
    means = logs[random.integers(0, len(logs), (2000, len(logs)))].mean(axis=1)
    low, high = np.exp(np.percentile(means, [2.5, 97.5]))
    return {
        "ratio": float(np.exp(logs.mean())),
        "ci95": [float(low), float(high)],
        "least": float(np.exp(logs.min())),
        "most": float(np.exp(logs.max())),
        "rounds": len(logs),
        "method": "geometric mean, bootstrap over rounds",
    }


def bytes_per_token(
    weight_bytes: int, config: dict[str, Any], prompt: int, new: int, width: int
) -> dict[str, float]:
    """Bytes of weights and cache that are read for a token, counted from sizes, not measured.

    A prompt's tokens share one reading of the weights; each token that is written needs its own.

    Args:
        config: of the model. prompt, new: tokens. width: bytes of a number in the cache.
    """
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    place = 2 * config["num_hidden_layers"] * heads * size * width
    return {
        "prompt": weight_bytes / prompt,
        "generated": weight_bytes + place * (prompt + new / 2),
    }


def verdict(kind: str, found: dict[str, Any], what: str, against: str) -> str:
    """In plain words, against the goal of half: a cost's ratio per token of one kind."""
    least, most = found["ci95"]
    change = abs(1 - found["ratio"])
    words = {
        "kind": _("a generated token") if kind == "generated" else _("a prompt token"),
        "what": what,
        "against": against,
        "change": change,
        "low": least,
        "high": most,
    }
    if most <= 0.5:
        text = _("{kind} takes {change:.0%} less {what} than {against}: the goal of half is reached")
    elif most < 1:
        text = _("{kind} takes {change:.0%} less {what} than {against}: not half, which is the goal")
    elif least > 1:
        text = _("{kind} COSTS MORE: {change:.0%} more {what} than {against}")
    else:
        text = _("{kind}: no difference in {what} to {against} was shown")
    return (text + _(" (ratio {low:.2f} to {high:.2f}, 95 % interval)")).format(**words)
