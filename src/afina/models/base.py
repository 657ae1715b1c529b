"""Finds a base model: embedded, a Hub id, a folder or a GGUF file. Llama architecture only.

Whatever it was, it becomes a local folder with safetensors, a tokenizer and a config, which is all that
the rest of Afina reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.errors import BaseModelError
from afina.language import _
from afina.models.embedded import EMBEDDED_HUB_ID, embedded_gguf
from afina.models.gguf_file import unpack_gguf
from afina.runs.files import read_json, sha256_of, sha256_of_value, write_json
from afina.runs.store import cache_folder


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


def find_base(model: str, revision: str | None, say: Callable[[str], None] = lambda _text: None) -> FoundBase:
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
        _("`{model}` is neither `embedded`, nor a folder or .gguf file here, nor a Hub id (OWNER/NAME)").format(
            model=model
        ),
        fix=_("check base.model; relative paths start at the current folder"),
    )


def require_llama(config: dict[str, Any], where: str) -> None:
    """Refuses, by name, a model that is not of the Llama architecture."""
    kind = config.get("model_type")
    if kind != "llama":
        raise BaseModelError(
            _("this is a model of type `{kind}`; Afina tunes Llama-architecture models only").format(kind=kind),
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
    return dict(read_json(path))


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
    if memory.exists():
        return str(read_json(memory)["sha256"])
    digest = sha256_of_value({file.name: sha256_of(file) for file in files})
    write_json(memory, {"schema": "afina/hash/1", "sha256": digest})
    return digest


def _from_hub(model: str, revision: str | None, say: Callable[[str], None]) -> tuple[Path, str]:
    """Downloads a Hub model, its config first, so that a refusal costs nothing."""
    import httpx
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{model}@{revision}" if revision else model
    try:
        config = Path(hf_hub_download(model, "config.json", revision=revision))
        require_llama(json.loads(config.read_text(encoding="utf-8")), where)
        say(_("base model {model}: from the Hub or its cache").format(model=where))
        folder = Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=["*.json", "*.safetensors", "tokenizer.model", "*.jinja"],
                ignore_patterns=["original/*"],
            )
        )
    except GatedRepoError:
        raise BaseModelError(
            _("the licence of this model has not been accepted with your account"),
            where=where,
            fix=_(
                "open https://huggingface.co/{model} while logged in, accept the licence, then run "
                "`hf auth login` (or set HF_TOKEN) and try again"
            ).format(model=model),
        ) from None
    except RevisionNotFoundError:
        raise BaseModelError(
            _("the Hub has this model, but not this revision"), where=where, fix=_("check base.revision")
        ) from None
    except RepositoryNotFoundError:
        raise BaseModelError(
            _("the Hub has no such model, or it is private and you are not logged in"),
            where=where,
            fix=_("check base.model; for a private or gated model run `hf auth login`"),
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.HTTPError, HfHubHTTPError, OSError) as error:
        raise BaseModelError(
            _("the Hub cannot be reached, and this model is not in the local cache"),
            where=where,
            fix=_(
                "connect once to download it, use `base: embedded`, or point base.model at a folder or .gguf "
                "file ({error})"
            ).format(error=type(error).__name__),
        ) from None
    _require_safetensors(folder)
    return folder, folder.name
