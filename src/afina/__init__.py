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
        PublishResult,
        RunResult,
        SealResult,
        Verification,
        add_recipient,
        ask_suites,
        audit_data,
        build_data,
        change_recipients,
        check_recipe,
        compare_registered,
        compare_runs,
        current_version,
        doctor,
        estimate_recipe,
        evaluate,
        export,
        gate,
        install_base,
        list_recipients,
        list_runs,
        list_signers,
        new_recipe,
        new_recipient,
        new_signer,
        open_model,
        open_sealed,
        promote,
        publish,
        quantize,
        read_sealed,
        register,
        registered,
        registered_version,
        release,
        report,
        revoke_signer,
        rollback,
        rotate_signer,
        run,
        seal,
        sealed_for,
        show_run,
        sign,
        train,
        trust_signer,
        verify,
        watch_version,
    )

__version__ = "0.1.0"
__all__ = [
    "Model",
    "PublishResult",
    "RunResult",
    "SealResult",
    "Verification",
    "add_recipient",
    "ask_suites",
    "audit_data",
    "build_data",
    "change_recipients",
    "check_recipe",
    "compare_registered",
    "compare_runs",
    "current_version",
    "doctor",
    "estimate_recipe",
    "evaluate",
    "export",
    "gate",
    "install_base",
    "list_recipients",
    "list_runs",
    "list_signers",
    "new_recipe",
    "new_recipient",
    "new_signer",
    "open_model",
    "open_sealed",
    "promote",
    "publish",
    "quantize",
    "read_sealed",
    "register",
    "registered",
    "registered_version",
    "release",
    "report",
    "revoke_signer",
    "rollback",
    "rotate_signer",
    "run",
    "seal",
    "sealed_for",
    "show_run",
    "sign",
    "train",
    "trust_signer",
    "verify",
    "watch_version",
]


def __getattr__(name: str) -> Any:
    """Imports the verbs when they are used, so that `import afina` stays light."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("afina.api"), name)
    raise AttributeError(f"module 'afina' has no attribute {name!r}")
