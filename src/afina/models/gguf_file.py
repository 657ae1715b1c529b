"""Turns a GGUF file into a folder of safetensors, once, in the cache."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.errors import BaseModelError
from afina.language import _
from afina.runs.files import atomic_folder, sha256_of
from afina.runs.store import cache_folder, writing_cache

# What the readers of GGUF raise for bytes that only look like it.
_DAMAGE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, struct.error)


def unpack_gguf(path: Path, say: Callable[[str], None]) -> Path:
    """The folder with the weights of a GGUF file as fp32 safetensors, its tokenizer and chat template.

    Raises:
        BaseModelError: when the file is not GGUF, is damaged, or is not a Llama model.
        StorageError: when the cache cannot be written.
    """
    folder = cache_folder() / "base" / sha256_of(path)[:32]
    with writing_cache():
        if (folder / "config.json").exists():
            return folder  # only what was found to be a Llama model is ever there
    _require_llama_gguf(path)
    with writing_cache():
        folder.parent.mkdir(parents=True, exist_ok=True)
    say(_("unpacking {name} once into the cache (about half a minute)").format(name=path.name))
    try:
        tokenizer, model = _read(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    with writing_cache(), atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return folder


def _read(path: Path) -> tuple[Any, Any]:
    """Tokenizer and model (fp32) of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    loaded = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    )
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # save_pretrained refuses a model that came from GGUF: the same weights in a fresh one are welcome.
    model = LlamaForCausalLM(config)
    model.load_state_dict(loaded.state_dict())
    model.config.dtype = torch.float32
    return tokenizer, model


def _damaged(path: Path, error: BaseException) -> BaseModelError:
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".strip()
    return BaseModelError(
        _("this is not a GGUF file, or it is damaged: {error}").format(error=text),
        where=str(path),
        fix=_("download the file again"),
    )


def _require_llama_gguf(path: Path) -> None:
    import numpy as np
    from gguf import GGUFReader

    try:
        reader = GGUFReader(str(path))
        field = reader.get_field("general.architecture")
        kind = bytes(np.asarray(field.parts[field.data[0]])).decode() if field else "unknown"
    except (*_DAMAGE, MemoryError) as error:  # a count of tensors that no memory could hold
        raise _damaged(path, error) from None
    if kind != "llama":
        raise BaseModelError(
            _("this is a model of type `{kind}`; Afina tunes Llama-architecture models only").format(
                kind=kind
            ),
            where=str(path),
            fix=_("choose a GGUF file whose general.architecture is llama"),
        )
