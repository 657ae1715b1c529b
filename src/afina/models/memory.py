"""How much memory a run needs, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afina.recipe import Recipe
from afina.runs.files import read_json

GIB = 1024**3


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of training, in bytes, by what holds it."""

    base: int
    adapter: int
    activations: int
    logits: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.base + self.adapter + self.activations + self.logits + self.overhead


def free_bytes() -> int:
    """Memory that training may use: the GPU's where there is one, else what the machine gives us."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return free_main_bytes()


def free_main_bytes(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Main memory that this process may still take: the machine's, or what its groups' limits leave."""
    import psutil

    rooms = [max(0, limit - used) for limit, used in _memory_groups(root, membership)]
    return min([int(psutil.virtual_memory().available), *rooms])


def read_small(path: Path) -> str:
    """A small system file; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cgroup_memory(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> tuple[int, int] | None:
    """The narrowest memory limit of this process's control groups and what is used of it, in bytes.

    None where there is no limit, or no control groups.
    """
    return min(_memory_groups(root, membership), default=None)


def _memory_groups(root: Path, membership: Path) -> list[tuple[int, int]]:
    """Limit and use of each control group around this process that has a limit, in bytes.

    Reads versions 2 and 1; file cache that the kernel would give back is not counted as used.
    """
    found: list[tuple[int, int]] = []
    for line in read_small(membership).splitlines():
        _number, _colon, rest = line.partition(":")
        controllers, _colon, place = rest.partition(":")
        if controllers == "":
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = top / place.strip("/")
        # In a container the named folder may not be visible: its limit is then that of the top.
        for group in (folder, *(parent for parent in folder.parents if parent.is_relative_to(top))):
            limit, used = read_small(group / names[0]).strip(), read_small(group / names[1]).strip()
            if limit.isdigit() and used.isdigit():
                cache = _statistic(read_small(group / "memory.stat"), names[2])
                found.append((int(limit), max(0, int(used) - cache)))
    return found


def _statistic(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _space, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0


def parameter_count(config: dict[str, Any]) -> tuple[int, int]:
    """Parameters of a Llama model: (in the layers, in embeddings and head)."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    key_heads = config.get("num_key_value_heads") or heads
    head_size = config.get("head_dim") or hidden // heads
    attention = hidden * head_size * (2 * heads + 2 * key_heads)
    layer = attention + 3 * hidden * inner + 2 * hidden
    embeddings = config["vocab_size"] * hidden
    tied = config.get("tie_word_embeddings", False)
    return layer * config["num_hidden_layers"] + hidden, embeddings if tied else 2 * embeddings


def adapter_parameters(config: dict[str, Any], recipe: Recipe) -> int:
    """Trained parameters of the adapter: rank × (inputs + outputs) of every adapted layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    key_heads = config.get("num_key_value_heads") or heads
    head_size = config.get("head_dim") or hidden // heads
    sides = {
        "q_proj": hidden + heads * head_size,
        "k_proj": hidden + key_heads * head_size,
        "v_proj": hidden + key_heads * head_size,
        "o_proj": heads * head_size + hidden,
        "gate_proj": hidden + inner,
        "up_proj": hidden + inner,
        "down_proj": inner + hidden,
    }
    targets = list(sides) if recipe.adapter.targets == "all-linear" else recipe.adapter.targets
    per_layer = sum(sides[name] for name in targets)
    return int(recipe.adapter.rank * per_layer * config["num_hidden_layers"])


def estimate_memory(
    folder: Path, recipe: Recipe, precision: str, bits: int, checkpointed: bool
) -> MemoryEstimate:
    """Peak memory of training this recipe on the base model in `folder`."""
    return estimate_for_config(read_json(folder / "config.json"), recipe, precision, bits, checkpointed)


def estimate_for_config(
    config: dict[str, Any], recipe: Recipe, precision: str, bits: int, checkpointed: bool
) -> MemoryEstimate:
    """The same for a base model that is only described: the numbers of its config.json.

    Activations by the count of tensors that autograd keeps.
    """
    layers, embeddings = parameter_count(config)
    width = 2 if precision == "bf16" else 4
    # 4 bits: NF4 with double quantisation takes 0.516 bytes a weight (Dettmers et al. 2023).
    layer_bytes = {4: 0.516, 8: 1.01}.get(bits, float(width))
    full = recipe.adapter.kind == "full"
    trained = layers + embeddings if full else adapter_parameters(config, recipe)
    # Of each trained weight: its gradient and two moments in fp32 (or 8 bits and a scale for 256), and
    # itself in fp32, unless the base holds it so already.
    per_weight = 4 + (2.04 if recipe.train.optimizer.endswith("8bit") else 8)
    per_weight += 0 if full and width == 4 else 4
    tokens = max(recipe.train.micro_batch_tokens, recipe.data.max_length)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    # Kept a layer: norms, the inputs of the products and their fp32 dropped-out copies for LoRA.
    per_token_layer = (14 * hidden + 6 * inner) * width + (0 if full else 4 * (4 * hidden + inner))
    kept_layers = 1 if checkpointed else config["num_hidden_layers"]
    activations = tokens * (per_token_layer * kept_layers + config["num_hidden_layers"] * hidden * width)
    needs_logits = recipe.task.kind != "classify" or recipe.task.head == "tokens"
    # Output logits are taken in blocks of 512 positions: values and their gradient in fp32.
    logits = 512 * config["vocab_size"] * 4 * 3 if needs_logits else 0
    return MemoryEstimate(
        base=int(layers * layer_bytes + embeddings * width),
        adapter=int(trained * per_weight),  # or all weights, where there is no adapter
        activations=int(activations),
        logits=logits,
        overhead=int(0.6 * GIB),
    )
