"""An export of kind vllm: what vLLM needs to serve the run, with its settings as a file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from afina.exports.asked import TorchReader, ask
from afina.exports.check import agreement, require_agreement
from afina.exports.handlers import require_none_unequal
from afina.exports.merged import merged
from afina.exports.own import Own, ask_own
from afina.exports.prompt_fixtures import is_pooled, unequal, write_prompt_files
from afina.inference.engine import Engine
from afina.inference.settings import InferenceSettings, read_settings, write_settings
from afina.language import _
from afina.models.base import find_base
from afina.models.tokenizer import Tokens, load_tokens
from afina.runs.files import atomic_folder, read_json, write_json, write_text
from afina.runs.folder import Run
from afina.runs.signals import StopSignal

VLLM_SCHEMA = "afina/vllm/1"
VERSION = "0.33.0"  # of vLLM, whose argument names tests/exports/vllm_arguments.txt holds
# The values that vLLM's --max-lora-rank takes (vllm/config/lora.py of that version).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Tokens read beside the text: the template, the question, the answer.
_BESIDE = 512


def vllm(run: Run, folder: Path, bits: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes vllm.yaml, the command, the template, and the model: base and adapter, or merged.

    vLLM loads LoRA and rsLoRA adapters of up to rank 512 for models that write. A DoRA adapter, a model
    whose weights were all trained, and the states that a pooled head reads come from a merged model.

    Raises:
        AfinaError: when plain PEFT or transformers makes another model of the files than the run's own.
    """
    release = run.path("release")
    settings = read_settings(release / "inference.json")
    rank = adapter_rank(release, settings)
    with atomic_folder(folder) as temporary:
        if rank is None:
            figures = merged(run, temporary / "model", bits, say)
            engine = Engine(release, say)
        else:
            own = ask_own(run, say)
            engine = own.engine
            figures = _base_and_adapter(run, own, temporary, say)
        write_settings(temporary / "inference.json", settings)
        fixtures = write_prompt_files(temporary, engine)
        write_json(temporary / "generation_config.json", generation_of(settings, engine.tokens))
        arguments = serve_arguments(
            run.name, settings, rank, engine.model.config.max_position_embeddings
        )
        write_text(
            temporary / "vllm.yaml", yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True)
        )
        write_text(temporary / "serve.sh", "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 1\n"
                   "exec vllm serve --config vllm.yaml \"$@\"\n")  # fmt: skip
        if is_pooled(settings):
            shutil.copy(release / "head.safetensors", temporary / "head.safetensors")
            shutil.copy(Path(__file__).parent / "served/classify_vllm.py", temporary / "classify.py")
        require_equal_chat(temporary, fixtures, engine.tokens)
        figures = {**figures, "schema": VLLM_SCHEMA, "vllm": VERSION, "adapter_rank": rank}
        figures["served_model_name"] = run.name
        write_json(temporary / "vllm.json", figures)
    return figures


def adapter_rank(release: Path, settings: InferenceSettings) -> int | None:
    """The rank of an adapter that vLLM can load beside its base; None when a merged model is needed."""
    one_whole = len(settings.adapters) == 1 and settings.adapters[0]["weight"] == 1
    if not one_whole or is_pooled(settings) or settings.bits != 16:
        return None
    config = read_json(release / settings.adapters[0]["path"] / "adapter_config.json")
    rank = int(config["r"])
    if config.get("use_dora") or config.get("modules_to_save") or rank > RANKS[-1]:
        return None
    return rank


def _base_and_adapter(run: Run, own: Own, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Copies base and adapter, loads both with plain transformers and PEFT, compares."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    release, settings = run.path("release"), own.engine.settings
    base = find_base(settings.base["model"], settings.base["revision"], say).folder
    shutil.copytree(base, folder / "base", ignore=_only_the_model)
    shutil.copytree(release / settings.adapters[0]["path"], folder / "adapter")
    say(_("loading base and adapter with plain PEFT and asking it the same"))
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    plain = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype, local_files_only=True)
    both: Any = PeftModel.from_pretrained(plain, str(folder / "adapter")).eval().float()
    with StopSignal() as stop:
        other = ask(TorchReader(both), own.asked, stop.check)
    figures = agreement(own.said, other, own.asked, settings, run.recipe().seed, 16)
    require_agreement(figures, _("use --to merged"))
    return {"run": run.title, "base": settings.base, **figures, "reference": own.reference}


def _only_the_model(_folder: str, names: list[str]) -> set[str]:
    kept = (".safetensors", ".json", ".jinja", ".model")
    return {name for name in names if not name.endswith(kept)}


def serve_arguments(
    name: str, settings: InferenceSettings, rank: int | None, positions: int
) -> dict[str, Any]:
    """The arguments of `vllm serve`, as its --config file holds them.

    Only what the run decides; memory, parallelism and keys are the server's. It listens on this machine
    alone until it is told otherwise.
    """
    longest = settings.max_length + settings.generation["max_new_tokens"] + _BESIDE
    arguments: dict[str, Any] = {
        "model": "model" if rank is None else "base",
        "served-model-name": name if rank is None else f"{name}-base",
        "host": "127.0.0.1",
        "port": 8000,
        "dtype": "bfloat16" if settings.precision == "bf16" else "float32",
        "max-model-len": min(positions, longest),
        "chat-template": "chat_template.jinja",
        "disable-uvicorn-access-log": True,
    }
    if is_pooled(settings):
        # The mean of the last layer's states, not normalised: classify.py puts the head on it.
        pooler: dict[str, Any] = {"seq_pooling_type": "MEAN", "use_activation": False}
        return {**arguments, "runner": "pooling", "convert": "embed", "pooler-config": pooler}
    override = {"temperature": settings.generation["temperature"]}
    override["max_new_tokens"] = settings.generation["max_new_tokens"]
    arguments["generation-config"] = "."
    arguments["override-generation-config"] = override
    if rank is not None:
        arguments |= {
            "enable-lora": True,
            "lora-modules": [f"{name}=adapter"],
            "max-loras": 1,
            "max-lora-rank": next(known for known in RANKS if known >= rank),
        }
    return arguments


def generation_of(settings: InferenceSettings, tokens: Tokens) -> dict[str, Any]:
    """generation_config.json: what transformers, vLLM and others take as defaults."""
    warm = settings.generation["temperature"] > 0
    value = {
        "bos_token_id": tokens.bos,
        "eos_token_id": settings.generation["eos_token_ids"],
        "pad_token_id": settings.generation["pad_token_id"],
        "max_new_tokens": settings.generation["max_new_tokens"],
        "do_sample": warm,
    }
    return {**value, "temperature": settings.generation["temperature"]} if warm else value


def require_equal_chat(folder: Path, fixtures: dict[str, Any], tokens: Tokens) -> None:
    """Reads tokenizer and template as vLLM does, and refuses other ids than those of training.

    A control token that is spelt out in a text is left out of the comparison: vLLM reads it as the token
    that it spells, which docs/handlers.md warns of. Bare texts are read by classify.py, not by vLLM.
    """
    if fixtures["reads"] == "texts":
        return
    place = folder / ("model" if (folder / "model").is_dir() else "base")
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    own = load_tokens(place).tokenizer

    def ids(messages: list[dict[str, str]]) -> list[int]:
        text = own.apply_chat_template(
            messages, tokenize=False, chat_template=template, add_generation_prompt=True
        )
        return list(own(text, add_special_tokens=False)["input_ids"])

    wrong = unequal(fixtures, tokens.encode, ids, controls=False)
    require_none_unequal(wrong, len(fixtures["conversations"]))
