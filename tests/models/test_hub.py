"""A Hub model, against a real server on this machine that answers as the Hub does.

The Hub's address is read when huggingface_hub is imported, so each case is a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest

from afina.models.base import weights_sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub's interface that a download uses; each repository is a folder or a refusal."""

    protocol_version = "HTTP/1.1"
    folders: ClassVar[dict[str, Path]] = {}
    asked: ClassVar[list[str]] = []
    refusals: ClassVar[dict[str, tuple[int, dict[str, str]]]] = {
        "gated/llama": (
            401,
            {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."},
        ),
        "denied/llama": (
            403,
            {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."},
        ),
        "nobody/nothing": (
            404,
            {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"},
        ),
        "bad/token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    }

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_given) -> None:
        """Nothing on the terminal."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/").removeprefix("api/models/")
        Hub.asked.append(f"{self.command} {path}")
        owner, name, kind, *rest = [*path.split("/"), "", "", ""]
        repository = f"{owner}/{name}"
        rest = [part for part in rest if part]
        if repository in self.refusals:
            return self._send(*self.refusals[repository])
        folder = self.folders.get(repository)
        if folder is None:
            return self._send(404, {"X-Error-Code": "RepoNotFound"})
        if rest and rest[0] not in ("main", "v1", COMMIT):
            return self._send(
                404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}
            )
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if kind in ("", "revision"):
            siblings = [{"rfilename": file.name} for file in files]
            return self._json(
                {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}
            )
        if kind == "tree":
            return self._json(
                [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": etag(f)}
                    for f in files
                ]
            )
        file = folder / rest[-1]
        if not file.is_file():
            return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        return self._send(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(file)}"'}, file.read_bytes())

    def _json(self, value) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def hub(llama3_folder, tmp_path_factory):
    """The server: it has the tiny Llama 3, a model of another kind, and one without weights."""
    folders = tmp_path_factory.mktemp("repositories")
    for name, kind in (("gpt", "gpt2"), ("bare", "llama")):
        (folders / name).mkdir()
        (folders / name / "config.json").write_text(json.dumps({"model_type": kind}))
    (folders / "gpt/model.safetensors").write_bytes(b"0" * 1000)
    (folders / "bare/pytorch_model.bin").write_bytes(b"\x80\x04")
    (folders / "empty").mkdir()
    (folders / "empty/notes.txt").write_text("no model")
    Hub.folders = {
        "tiny/llama": llama3_folder,
        **{f"other/{name}": folders / name for name in ("gpt", "bare", "empty")},
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


FIND = """
import json, sys
from afina.errors import AfinaError
from afina.models.base import find_base
answers = []
for model, revision in json.loads(sys.argv[1]):
    try:
        answers.append({**find_base(model, revision).as_json()})
    except AfinaError as error:
        answers.append(error.as_json())
print(json.dumps(answers))
"""


def environment(hub: str, home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    kept = {name: value for name, value in kept.items() if "proxy" not in name.lower()}
    return {**kept, "HF_ENDPOINT": hub, "HF_HOME": str(home), "AFINA_CACHE": str(home / "afina"), **more}


def ask(hub: str, home: Path, wanted: list[tuple[str, str | None]], **more: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", FIND, json.dumps(wanted)],
        env=environment(hub, home, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Retrying" not in done.stderr  # said at once, not after the client's half minute
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


REFUSED = [
    ("gated/llama", None, "licence of this model has not been accepted", "accept the licence"),
    ("denied/llama", None, "licence of this model has not been accepted", "hf auth login"),
    ("nobody/nothing", None, "the Hub has no such model", "check base.model"),
    ("tiny/llama", "v9", "not this revision", "check base.revision"),
    ("bad/token", None, "the Hub refuses your token", "hf auth login"),
    ("other/gpt", None, "`gpt2`", "model_type: llama"),
    ("other/bare", None, "no .safetensors weights", "safetensors"),
    ("other/empty", None, "config.json is missing", "config.json"),
]


def test_each_refusal_is_one_clear_message(hub, tmp_path):
    Hub.asked.clear()
    answers = ask(hub, tmp_path, [(model, revision) for model, revision, *_rest in REFUSED])
    for (model, revision, what, fix), answer in zip(REFUSED, answers, strict=True):
        assert answer["exit_code"] == 2, answer
        assert what in answer["what"], answer
        assert fix in answer["fix"], answer
        assert "\n" not in answer["what"]
        if model != "other/bare":
            assert answer["where"] == (f"{model}@{revision}" if revision else model)
    # A refusal costs nothing: no weights were asked for.
    assert not [line for line in Hub.asked if line.endswith("model.safetensors")]


def test_a_model_is_downloaded_and_then_found_without_the_hub(hub, tmp_path, llama3_folder):
    (found,) = ask(hub, tmp_path, [("tiny/llama", None)])
    assert found["id"] == "tiny/llama"
    assert found["revision"] == COMMIT
    assert found["sha256"] == weights_sha256(llama3_folder)
    names = {path.name for path in Path(found["folder"]).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    # From the cache: no server, and the Hub switched off.
    assert ask("http://127.0.0.1:9", tmp_path, [("tiny/llama", None)], HF_HUB_OFFLINE="1") == [found]
    (other,) = ask("http://127.0.0.1:9", tmp_path, [("tiny/llama", "v1")], HF_HUB_OFFLINE="1")
    assert "cannot be reached" in other["what"]


def test_offline_and_unreachable_say_so_at_once(tmp_path):
    for more in ({"HF_HUB_OFFLINE": "1"}, {}):
        (answer,) = ask("http://127.0.0.1:9", tmp_path, [("meta-llama/Llama-3.2-1B", None)], **more)
        assert answer["what"] == "the Hub cannot be reached, and this model is not in the local cache"
        assert answer["where"] == "meta-llama/Llama-3.2-1B"
        assert "base: embedded" in answer["fix"]
        assert answer["exit_code"] == 2


def test_the_command_leaves_with_code_2_and_no_traceback(hub, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "afina", "base", "show", "gated/llama"],
        env=environment(hub, tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "licence of this model has not been accepted" in done.stderr
    assert "https://huggingface.co/gated/llama" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
