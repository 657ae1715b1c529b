"""Nothing is written over, nothing half is left; keys of recipients, and who can open a file later."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from afina.errors import AfinaError, SealError, StorageError
from afina.seals.files import leftovers, new_file
from afina.seals.header import Header
from afina.seals.opening import open_to_bytes, open_to_folder
from afina.seals.reader import header_of
from afina.seals.recipients import (
    add_public,
    find_private,
    find_public,
    new_pair,
    read_private,
    read_public,
    recipients_in,
)
from afina.seals.rewrap import rewrap
from afina.seals.unlocking import unlock_by
from afina.seals.wrapping import wrap_for
from afina.seals.writer import seal_folder
from tests.seals.conftest import CHUNK, LOG2_N, files_of, write_release


def ana(pairs) -> list[bytes]:
    return [pairs[1]["ana"].public]


# --- files -------------------------------------------------------------------------------------


def test_nothing_is_written_over(sealed, pairs, tmp_path) -> None:
    path = tmp_path / "there"
    path.write_text("mine")
    with pytest.raises(StorageError, match="nothing is written over"):
        seal_folder(sealed.release, path, ana(pairs), None, "r")
    with pytest.raises(StorageError, match="nothing is written over"):
        open_to_folder(sealed.path, path, sealed.opener())
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("mine")
    with pytest.raises(StorageError, match="nothing is written over"):
        open_to_folder(sealed.path, folder, sealed.opener())
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="nothing is written over"):
        open_to_folder(sealed.path, dangling, sealed.opener())
    assert path.read_text() == (folder / "a").read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [folder, dangling, path]
    empty = tmp_path / "empty"
    empty.mkdir()
    open_to_folder(sealed.path, empty, sealed.opener())
    assert files_of(empty) == files_of(sealed.release)


def test_what_comes_in_between_is_not_written_over(sealed, pairs, tmp_path) -> None:
    path = tmp_path / "r.sealed"

    def another(_done: int, _total: int) -> None:
        path.write_text("another's")

    with pytest.raises(StorageError, match="nothing is written over"):
        seal_folder(sealed.release, path, ana(pairs), None, "r", progress=another)
    assert path.read_text() == "another's"
    folder = tmp_path / "out"

    def another_folder(_done: int, _total: int) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "a").write_text("another's")

    with pytest.raises(StorageError, match="nothing is written over"):
        open_to_folder(sealed.path, folder, sealed.opener(), progress=another_folder)
    assert files_of(folder) == {"a": b"another's"}
    assert sorted(tmp_path.iterdir()) == [folder, path]


def test_an_interruption_leaves_nothing(sealed, pairs, tmp_path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done * 2 > total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal_folder(sealed.release, tmp_path / "r", ana(pairs), None, "r", CHUNK, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_to_folder(sealed.path, tmp_path / "out", sealed.opener(), progress=interrupt)

    def no(folder: Path) -> None:
        assert files_of(folder) == files_of(sealed.release)
        raise SealError("a signature is bad")

    with pytest.raises(SealError, match="a signature is bad"):
        open_to_folder(sealed.path, tmp_path / "out", sealed.opener(), check=no)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_found(tmp_path) -> None:
    (tmp_path / ".out.abc.part").mkdir()
    (tmp_path / ".other.abc.part").mkdir()
    assert leftovers(tmp_path / "out") == [tmp_path / ".out.abc.part"]
    assert leftovers(tmp_path / "nowhere" / "out") == []


def test_a_file_that_grows_or_shrinks_meanwhile(pairs, tmp_path) -> None:
    for change in (lambda file: file.write_bytes(b"x" * 5000), lambda file: os.truncate(file, 10)):
        release = write_release(tmp_path / "r", {"a": 3 * CHUNK, "b": 3 * CHUNK})

        def meddle(_done: int, _total: int, change=change, release=release) -> None:
            change(release / "b")

        with pytest.raises(SealError, match="was changed while it was being sealed") as caught:
            seal_folder(release, tmp_path / "o", ana(pairs), None, "r", CHUNK, progress=meddle)
        assert caught.value.where == str(release / "b")
        assert list(tmp_path.iterdir()) == [release]


def test_links_and_pipes_are_not_sealed(pairs, tmp_path) -> None:
    release = write_release(tmp_path / "r", {"a": 5})
    link = release / "link"
    for make in (lambda: link.symlink_to("/etc/passwd"), lambda: link.symlink_to(tmp_path), None):
        os.mkfifo(link) if make is None else make()
        with pytest.raises(SealError, match="this is a link, or no ordinary file") as caught:
            seal_folder(release, tmp_path / "o", ana(pairs), None, "r")
        assert caught.value.where == str(link)
        link.unlink()


def test_a_folder_without_a_manifest_and_nobody_to_open(pairs, tmp_path, sealed) -> None:
    with pytest.raises(SealError, match="only a finished release is sealed"):
        seal_folder(tmp_path, tmp_path / "o", ana(pairs), None, "r")
    with pytest.raises(SealError, match="nobody could open"):
        seal_folder(sealed.release, tmp_path / "o", [], None, "r")
    with pytest.raises(AfinaError, match="characters is too short"):
        seal_folder(sealed.release, tmp_path / "o", [], "short", "r")
    with pytest.raises(StorageError, match="there is no such file"):
        header_of(tmp_path)


def test_a_full_disk_leaves_nothing_half(pairs, sealed, tmp_path) -> None:
    if os.geteuid():
        pytest.skip("only root can mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")
    try:
        release = write_release(tmp_path / "r", {"a": 100_000})
        with pytest.raises(OSError, match="No space left"):
            seal_folder(release, disk / "r.sealed", ana(pairs), None, "r")
        assert list(disk.iterdir()) == []
        seal_folder(release, tmp_path / "r.sealed", ana(pairs), None, "r")
        with pytest.raises(OSError, match="No space left"):
            open_to_folder(tmp_path / "r.sealed", disk / "out", sealed.opener())
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_without_hard_links(tmp_path, monkeypatch) -> None:
    """As FAT: the rename takes the place of the link, and still nothing is written over."""

    def no_links(*_paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with new_file(tmp_path / "a") as temporary:
        temporary.write_text("first")
    with pytest.raises(StorageError), new_file(tmp_path / "b") as temporary:
        (tmp_path / "b").write_text("another's")
    assert files_of(tmp_path) == {"a": b"first", "b": b"another's"}


# --- keys --------------------------------------------------------------------------------------


def test_a_private_key_is_its_owners_alone_and_under_a_passphrase(tmp_path) -> None:
    folder = tmp_path / "keys"
    made = new_pair("ana", "correct horse", folder, LOG2_N)
    assert made.private is not None
    assert made.private.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    value = json.loads(made.private.read_text())
    assert value["seed"] is None
    private = find_private("ana", folder)
    assert private.key("correct horse").public == made.public
    with pytest.raises(SealError, match="this is not the passphrase of this key"):
        private.key("correct house")
    for other in ({"id": "0" * 32}, {"passphrase": {**value["passphrase"], "log2_n": 15}}):
        made.private.write_text(json.dumps({**value, **other}))
        with pytest.raises(SealError):
            find_private("ana", folder).key("correct horse")
    made.private.chmod(0o640)
    with pytest.raises(SealError, match="others can read this private key") as caught:
        find_private("ana", folder)
    assert "chmod 600" in (caught.value.fix or "")


def test_no_key_is_written_over_and_names_stay_in_the_folder(tmp_path) -> None:
    new_pair("ana", None, tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(StorageError, match="no key is written over"):
        new_pair("ana", None, tmp_path)
    for name in ("", "../ana", "a/b", ".ana", "a b", "x" * 101, "a\n", "end."):
        with pytest.raises(SealError, match="cannot be the name of a key"):
            new_pair(name, None, tmp_path)
        with pytest.raises(SealError, match="there is no key"):
            find_public(name or " ", tmp_path)
    with pytest.raises(AfinaError, match="characters is too short"):
        new_pair("bob", "short", tmp_path)
    assert files_of(tmp_path) == before


def test_a_public_key_is_kept_under_a_name_and_found_by_it(tmp_path) -> None:
    theirs = new_pair("ana", None, tmp_path / "theirs")
    mine = tmp_path / "mine"
    kept = add_public(theirs.path, "ana@work", mine)
    assert (kept.id, kept.public, kept.private) == (theirs.id, theirs.public, None)
    assert find_public("ana@work", mine).id == find_public(str(theirs.path), mine).id
    assert find_public(str(theirs.private), mine).id == theirs.id  # the other half of the pair
    assert find_private(str(theirs.path), mine).id == theirs.id
    assert [one.name for one in recipients_in(mine)] == ["ana@work"]
    with pytest.raises(SealError, match="there is no key 'bob'") as caught:
        find_public("bob", mine)
    assert "known keys: ana@work" in (caught.value.fix or "")
    with pytest.raises(StorageError):
        add_public(theirs.path, "ana@work", mine)


def test_a_file_of_a_key_that_was_changed(tmp_path) -> None:
    made = new_pair("ana", None, tmp_path)
    value = json.loads(made.path.read_text())
    flipped = value["public"][:40] + ("A" if value["public"][40] != "A" else "B") + value["public"][41:]
    for other in ({"public": flipped}, {"id": "0" * 32}, {"kem": "RSA"}, {"schema": 1}, {"public": 5}):
        made.path.write_text(json.dumps({**value, **other}))
        with pytest.raises(SealError, match="holds no key of this kind"):
            read_public(made.path)
    for text in ("[]", "5", '"' + "x" * 100_000 + '"'):
        made.path.write_text(text)
        with pytest.raises(SealError, match="holds no key of this kind"):
            read_public(made.path)
    assert made.private is not None
    private = json.loads(made.private.read_text())
    for other in ({"seed": None}, {"seed": "AAAA"}, {"passphrase": {}}, {"id": 5}):
        made.private.write_text(json.dumps({**private, **other}))
        with pytest.raises(SealError, match="holds no key of this kind"):
            read_private(made.private)


def test_a_public_key_that_no_library_takes() -> None:
    for public in (b"", bytes(1184) + bytes(32), b"\xff" * 1216):
        with pytest.raises(SealError, match="is no public key that can be used"):
            wrap_for(public, bytes(32), bytes(32))


# --- who can open it later ---------------------------------------------------------------------


def copy_of(sealed, folder: Path) -> Path:
    path = folder / "copy.sealed"
    path.write_bytes(sealed.path.read_bytes())
    return path


def test_recipients_are_added_and_removed_without_new_chunks(sealed, pairs, tmp_path) -> None:
    people, path = pairs[1], copy_of(sealed, tmp_path)
    path.chmod(0o600)
    head = len(sealed.chunks()[0])
    new = rewrap(path, sealed.opener(), add=[people["eve"].public], remove=[people["bob"].id])
    assert [wrap.key for wrap in new.keys] == [people["ana"].id, people["eve"].id]
    assert sealed.read(path) == sealed.read(path, "eve") == files_of(sealed.release)
    with pytest.raises(SealError, match="not sealed for the key"):
        sealed.read(path, "bob")
    assert path.read_bytes()[-1000:] == sealed.path.read_bytes()[-1000:]
    assert path.stat().st_size == sealed.path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) - head == len(sealed.path.read_bytes()) - head
    # What the page says: it takes nothing from Bob, who has kept the file as it was.
    assert sealed.read(sealed.path, "bob") == files_of(sealed.release)


def test_a_passphrase_is_added_changed_and_removed(sealed, tmp_path) -> None:
    path = copy_of(sealed, tmp_path)

    def by(passphrase: str):
        return unlock_by(None, passphrase, None, sealed.keys, path)

    def change(passphrase: str | None, unlock, **more: object) -> Header:
        asked = None if passphrase is None else lambda: passphrase
        return rewrap(path, unlock, passphrase=asked, log2_n=LOG2_N, **more)  # type: ignore[arg-type]

    change("first and long", sealed.opener())
    assert open_to_bytes(path, by("first and long")) == files_of(sealed.release)
    change("second and long", by("first and long"))
    with pytest.raises(SealError, match="not the passphrase"):
        open_to_bytes(path, by("first and long"))
    keys = [wrap.key for wrap in header_of(path).keys]
    assert open_to_bytes(path, by("second and long")) == files_of(sealed.release)
    change(None, by("second and long"), remove=keys)
    with pytest.raises(SealError, match="nobody could open"):
        change(None, by("second and long"), remove_passphrase=True)
    assert open_to_bytes(path, by("second and long")) == files_of(sealed.release)


def test_a_change_that_is_refused_leaves_the_file_as_it_was(sealed, pairs, tmp_path) -> None:
    path = copy_of(sealed, tmp_path)
    before = path.read_bytes()
    people = pairs[1]
    refusals: list[tuple[str, dict]] = [
        ("not sealed for the key", {"remove": [people["eve"].id]}),
        ("not sealed with a passphrase", {"remove_passphrase": True}),
        ("nobody could open", {"remove": [people["ana"].id, people["bob"].id]}),
        ("characters is too short", {"passphrase": lambda: "short"}),
    ]
    for match, arguments in refusals:
        with pytest.raises(AfinaError, match=match):
            rewrap(path, sealed.opener(), **arguments)
    with pytest.raises(SealError, match="not sealed for the key"):
        rewrap(path, sealed.opener("eve"), add=[people["eve"].public])
    path.write_bytes(before[:-1])
    with pytest.raises(SealError, match="was cut"):
        rewrap(path, sealed.opener(), add=[people["eve"].public])
    path.write_bytes(before)
    assert list(tmp_path.iterdir()) == [path]
