"""A disk that fills up while a checkpoint is written: the last good one stays whole."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from afina.runs.files import remove_leftovers, storage_error
from afina.training.checkpoint import (
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    save_checkpoint,
    save_weights,
)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid():
        pytest.skip("only root can mount")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def trained(seed: int) -> tuple[dict[str, Any], Any]:
    """Trained tensors of 200 kB and an optimizer with twice as much."""
    torch.manual_seed(seed)
    weights = {"a": torch.nn.Parameter(torch.randn(50_000))}
    optimizer = torch.optim.AdamW(weights.values(), lr=0.1)
    weights["a"].sum().backward()
    optimizer.step()
    return weights, optimizer


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# Room for nothing, a part of the weights, the weights, a part of the optimizer, all but the last file.
@pytest.mark.parametrize("free_kilobytes", [0, 100, 210, 500, 590])
@pytest.mark.parametrize("again", [False, True])
def test_the_last_good_checkpoint_stays_whole(small_disk, free_kilobytes: int, again: bool) -> None:
    weights, optimizer = trained(1)
    save_weights(small_disk / "best", weights)
    save_checkpoint(small_disk / "step-4", weights, optimizer, ["a"], {"step": 4})
    before = files(small_disk)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    os.truncate(filler, max(0, filler.stat().st_size - free_kilobytes * 1024))
    other, moments = trained(2)
    # A later step, or (after going on) the same step once more.
    name = "step-4" if again else "step-5"
    with pytest.raises((OSError, SafetensorError)) as failed:
        save_checkpoint(small_disk / name, other, moments, ["a"], {"step": 5})
    told = storage_error(failed.value)
    assert told is not None
    assert told.what == "the disk is full"
    with suppress(OSError, SafetensorError):
        save_weights(small_disk / "best", other)
    filler.unlink()
    remove_leftovers(small_disk)

    assert newest_checkpoint(small_disk) == small_disk / "step-4"
    found = files(small_disk)
    assert {key: found[key] for key in found if "best" not in key} == {
        key: before[key] for key in before if "best" not in key
    }
    back, empty = trained(3)
    assert load_checkpoint(small_disk / "step-4", back, empty, ["a"])["step"] == 4
    assert torch.equal(back["a"], weights["a"])
    load_weights(small_disk / "best", back)  # the old one or the new one, but whole
    assert torch.equal(back["a"], weights["a"]) or torch.equal(back["a"], other["a"])
    save_checkpoint(small_disk / "step-5", other, moments, ["a"], {"step": 5})
    assert newest_checkpoint(small_disk) == small_disk / "step-5"
