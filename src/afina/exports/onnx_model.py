"""ONNX files: made by onnxruntime-genai's builder, given the mean state as an output, and read."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from afina.errors import AfinaError, MissingExtra
from afina.language import _

Array = np.ndarray[Any, np.dtype[Any]]
MEAN_STATE = "mean_state"
_HIDDEN = "hidden_states"
_BLOCK = 32  # weights that share a scale: the builder's own choice
_NEEDED = ("onnxruntime_genai", "onnxruntime", "onnx", "onnx_ir")
_PRECISION = {32: "fp32", 8: "int8", 4: "int4"}
_MIXED = "matmul_mixed_precision=last_matmul:int8,mixed_layers:int8"
_FINE = "block_size=16"
_ATTENTION_INPUTS = "nodes_to_exclude=attention_inputs"  # kept in fp32; see _spelt_out
# The builder's options for each width, the cheapest first: the next one is tried where a check refuses.
# Activations are of 8 bits inside a product in all of them. accuracy_level=1 keeps them in fp32 and
# agrees better, but onnxruntime then unpacks whole matrices for every token: 12 times the CPU time of
# full precision was measured (benchmarks/results/quantize.jsonl), so it is not among them.
WAYS: dict[int, tuple[tuple[str, ...], ...]] = {
    32: ((),),
    8: ((), (_FINE, _ATTENTION_INPUTS)),
    4: (("algo_config=k_quant", _MIXED), ("algo_config=k_quant", _MIXED, _FINE)),
}


def require_onnx() -> None:
    """Raises MissingExtra, with the install hint, where a package is missing."""
    for name in _NEEDED:
        try:
            there = find_spec(name) is not None
        except ValueError:
            there = False
        if not there:
            raise MissingExtra(
                _("an export to onnx needs onnxruntime-genai, onnx and onnx-ir"),
                where=name,
                fix=_("pip install 'afina[onnx]'"),
            )


def build(merged: Path, folder: Path, bits: int, options: Sequence[str] = ()) -> None:
    """Makes model.onnx, its weights, tokenizer and genai_config.json of a merged model.

    Args:
        merged: a folder with a plain LlamaForCausalLM in fp32. bits: 32, 8 or 4.
        options: of the builder; see WAYS.
    Raises:
        AfinaError: when the builder does not know this model.
    """
    _require_shape(merged, bits)
    precision = _PRECISION[bits]
    cache = folder / "builder_cache"
    said = io.StringIO()
    try:
        with _quiet(said):
            from onnxruntime_genai.models import builder

            sys.path.append(str(Path(builder.__file__).parent))  # it imports its parts from there, late
            given = ("", str(merged), str(folder), precision, "cpu", str(cache))
            extra = builder.parse_extra_options(
                *given, ["include_hidden_states=true", "hf_token=false", *_spelt_out(options, merged)]
            )
            builder.create_model(*given, **extra)
    except (ImportError, OSError, MemoryError):
        raise
    except Exception as error:  # the builder raises whatever its libraries do
        raise AfinaError(
            _("onnxruntime-genai could not build this model: {error}").format(
                error=(str(error).splitlines() or [type(error).__name__])[0]
            ),
            where=str(merged),
            fix=_("use --to merged, or another version of onnxruntime-genai"),
        ) from None
    if cache.exists():
        cache.rmdir()
    _add_mean_state(folder / "model.onnx")


def _spelt_out(options: Sequence[str], merged: Path) -> list[str]:
    """The options with the names of the products that are kept in fp32."""
    from afina.runs.files import read_json

    layers = read_json(merged / "config.json")["num_hidden_layers"]
    parts = ("qkv_proj", "q_proj", "k_proj", "v_proj")  # the builder joins them where it can
    names = [f"/model/layers.{layer}/attn/{part}/MatMul" for layer in range(layers) for part in parts]
    kept = f"nodes_to_exclude={','.join(names)}"
    return [kept if option == _ATTENTION_INPUTS else option for option in options]


def _require_shape(merged: Path, bits: int) -> None:
    """Refuses what onnxruntime cannot compute, before anything is built."""
    from afina.runs.files import read_json

    config = read_json(merged / "config.json")
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if size % 16:
        raise AfinaError(
            _(
                "onnxruntime has no attention for heads of {size} numbers: it takes multiples of 16"
            ).format(size=size),
            fix=_("use --to merged"),
        )
    odd = [name for name in ("hidden_size", "intermediate_size") if config[name] % _BLOCK]
    if bits < 32 and odd:
        raise AfinaError(
            _("weights are quantised in blocks of {block}, and {names} is no multiple of it").format(
                block=_BLOCK, names=", ".join(odd)
            ),
            fix=_("keep full precision with --bits 32"),
        )


@contextmanager
def _quiet(said: io.StringIO) -> Iterator[None]:
    """The builder prints, logs and asks the Hub: kept from the person, and off the network."""
    paths, handlers, root = list(sys.path), list(logging.root.handlers), logging.root.level
    offline = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        with redirect_stdout(said), redirect_stderr(said):
            yield
    finally:
        sys.path[:] = paths  # the builder's package adds its own folder
        logging.root.handlers[:] = handlers
        logging.root.setLevel(root)
        if offline is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = offline


def _add_mean_state(path: Path) -> None:
    """Adds the mean of the last layer's states over the tokens that are read; [batch, hidden].

    Padding is left out by the attention mask, whose last columns belong to these tokens: before them
    stand those that are in the cache already. The weights, in their own file, are not touched.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    hidden = next(output for output in graph.output if output.name == _HIDDEN)
    width = hidden.type.tensor_type.shape.dim[2].dim_value

    def constant(name: str, values: list[int]) -> str:
        tensor = helper.make_tensor(f"/mean/{name}", TensorProto.INT64, [len(values)], values)
        graph.initializer.append(tensor)
        return str(tensor.name)

    one, two, most = constant("one", [1]), constant("two", [2]), constant("end", [2**62])

    def node(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        result = name if name == MEAN_STATE else f"/mean/{name}"
        graph.node.append(
            helper.make_node(kind, inputs, [result], name=f"/mean/node/{name}", **attributes)
        )
        return result

    shape = node("Shape", [_HIDDEN], "shape", start=1, end=2)
    first = node("Neg", [shape], "first")
    tail = node("Slice", ["attention_mask", first, most, one], "tail")
    seen = node("Cast", [tail], "seen", to=TensorProto.FLOAT)
    column = node("Unsqueeze", [seen, two], "column")
    kept = node("Mul", [_HIDDEN, column], "kept")
    total = node("ReduceSum", [kept, one], "total", keepdims=0)
    count = node("ReduceSum", [seen, one], "count", keepdims=1)
    node("Div", [total, count], MEAN_STATE)
    graph.output.remove(hidden)
    graph.value_info.append(hidden)
    graph.output.append(
        helper.make_tensor_value_info(MEAN_STATE, TensorProto.FLOAT, ["batch_size", width])
    )
    onnx.save(model, str(path))


class OnnxReader:
    """An exported model in onnxruntime; see `afina.exports.asked.Reader`."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._past = {
            given.name: np.zeros((1, given.shape[1], 0, _head_size(folder)), dtype=np.float32)
            for given in self._session.get_inputs()
            if given.name.startswith("past_key_values")
        }

    def read(self, ids: list[int]) -> tuple[Array, Array]:
        """See Reader."""
        given = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, len(ids)), dtype=np.int64),
        }
        logits, mean = self._session.run(["logits", MEAN_STATE], {**given, **self._past})
        return logits[0], mean[0]


def _head_size(folder: Path) -> int:
    from afina.runs.files import read_json

    return int(read_json(folder / "genai_config.json")["model"]["decoder"]["head_size"])


def weight_bytes_read(path: Path) -> dict[str, int]:
    """Bytes of weights that one pass of the model reads, by the graph.

    All that products and norms take, and of tables that are only looked up (embeddings, rotations) one
    row. A table that is a product's weight too is read whole.

    Returns:
        per_pass; and total, of all weights in the file.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    users: dict[str, set[str]] = {}
    looked_up = {"Gather", "GatherBlockQuantized", "GroupQueryAttention", "RotaryEmbedding", "Reshape"}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, set()).add(node.op_type)
    whole = rows = total = 0
    for tensor in graph.initializer:
        size = _bytes_of(tensor)
        total += size
        if users.get(tensor.name, set()) <= looked_up:
            rows += size // max(1, tensor.dims[0] if tensor.dims else 1)
        else:
            whole += size
    return {"per_pass": whole + rows, "total": total}


def _bytes_of(tensor: Any) -> int:
    for entry in tensor.external_data:
        if entry.key == "length":
            return int(entry.value)
    return len(tensor.raw_data) or tensor.ByteSize()
