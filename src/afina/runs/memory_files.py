"""Files that are only in this process's memory, and links to them that a library can open by path."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LINK = re.compile(r"/proc/self/fd/(\d+)")


def seal_against_change(number: int) -> None:
    """Forbids, for good, that anything writes into an anonymous file or changes its length.

    Args:
        number: of a file made by `memfd_create` with MFD_ALLOW_SEALING.
    """
    import fcntl

    fcntl.fcntl(number, fcntl.F_ADD_SEALS, _seals())


def in_memory(path: Path) -> bool:
    """Whether `path` is a link to an anonymous file of this process that nothing can change any more.

    Such a link is as good as a plain file: it leads to bytes that have no other name.
    """
    try:
        found = _LINK.fullmatch(os.readlink(path))
        if found is None or not os.readlink(found[0]).startswith("/memfd:"):
            return False
        import fcntl

        return fcntl.fcntl(int(found[1]), fcntl.F_GET_SEALS) & _seals() == _seals()
    except (OSError, ImportError, AttributeError):
        return False


def _seals() -> int:
    import fcntl

    return fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
