"""Writes a Llama as one GGUF file, as llama.cpp's converter does: names, order of rows, rope."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from afina.errors import AfinaError, BaseModelError
from afina.exports.gguf_tokenizer import Vocabulary, write_tokenizer
from afina.inference.settings import InferenceSettings
from afina.language import _
from afina.models.tokenizer import Tokens

Array = np.ndarray[Any, np.dtype[Any]]
# By the name of gguf.GGMLQuantizationType. At 4 bits the embedding and the output head keep 8: they are
# read at every token, and llama.cpp keeps them finer too.
WIDER = {"Q4_0": "Q8_0", "Q4_1": "Q8_0"}


def write_gguf(
    path: Path, model: Any, tokens: Tokens, settings: InferenceSettings, kind: str, name: str
) -> dict[str, Any]:
    """Writes the file. Returns how many tensors have which kind of numbers, and the tokenizer's names.

    Args:
        model: a plain LlamaForCausalLM in fp32, its adapter merged.
        kind: F32, F16, BF16, Q8_0, Q4_1 or Q4_0: of the matrices; vectors stay fp32.
    Raises:
        BaseModelError: for a rope or a tokenizer that llama.cpp does not have.
        AfinaError: when a weight is too large for f16.
    """
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama", use_temp_file=False)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_quantized_by("Afina")
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, str(settings.base["id"]))
    _write_shape(writer, config)
    writer.add_file_type(_file_type(kind))
    if kind not in ("F32", "F16", "BF16"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    vocabulary = write_tokenizer(writer, tokens, settings, config.vocab_size)
    counts: dict[str, int] = {}
    for place, tensor in _tensors(model, config):
        wanted = _kind_of(place, tensor, kind)
        counts[wanted] = counts.get(wanted, 0) + 1
        number = gguf.GGMLQuantizationType[wanted]
        if wanted == "F32":
            writer.add_tensor(place, tensor)
        else:
            packed = gguf.quants.quantize(tensor, number)
            if wanted == "F16" and not np.isfinite(packed).all():
                raise AfinaError(
                    _("a weight of {name} is too large for 16-bit numbers").format(name=place),
                    fix=_("use --bits 8"),
                )
            writer.add_tensor(place, packed, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"tensors": counts, "tokenizer": _names(vocabulary)}


def _names(vocabulary: Vocabulary) -> dict[str, str]:
    return {"model": vocabulary.model, "pre": vocabulary.pre}


def _file_type(kind: str) -> int:
    import gguf

    return int(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])


def _write_shape(writer: Any, config: Any) -> None:
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(size)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_freq_base(float(_rope(config)["rope_theta"]))


def _rope(config: Any) -> dict[str, Any]:
    """Rope's settings, wherever this version of transformers keeps them."""
    value = dict(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {})
    value.setdefault("rope_theta", getattr(config, "rope_theta", 10000.0))
    value.setdefault("rope_type", value.get("type", "default"))
    return value


def rope_factors(config: Any) -> Array | None:
    """By how much each rotation is slower than plain rope's; [head size / 2]. None where none is.

    llama.cpp divides each frequency by its factor. Llama 3's long contexts: Grattafiori et al. 2024,
    "The Llama 3 Herd of Models"; linear scaling: Chen et al. 2023, "Position Interpolation".
    """
    rope = _rope(config)
    if rope["rope_type"] == "default":
        return None
    if rope["rope_type"] not in ("llama3", "linear"):
        raise BaseModelError(
            _("a GGUF file of this model would need rope of the kind `{kind}`").format(
                kind=rope["rope_type"]
            ),
            fix=_("use --to merged or --to onnx"),
        )
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    factor = float(rope["factor"])
    if rope["rope_type"] == "linear":
        return np.full(size // 2, factor, dtype=np.float32)
    plain = float(rope["rope_theta"]) ** -(np.arange(0, size, 2, dtype=np.float64) / size)
    waves = 2 * np.pi / plain
    old = float(rope["original_max_position_embeddings"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    smooth = np.clip((old / waves - low) / (high - low), 0.0, 1.0)
    return np.asarray(1.0 / ((1 - smooth) / factor + smooth), dtype=np.float32)


def _tensors(model: Any, config: Any) -> Iterator[tuple[str, Array]]:
    """llama.cpp's names and fp32 arrays; an output head that shares the embedding is left out."""
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    factors = rope_factors(config)
    if factors is not None:
        yield "rope_freqs.weight", factors
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    tied = bool(config.tie_word_embeddings)
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise BaseModelError(
                _("a GGUF file has no place for the tensor {name}").format(name=name),
                fix=_("use --to merged"),
            )
        array = tensor.detach().float().cpu().numpy()
        part = name.rsplit(".", 2)[-2]
        yield place, permuted(array, heads[part]) if part in heads else np.ascontiguousarray(array)


def permuted(weight: Array, heads: int) -> Array:
    """Rows of a query or key projection in llama.cpp's order: the two halves of each rotation side by
    side instead of one after the other; [out, in] or [out]."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def _kind_of(place: str, tensor: Array, kind: str) -> str:
    """The kind of numbers of one tensor: vectors stay fp32; rows that no block fits are f16."""
    if tensor.ndim == 1 or kind == "F32":
        return "F32"
    if place in ("token_embd.weight", "output.weight"):
        kind = WIDER.get(kind, kind)
    if kind.startswith("Q") and tensor.shape[-1] % 32:
        return "F16"
    return kind
