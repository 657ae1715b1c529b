"""An export of kind torchserve: a .mar archive with our handler, and settings that keep it on loopback.

TorchServe is archived since August 2025: nothing in it is repaired any more. docs/handlers.md says what
to use instead.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.exports.handlers import write_served
from afina.runs.files import atomic_folder, write_text
from afina.runs.folder import Run

ARCHIVER = "0.12.0"  # whose form of MAR-INF/MANIFEST.json is written
HANDLER = "torchserve_handler.py"
# A zip file's oldest possible time: the same run gives the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)
# Beside the archive too: what a person or Afina reads without opening it.
_BESIDE = ("inference.json", "prompts.json", "handler.json", "requirements.txt")


def torchserve(run: Run, folder: Path, bits: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes model-store/NAME.mar and config.properties. Returns handler.json's value.

    Raises:
        AfinaError: when the merge or the handler differs from the run's own model.
    """
    name = archive_name(run.name)
    with atomic_folder(folder) as temporary:
        inside = temporary / "inside"
        inside.mkdir()
        figures = write_served(run, inside, "torchserve", bits, say, (HANDLER,))
        store = temporary / "model-store"
        store.mkdir()
        write_archive(store / f"{name}.mar", inside, name)
        for one in _BESIDE:
            shutil.copy(inside / one, temporary / one)
        shutil.rmtree(inside)
        write_text(temporary / "config.properties", properties(name))
    return figures


def archive_name(name: str) -> str:
    """A model's name as TorchServe takes it in addresses."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)


def write_archive(path: Path, folder: Path, name: str) -> None:
    """A .mar: a zip file of the folder with MAR-INF/MANIFEST.json.

    It is written without torch-model-archiver, which packs weights for a minute that no packing makes
    smaller. Stored files also keep the bytes whose hashes manifest.json has.
    """
    manifest = {
        "runtime": "python",
        "model": {"modelName": name, "handler": HANDLER, "modelVersion": "1.0"},
        "archiverVersion": ARCHIVER,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("MAR-INF/MANIFEST.json", _TIME), json.dumps(manifest, indent=2))
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _TIME)
                entry.file_size = file.stat().st_size
                with file.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)


def properties(name: str) -> str:
    """config.properties: three ports on this machine only, tokens asked for, no model from elsewhere."""
    return "\n".join(
        [
            "inference_address=http://127.0.0.1:8080",
            "management_address=http://127.0.0.1:8081",
            "metrics_address=http://127.0.0.1:8082",
            "model_store=model-store",
            f"load_models={name}.mar",
            "default_workers_per_model=1",
            # A model may only come from the store; no address is ever fetched.
            "allowed_urls=file://model-store/.*",
            "install_py_dep_per_model=false",
            "enable_envvars_config=false",
            "disable_token_authorization=false",
            "enable_model_api=false",
            "max_request_size=1048576",
            "default_response_timeout=120",
            "",
        ]
    )
