"""What is sealed comes back, in bounded memory, and a reader written from the page alone agrees."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from afina.errors import SealError
from afina.runs.memory_files import in_memory
from afina.seals.opening import open_to_bytes, open_to_folder, open_to_memory
from afina.seals.recipients import read_private
from afina.seals.unlocking import unlock_by
from afina.seals.wrapping import PrivateKey
from afina.seals.writer import CHUNK_BYTES, seal_folder
from tests.seals import independent
from tests.seals.conftest import CHUNK, FILES, LOG2_N, files_of, write_release

VECTOR = json.loads((Path(__file__).parent / "xwing_vector.json").read_text(encoding="utf-8"))


def test_keys_are_those_of_the_x_wing_draft() -> None:
    """The first test vector of the draft: its seed gives our public key, its share its secret."""
    key = PrivateKey(bytes.fromhex(VECTOR["seed"]))
    assert hashlib.sha256(key.public).hexdigest() == VECTOR["public_sha256"]
    secret, public = independent.xwing_decapsulate(key.seed, bytes.fromhex(VECTOR["share"]))
    assert secret.hex() == VECTOR["secret"]
    assert public == key.public


def test_a_reader_written_from_the_page_opens_it(sealed) -> None:
    raw, wanted = sealed.path.read_bytes(), files_of(sealed.release)
    for name in ("ana", "bob"):
        seed = read_private(sealed.keys / f"{name}.private.json").seed
        assert independent.read(raw, seed=seed) == wanted


def test_that_reader_opens_it_by_a_passphrase(sealed, tmp_path) -> None:
    path = tmp_path / "p.sealed"
    seal_folder(sealed.release, path, [], "abre, sésamo ya", "release", CHUNK, LOG2_N)
    assert independent.read(path.read_bytes(), passphrase="abre, sésamo ya") == files_of(sealed.release)


def test_the_three_ways_to_open_give_the_same(sealed, tmp_path) -> None:
    wanted = files_of(sealed.release)
    assert set(wanted) == {*FILES, "manifest.json"}
    assert sealed.read(sealed.path) == sealed.read(sealed.path, "bob") == wanted
    open_to_folder(sealed.path, tmp_path / "out", sealed.opener())
    assert files_of(tmp_path / "out") == wanted
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    with open_to_memory(sealed.path, sealed.opener()) as folder:
        assert files_of(folder) == wanted


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 64 * CHUNK])
def test_every_size_around_a_chunk(tmp_path, sealed, pairs, size) -> None:
    release = write_release(tmp_path / "r", {"one": size})
    path = tmp_path / "r.sealed"
    seal_folder(release, path, [pairs[1]["ana"].public], None, "r", chunk_bytes=CHUNK)
    assert sealed.read(path) == files_of(release)


def test_no_key_and_no_nonce_is_used_twice(sealed, tmp_path, pairs) -> None:
    """The same release sealed twice has nothing in common: keys are drawn anew for each seal."""
    path = tmp_path / "again.sealed"
    publics = [pairs[1]["ana"].public, pairs[1]["bob"].public]
    seal_folder(sealed.release, path, publics, None, "release", chunk_bytes=CHUNK)
    first, second = sealed.path.read_bytes(), path.read_bytes()
    assert len(first) == len(second)
    head = len(sealed.chunks()[0])
    blocks = [{raw[at : at + 16] for at in range(head, len(raw), 16)} for raw in (first, second)]
    assert not blocks[0] & blocks[1]
    assert len(blocks[0]) == len(range(head, len(first), 16))


def test_names_and_contents_are_not_in_the_file(sealed) -> None:
    raw = sealed.path.read_bytes()
    for text in (b"adapter", b"inference", b"manifest", b"release"):
        assert text not in raw


def test_a_file_of_many_chunks_takes_the_memory_of_a_few(tmp_path, pairs, sealed) -> None:
    """48 MiB in chunks of 1 MiB: less than 6 MiB of Python's memory to seal and to open."""
    release = write_release(tmp_path / "r", {"one": 1})
    with (release / "big").open("wb") as file:
        file.truncate(48 * CHUNK_BYTES)
    tracemalloc.start()
    try:
        seal_folder(release, tmp_path / "r.sealed", [pairs[1]["ana"].public], None, "r")
        sealing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        open_to_folder(tmp_path / "r.sealed", tmp_path / "out", sealed.opener())
        opening = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sealing < 6 * CHUNK_BYTES
    assert opening < 6 * CHUNK_BYTES
    assert (tmp_path / "out/big").stat().st_size == 48 * CHUNK_BYTES


def test_a_passphrase_is_the_same_however_it_was_typed(sealed, tmp_path) -> None:
    path = tmp_path / "p.sealed"
    seal_folder(sealed.release, path, [], "contrase\u00f1a larga", "release", CHUNK, LOG2_N)
    unlock = unlock_by(None, "contrasen\u0303a larga", None, sealed.keys, path)
    assert open_to_bytes(path, unlock) == files_of(sealed.release)


# --- files in memory ---------------------------------------------------------------------------


def test_files_in_memory_have_no_place_on_a_disk_and_cannot_be_changed(sealed) -> None:
    with open_to_memory(sealed.path, sealed.opener()) as folder:
        links = [path for path in folder.rglob("*") if not path.is_dir()]
        assert len(links) == len(FILES) + 1
        for link in links:
            assert os.readlink(link).startswith("/proc/self/fd/")
            assert os.readlink(os.readlink(link)).startswith("/memfd:")
            assert in_memory(link)
            with link.open("r+b", buffering=0) as file, pytest.raises(OSError, match="not permitted"):
                file.write(b"x")
        assert folder.stat().st_mode & 0o777 == 0o700
        before = len(os.listdir("/proc/self/fd"))
        other = folder / "other"
        number = os.memfd_create("other", os.MFD_ALLOW_SEALING)
        fds = [f"/proc/self/fd/{name}" for name in (number, 99999, 0)]
        for target in (*fds, str(sealed.path)):
            other.symlink_to(target)
            assert not in_memory(other)  # one that can still be changed is none
            other.unlink()
        os.close(number)
        assert not in_memory(sealed.path)
    assert not folder.exists()
    assert len(os.listdir("/proc/self/fd")) == before - len(links)


def test_a_killed_process_leaves_names_and_no_contents(sealed, tmp_path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from afina.seals.opening import open_to_memory\nfrom afina.seals.unlocking import unlock_by\n"
        f"path = Path({str(sealed.path)!r})\n"
        f"with open_to_memory(path, unlock_by('ana', None, None, Path({str(sealed.keys)!r}), path)):\n"
        "    print('open', flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.send_signal(signal.SIGKILL)
    left = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert len(left) == len(FILES) + 1
    assert all(path.is_symlink() for path in left)


def test_more_than_the_free_memory_is_refused(sealed, monkeypatch) -> None:
    import psutil

    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(SealError, match="of memory"):
        sealed.read(sealed.path)
