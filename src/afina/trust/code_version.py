"""Which code made a release: version, hash of the source, and the commit where it is known."""

from __future__ import annotations

import json
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from afina.runs.stages import code_hash

PACKAGES = (
    "afina",
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "tokenizers",
    "numpy",
    "scikit-learn",
)
_FOLDER = Path(__file__).parents[1]


def package_versions() -> dict[str, str]:
    """Python and the packages that a model depends on, with their versions."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def code_version() -> dict[str, Any]:
    """{"afina", "sha256", "commit", "changed"}: `commit` is null where nobody knows it, and `changed`
    says whether the files differed from it."""
    commit, changed = _commit()
    return {
        "afina": version("afina"),
        "sha256": code_hash(("",)),
        "commit": commit,
        "changed": changed,
    }


@cache
def _commit() -> tuple[str | None, bool | None]:
    """From the clone that this code lies in; else from what pip noted when it installed from one."""
    if _git("ls-files", "--error-unmatch", "__init__.py") is not None:  # not merely inside of one
        commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
        if commit:
            return commit, None if status is None else bool(status)
    try:
        noted = distribution("afina").read_text("direct_url.json")
        commit = json.loads(noted or "{}").get("vcs_info", {}).get("commit_id")
    except (PackageNotFoundError, ValueError, AttributeError):
        commit = None
    return (str(commit), False) if commit else (None, None)


def _git(*arguments: str) -> str | None:
    """What git says of this package's folder; None when it does not know it or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_FOLDER), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
