"""Loads a base model to run or to train: device, number format, quantisation, adapter."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, BaseModelError
from afina.language import _
from afina.recipe import Adapter


def device() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_model(folder: Path, precision: str, bits: int = 16) -> Any:
    """A LlamaForCausalLM, frozen, in evaluation mode.

    Args:
        folder: local folder with config.json and safetensors.
        precision: `bf16` or `fp32`.
        bits: 16 as stored in `precision`; 8 or 4 through bitsandbytes (NF4, double quantisation).
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from afina.models.quantised import quantisation, use_plain_products

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # peft imports bitsandbytes where it is installed, which warns of a faster kernel that nobody needs.
    getLogger("bitsandbytes").setLevel(ERROR)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    options: dict[str, Any] = {}
    if bits in (4, 8):
        options["quantization_config"] = quantisation(bits, dtype)
        options["device_map"] = {"": device()}
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except AfinaError:
        raise
    except Exception as error:  # the readers in Rust raise kinds of their own for damaged files
        from afina.runs.files import storage_error

        raise storage_error(error) or BaseModelError(
            _("this model could not be loaded: {error}").format(
                error=(str(error).splitlines() or [""])[0]
            ),
            where=str(folder),
            fix=_("copy or download the model again"),
        ) from None
    missing = sorted(loaded["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise BaseModelError(
            _("the weights of this model lack {count} tensors: {names}").format(
                count=len(missing), names=", ".join(missing[:5])
            ),
            where=str(folder),
            fix=_("copy or download the model again"),
        )
    _take_gpu_kernels(model)
    if bits not in (4, 8):
        model = model.to(device())
    else:
        use_plain_products(model, bits)
    model.requires_grad_(False)
    model.eval()
    take_fast_way(model)
    return model


def _take_gpu_kernels(model: Any) -> None:
    """Liger's kernels for norm, rotation and the gated layer, on a GPU, where they are installed.

    Only on this model's own modules. Its losses are not taken: ours never make the full logits.
    """
    import importlib.util

    if device() != "cuda" or importlib.util.find_spec("liger_kernel") is None:
        return
    from liger_kernel.transformers import apply_liger_kernel_to_llama

    apply_liger_kernel_to_llama(
        rope=True,
        rms_norm=True,
        swiglu=True,
        cross_entropy=False,
        fused_linear_cross_entropy=False,
        model=model,
    )


def take_fast_way(model: Any, masks: Any = None) -> None:
    """Sets up the processor's own way through the layers, where it computes exactly the same."""
    from afina.models.fast_decoder import FastDecoder, covers

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.fast_decoder = None  # the weights of an earlier one are taken over one by one
    if covers(inner.model):
        inner.fast_decoder = FastDecoder(inner.model, masks)


def leave_fast_way(model: Any) -> None:
    """Gives every layer its weights for itself again: saving wants no views into a stacked one."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(inner, "fast_decoder", None) is not None:
        inner.fast_decoder.unstack()
    inner.fast_decoder = None


def fast_decoder(model: Any) -> Any:
    """The `FastDecoder` of a model, or None where the plain way is taken."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    fast = getattr(inner, "fast_decoder", None)
    return fast if fast is not None and fast.frozen else None


def attach_adapter(model: Any, adapter: Adapter, base_id: str, seed: int) -> Any:
    """The model with a fresh adapter, its weights in fp32 and trained; the base stays frozen.

    The second LoRA matrix begins at zero (Hu et al. 2021), so the first step starts from the base.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from afina.models.dropout import DropoutMasks
    from afina.models.fast_lora import FastLoraLinear, give_masks

    torch.manual_seed(seed)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
        use_rslora=adapter.kind == "rslora",
        use_dora=adapter.kind == "dora",
        task_type="CAUSAL_LM",
    )
    if not getattr(model, "is_quantized", False):
        config._register_custom_module({torch.nn.Linear: FastLoraLinear})
    with _without_future_warnings():
        tuned = get_peft_model(model, config)
    tuned.peft_config["default"].base_model_name_or_path = base_id
    tuned.dropout_masks = DropoutMasks(adapter.dropout, seed)
    give_masks(tuned, tuned.dropout_masks)
    take_fast_way(tuned, tuned.dropout_masks)
    return tuned


def checkpoint_activations(model: Any) -> None:
    """From here on, the backward pass computes activations again instead of keeping them."""
    model.enable_input_require_grads()
    with _without_future_warnings():
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


@contextmanager
def _without_future_warnings() -> Iterator[None]:
    """What peft will have to change in its calls of transformers is nothing to tell a person."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def load_adapter(model: Any, folder: Path, name: str = "default") -> Any:
    """The model with a trained adapter on it, in evaluation mode; a further one beside those it has."""
    from peft import PeftModel

    try:
        with _without_future_warnings():
            config = _config_of(folder, model)
            if isinstance(model, PeftModel):
                tuned = model
                tuned.load_adapter(str(folder), name, local_files_only=True)
            else:
                tuned = PeftModel.from_pretrained(
                    model, str(folder), name, config=config, local_files_only=True
                )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise AfinaError(
            _("this adapter could not be loaded on this base model: {error}").format(
                error=str(error).splitlines()[0]
            ),
            where=str(folder),
        ) from None
    tuned.eval()
    take_fast_way(tuned)
    return tuned


def _config_of(folder: Path, model: Any) -> Any:
    """The adapter's settings; its layers are ours where the base is not quantised."""
    import torch
    from peft import PeftConfig

    from afina.models.fast_lora import FastLoraLinear

    config = PeftConfig.from_pretrained(str(folder), local_files_only=True)
    config.inference_mode = True
    if not getattr(model, "is_quantized", False) and hasattr(config, "_register_custom_module"):
        config._register_custom_module({torch.nn.Linear: FastLoraLinear})
    return config


def count_parameters(model: Any) -> int:
    """Parameters of a model; a quantised tensor counts the weights that it stands for."""
    shapes = [getattr(getattr(p, "quant_state", None), "shape", p.shape) for p in model.parameters()]
    return sum(math.prod(shape) for shape in shapes)


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Inside, the model answers as its base does."""
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            yield
    else:
        yield


def decoder(model: Any) -> Any:
    """The part below the output head, adapter included: ids [rows, length] to states [.., hidden]."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model


def output_head(model: Any) -> Any:
    """The layer from states [.., hidden] to logits [.., vocabulary]."""
    return model.get_output_embeddings()
