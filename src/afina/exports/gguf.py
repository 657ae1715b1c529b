"""An export of kind gguf: one file that llama.cpp and Ollama load, read back and compared first."""

from __future__ import annotations

import gc
import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from afina.exports.asked import TorchReader, ask
from afina.exports.check import agreement, require_agreement
from afina.exports.gguf_writer import write_gguf
from afina.exports.merge import merged_model
from afina.exports.modelfile import modelfile
from afina.exports.own import ask_own
from afina.exports.prompt_fixtures import is_pooled, write_prompt_files
from afina.inference.settings import write_settings
from afina.language import _
from afina.runs.files import atomic_folder, write_json, write_text
from afina.runs.folder import Run
from afina.runs.signals import StopSignal

GGUF_SCHEMA = "afina/gguf/1"
FILE = "model.gguf"
# Of the kinds that the package gguf can write, the ones with most quality for their bits.
KINDS = {16: "F16", 8: "Q8_0", 4: "Q4_0"}
_EXAMPLES = Path(__file__).parent / "served"


def gguf(run: Run, folder: Path, bits: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Merges, writes the file, reads it back with transformers, compares. Returns gguf.json's value.

    Raises:
        AfinaError: when what was read back is further from the run's own model than its bits explain.
        BaseModelError: for a tokenizer or a rope that llama.cpp does not have.
    """
    release, bits = run.path("release"), bits or 16
    own = ask_own(run, say)
    engine, said, reference = own.engine, own.said, own.reference
    settings, tokens = engine.settings, engine.tokens
    with atomic_folder(folder) as temporary, StopSignal() as stop:
        write_prompt_files(temporary, engine)
        say(_("merging in fp32, writing the GGUF file"))
        plain = merged_model(engine.model, settings.precision, 32)
        engine.model = None
        if settings.bits != 16:  # of 4 or 8 bits: its numbers, dequantised, are the run's own weights
            exact = ask(TorchReader(plain), own.asked, stop.check)
            said = exact if is_pooled(settings) else replace(exact, labels=said.labels)
            reference = {"computed_in": "fp32", "own_rounding": None}
        wrote = write_gguf(temporary / FILE, plain, tokens, settings, KINDS[bits], run.name)
        del plain
        gc.collect()
        say(_("reading the GGUF file back and asking it the same"))
        other = ask(TorchReader(read_back(temporary / FILE)), own.asked, stop.check)
        found = agreement(said, other, own.asked, settings, run.recipe().seed, bits)
        require_agreement(found, _finer(bits))
        figures: dict[str, Any] = {
            **found,
            "schema": GGUF_SCHEMA,
            "run": run.title,
            "base": settings.base,
            "kind": KINDS[bits],
            **wrote,
            "read_by": f"transformers {version('transformers')}",
            "reference": reference,
        }
        served = replace(settings, adapters=[], weights=None, precision="fp32", bits=16)
        write_settings(temporary / "inference.json", served)
        if is_pooled(settings):
            shutil.copy(release / "head.safetensors", temporary / "head.safetensors")
            shutil.copy(_EXAMPLES / "classify_gguf.py", temporary / "classify.py")
        else:
            write_text(temporary / "Modelfile", modelfile(settings, tokens, FILE))
        write_json(temporary / "gguf.json", figures)
    return figures


def _finer(bits: int) -> str:
    return _("use --bits {bits}").format(bits=2 * bits) if bits < 16 else _("use --to merged")


def read_back(path: Path) -> Any:
    """The model in a GGUF file as transformers reads it, in fp32, with the rope that the file holds.

    transformers does not read `rope_freqs.weight`, by which llama.cpp divides each frequency.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with redirect_stderr(io.StringIO()):  # a progress bar that no setting of transformers stops
        model = AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32
        ).eval()
    for tensor in GGUFReader(str(path)).tensors:
        if tensor.name == "rope_freqs.weight":
            factors = torch.from_numpy(np.array(tensor.data, dtype=np.float32))
            rope = model.model.rotary_emb
            rope.inv_freq = rope.inv_freq / factors
    return model.requires_grad_(False)
