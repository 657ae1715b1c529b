"""Afina: from your own data to your own Llama 3, with proof.

Each verb of the command line is one function here: `afina.run("recipe.yaml")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afina.api import RunResult, chat, check, classify, evaluate, gate, open_model, run, runs, train

__version__ = "0.1.0"
__all__ = ["RunResult", "chat", "check", "classify", "evaluate", "gate", "open_model", "run", "runs", "train"]


def __getattr__(name: str) -> Any:
    """Imports the verbs when they are used, so that `import afina` stays light."""
    if name in __all__:
        from importlib import import_module

        # `afina.run`, `afina.evaluate` … are folders too: the verb wins, the folder is imported by its path.
        return getattr(import_module("afina.api"), name)
    raise AttributeError(f"module 'afina' has no attribute {name!r}")
