"""Pickle is found wherever it is, and nothing else is taken for it."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pytest

from afina.trust.pickles import find_pickles, is_pickle

VALUE = {"weights": [1.5, 2.5], "name": "x"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_known_under_any_name(tmp_path, protocol):
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(VALUE, protocol))
    (tmp_path / "one.json").write_bytes(pickle.dumps(3, protocol))
    assert find_pickles(tmp_path) == ["model.safetensors", "one.json"]


def test_archives_and_databases_are_opened(tmp_path):
    import torch

    data = pickle.dumps(VALUE)
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    np.save(tmp_path / "c.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "d.npz", x=np.array([None], dtype=object), y=np.zeros(3))
    (tmp_path / "e.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "f.mar", "w") as archive:
        archive.writestr("handler.py", "print()")
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as deeper:
            deeper.writestr("data.bin", data)
        archive.writestr("extra.zip", inner.getvalue())
    with tarfile.open(tmp_path / "g.tar.gz", "w:gz") as tape:
        entry = tarfile.TarInfo("state")
        entry.size = len(data)
        tape.addfile(entry, io.BytesIO(data))
    with sqlite3.connect(tmp_path / "h.db") as base:
        base.execute("CREATE TABLE jobs (id INTEGER, state BLOB)")
        base.execute("INSERT INTO jobs VALUES (1, ?)", (data,))
    base.close()
    assert find_pickles(tmp_path) == [
        "a.pt!a/data.pkl",
        "b.pt",
        "c.npy",
        "d.npz!x.npy",
        "e.gz!",
        "f.mar!extra.zip!data.bin",
        "g.tar.gz!!state",
        "h.db!jobs.state",
    ]


def test_what_is_no_pickle_is_not_taken_for_it(tmp_path):
    from safetensors.numpy import save_file

    # A header of 1,408 bytes begins with the very mark of protocol 5.
    save_file({"a": np.zeros(3)}, tmp_path / "a.safetensors", {"x": "y" * 1330})
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(b"\x80\x05" + data[2:])
    np.save(tmp_path / "b.npy", np.zeros(3))
    (tmp_path / "c.json").write_text(json.dumps(VALUE))
    (tmp_path / "d.md").write_text("# I am a card\n\nIt says (much) of nothing.\n")
    (tmp_path / "e").write_bytes(b"")
    (tmp_path / "f.db").write_bytes(b"SQLite format 3\0"[:10])
    (tmp_path / "g.gz").write_bytes(b"\x1f\x8bnot gzip")
    (tmp_path / "i.txt").write_text("train.loss")  # TUPLE, LONG_BINPUT, STOP: but an empty stack
    (tmp_path / "j.txt").write_text("N0.")
    with sqlite3.connect(tmp_path / "k.db") as base:
        base.execute("CREATE TABLE metrics (name TEXT, value REAL, more BLOB)")
        base.execute("INSERT INTO metrics VALUES ('train.loss', 1.5, X'00')")
    base.close()
    for number in range(256):
        (tmp_path / f"h{number}").write_bytes(bytes([number]) * 64)
    assert find_pickles(tmp_path) == []
    assert not is_pickle(io.BytesIO(b"\x80\x04"))
