"""The manifest is read strictly: nothing differs, is missing, is too many, or leads elsewhere."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.errors import StorageError
from afina.trust.manifest import (
    MANIFEST,
    manifest_sha256,
    read_manifest,
    require_files,
    write_manifest,
)


def test_every_file_is_in_it_and_no_signature(release):
    (release / "signatures").mkdir()
    (release / "signatures/model.sig").write_text("{}")
    written = write_manifest(release, {"name": "n", "seed": 13})
    assert read_manifest(release) == written == json.loads((release / MANIFEST).read_bytes())
    assert (written["schema"], written["name"], written["seed"]) == ("afina/manifest/1", "n", 13)
    names = ["README.md", "adapter-notes.md", "adapter/adapter_model.safetensors", "inference.json"]
    assert list(written["files"]) == names
    card = written["files"]["README.md"]
    assert card == {"sha256": hashlib.sha256(b"card").hexdigest(), "bytes": 4}
    whole = hashlib.sha256((release / MANIFEST).read_bytes()).hexdigest()
    assert manifest_sha256(release) == whole
    require_files(release, written)


@pytest.mark.parametrize(
    ("change", "what", "where"),
    [
        (lambda f: (f / "README.md").write_text("dear"), "changed or damaged", "README.md"),
        (lambda f: (f / "README.md").write_text("cards"), "changed or damaged", "README.md"),
        (lambda f: (f / "README.md").unlink(), "is missing", "README.md"),
        (lambda f: (f / "adapter/b.txt").write_text(""), "not in its manifest", "adapter/b.txt"),
        (lambda f: (f / ".hidden").write_text(""), "not in its manifest", ".hidden"),
        (lambda f: (f / "sub").mkdir() or (f / "sub/manifest.json").write_text("{}"),
         "not in its manifest", "sub/manifest.json"),
        (lambda f: (f / "signatures").mkdir() or (f / "signatures/more").write_text(""),
         "not in its manifest", "signatures/more"),
        (lambda f: (f / "link").symlink_to("README.md"), "is a link", "link"),
        (lambda f: (f / "up").symlink_to(".."), "is a link", "up"),
        (lambda f: os.mkfifo(f / "pipe"), "is a link, or no file", "pipe"),
    ],
)  # fmt: skip
def test_whatever_differs_is_named(release, change, what, where):
    manifest = read_manifest(release)
    change(release)
    with pytest.raises(StorageError, match=what) as caught:
        require_files(release, manifest)
    assert caught.value.where == str(release / where)
    assert caught.value.fix


def test_a_file_in_the_place_of_a_link_to_it_is_asked_for(release):
    """A link with the right bytes behind it is refused all the same: they may change behind it."""
    (release / "README.md").rename(release.parent / "elsewhere.md")
    (release / "README.md").symlink_to(release.parent / "elsewhere.md")
    with pytest.raises(StorageError, match="is a link"):
        require_files(release, read_manifest(release))


BAD = ("", ".", "..", "../x", "a/../b", "/etc/x", "a//b", "./a", "a/", "a\\b", "C:x", "a\0b",
       "manifest.json", "signatures/model.sig")  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_names_that_leave_the_folder_are_refused(release, name):
    value = json.loads((release / MANIFEST).read_bytes())
    value["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    (release / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(StorageError) as caught:
        read_manifest(release)
    assert caught.value.where == str(release / MANIFEST)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"schema": "afina/manifest/1"}',
        '{"schema": "afina/manifest/2", "files": {}}',
        '{"schema": "afina/manifest/1", "files": [1]}',
        '{"schema": "afina/manifest/1", "files": {"a": 3}}',
        '{"schema": "afina/manifest/1", "files": {"a": {"sha256": "A", "bytes": 1}}}',
        '{"schema": "afina/manifest/1", "files": {"a": {"sha256": "' + "0" * 64 + '", "bytes": true}}}',
        '{"schema": "afina/manifest/1", "files": {"a": {"sha256": "' + "0" * 64 + '"}}}',
        '{"schema": "afina/manifest/1", "files": {}, "files": {}}', "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_named(release, text):
    (release / MANIFEST).write_text(text)
    with pytest.raises(StorageError, match="changed or damaged") as caught:
        read_manifest(release)
    assert caught.value.where == str(release / MANIFEST)
    (release / MANIFEST).unlink()
    with pytest.raises(StorageError, match="no manifest"):
        manifest_sha256(release)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    (folder / MANIFEST).write_bytes(data)
    with pytest.raises(StorageError):
        read_manifest(folder)
