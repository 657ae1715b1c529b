"""Afina: from your own data to your own Llama 3, with proof.

Each verb of the command line is one function here: `afina.run("recipe.yaml")`. The folders of the
package carry nouns (`runs`, `training`, `evaluation`), so that no verb is hidden by a module.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # type checkers take it for true; `typing` takes milliseconds in which Ctrl-C is bare
)
if TYPE_CHECKING:
    from typing import Any

    from afina.api import (
        Model,
        RunResult,
        ask_suites,
        audit_data,
        build_data,
        check_recipe,
        compare_runs,
        doctor,
        estimate_recipe,
        evaluate,
        export,
        gate,
        install_base,
        list_runs,
        new_recipe,
        open_model,
        release,
        report,
        run,
        show_run,
        train,
    )
    from afina.quantizing import quantize

__version__ = "0.1.0"
__all__ = [
    "Model",
    "RunResult",
    "ask_suites",
    "audit_data",
    "build_data",
    "check_recipe",
    "compare_runs",
    "doctor",
    "estimate_recipe",
    "evaluate",
    "export",
    "gate",
    "install_base",
    "list_runs",
    "new_recipe",
    "open_model",
    "quantize",
    "release",
    "report",
    "run",
    "show_run",
    "train",
]
_ELSEWHERE = {"quantize": "afina.quantizing"}


def __getattr__(name: str) -> Any:
    """Imports the verbs when they are used, so that `import afina` stays light."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_ELSEWHERE.get(name, "afina.api")), name)
    raise AttributeError(f"module 'afina' has no attribute {name!r}")
