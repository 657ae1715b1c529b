"""Finds a base model: embedded, a Hub id, a folder or a GGUF file. Llama architecture only.

Whatever it was, it becomes a local folder with safetensors, a tokenizer and a config, which is all that
the rest of Afina reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, BaseModelError, StorageError
from afina.language import _
from afina.models.embedded import EMBEDDED_HUB_ID, embedded_gguf
from afina.models.gguf_file import unpack_gguf
from afina.models.hub_errors import hub_answers, hub_error
from afina.runs.files import read_json, sha256_of, sha256_of_value, write_json
from afina.runs.store import cache_folder, writing_cache

# A Hub model's card and licence files, which say what is asked of who passes on what is made from it.
_ITS_TEXTS = ("README.md", "LICENSE*", "LICENCE*", "USE_POLICY*", "NOTICE*")


@dataclass(frozen=True)
class FoundBase:
    """A base model on this machine.

    Attributes:
        id: what other tools load: a Hub id, or the folder.
        revision: commit of a Hub model.
        folder: local folder with config.json, safetensors and the tokenizer.
        sha256: over the names and hashes of the weight files.
    """

    id: str
    revision: str | None
    folder: Path
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """For inference.json."""
        return {**asdict(self), "folder": str(self.folder)}


def find_base(
    model: str, revision: str | None, say: Callable[[str], None] = lambda _text: None
) -> FoundBase:
    """The base model that a recipe names, ready in a local folder.

    Raises:
        BaseModelError: when it cannot be had, or is not of the Llama architecture.
    """
    if model == "embedded":
        folder = unpack_gguf(embedded_gguf(), say)
        return FoundBase(EMBEDDED_HUB_ID, None, folder, weights_sha256(folder))
    path = Path(model).expanduser()
    if model.endswith(".gguf"):
        if not path.is_file():
            raise BaseModelError(_("there is no such file"), where=str(path), fix=_("check base.model"))
        folder = unpack_gguf(path, say)
        return FoundBase(str(path), None, folder, weights_sha256(folder))
    if path.is_dir():
        require_llama(_config_of(path), str(path))
        _require_safetensors(path)
        return FoundBase(str(path), None, path, weights_sha256(path))
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", model):
        folder, commit = _from_hub(model, revision, say)
        return FoundBase(model, commit, folder, weights_sha256(folder))
    raise BaseModelError(
        _(
            "`{model}` is neither `embedded`, nor a folder or .gguf file here, nor a Hub id (OWNER/NAME)"
        ).format(model=model),
        fix=_("check base.model; relative paths start at the current folder"),
    )


def require_llama(config: dict[str, Any], where: str) -> None:
    """Refuses, by name, a model that is not of the Llama architecture."""
    kind = config.get("model_type")
    if kind != "llama":
        raise BaseModelError(
            _("this is a model of type `{kind}`; Afina tunes Llama-architecture models only").format(
                kind=kind
            ),
            where=where,
            fix=_("choose a base whose config.json says model_type: llama"),
        )


def _config_of(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        raise BaseModelError(
            _("this folder holds no model: config.json is missing"),
            where=str(folder),
            fix=_("point base.model at a folder made by save_pretrained, or at a .gguf file"),
        )
    try:
        config = read_json(path)
    except StorageError:
        config = None
    if not isinstance(config, dict):
        raise BaseModelError(
            _("this file is damaged: it does not hold a model's settings"),
            where=str(path),
            fix=_("copy or download the model again"),
        )
    return config


def _require_safetensors(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        raise BaseModelError(
            _("this folder has no .safetensors weights; pickled weights (.bin, .pt) are never loaded"),
            where=str(folder),
            fix=_("convert the weights to safetensors first"),
        )


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the weight files' names and hashes; remembered while size and time stay the same."""
    files = sorted(folder.glob("*.safetensors"))
    state = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    memory = cache_folder() / "hashes" / f"{sha256_of_value(state)}.json"
    with writing_cache():
        if memory.exists():
            return str(read_json(memory)["sha256"])
        memory.parent.mkdir(parents=True, exist_ok=True)
    digest = sha256_of_value({file.name: sha256_of(file) for file in files})
    with writing_cache():
        write_json(memory, {"schema": "afina/hash/1", "sha256": digest})
    return digest


def _from_hub(model: str, revision: str | None, say: Callable[[str], None]) -> tuple[Path, str]:
    """Downloads a Hub model, its config first, so that a refusal costs nothing."""
    from huggingface_hub import hf_hub_download, snapshot_download

    where = f"{model}@{revision}" if revision else model
    offline = not hub_answers()
    try:
        config = Path(hf_hub_download(model, "config.json", revision=revision, local_files_only=offline))
        require_llama(_config_of(config.parent), where)
        say(_("base model {model}: from the Hub or its cache").format(model=where))
        folder = Path(
            snapshot_download(
                model,
                revision=revision,
                local_files_only=offline,
                allow_patterns=["*.json", "*.safetensors", "tokenizer.model", "*.jinja", *_ITS_TEXTS],
                ignore_patterns=["original/*"],
            )
        )
    except AfinaError:
        raise
    except Exception as error:
        raise hub_error(error, model, where) from None
    _require_safetensors(folder)
    return folder, folder.name
