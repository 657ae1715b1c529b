"""The package that computes every cipher here; Afina writes none of its own."""

from __future__ import annotations

from afina.errors import MissingExtra
from afina.language import _


def require_cryptography() -> None:
    """Raises MissingExtra unless `cryptography` is here, with HPKE and X25519 + ML-KEM-768."""
    try:
        from cryptography.hazmat.primitives.hpke import KEM

        KEM.MLKEM768_X25519  # noqa: B018
    except (ImportError, AttributeError):
        raise MissingExtra(
            _("sealing needs the package cryptography, version 48 or newer"),
            fix=_("pip install 'afina[seal]'"),
        ) from None
