"""The files of a run that processes elsewhere need, as bytes by name."""

from __future__ import annotations

from pathlib import Path

NEEDED = ("recipe.yaml", "run.json", "data", "probe")


def pack(root: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The files under the given names, by their path in the run."""
    files = {}
    for name in names:
        path = root / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                files[file.relative_to(root).as_posix()] = file.read_bytes()
    return files


def unpack(files: dict[str, bytes], root: Path) -> None:
    """Writes what `pack` gave."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
