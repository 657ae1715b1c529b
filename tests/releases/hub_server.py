"""A server on this machine that takes releases as the Hub does: real HTTP, repositories in memory.

It answers what huggingface_hub 2.4 asks when it makes a repository, commits files (small ones inside the
commit, large ones over the LFS endpoint first), and reads them back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_" + "right" * 7


@dataclass
class Repository:
    """One repository: its files at each commit."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[digest] = files
        return digest


class HubServer:
    """The server, what it holds, and what it was asked.

    Attributes:
        spoil: a file that is kept with one byte changed. moved: the repository changes while files are
            sent. asked: methods and paths, in order.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.spoil: str | None = None
        self.moved = False
        self.may_write = True
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, private: bool = True, **files: bytes) -> Repository:
        """A repository as one that was made earlier."""
        found = Repository(private)
        found.commit({".gitattributes": b"*.safetensors filter=lfs\n", **files})
        self.repositories[name] = found
        return found


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_given) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith("storage/"):  # signed addresses need no token
            digest = path.removeprefix("storage/")
            if hashlib.sha256(body).hexdigest() != digest:
                return self._send(400, {})
            self.hub.blobs[digest] = body
            return self._send(200, {})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        if path == "api/repos/create":
            return self._create(json.loads(body))
        if path == "api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if path == "verify":
            return self._json({})
        if path.startswith("api/models/"):
            owner, name, *rest = path.removeprefix("api/models/").split("/")
            return self._model(f"{owner}/{name}", rest, body)
        owner, name, _resolve, revision, *rest = path.split("/")
        return self._file(f"{owner}/{name}", revision, "/".join(rest))

    def _create(self, wanted: dict) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.hub.may_write:
            return self._send(403, {"X-Error-Message": "You have no rights in this namespace"})
        if name in self.hub.repositories:
            said = {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}
            return self._json(said, 409)
        self.hub.add(name, wanted.get("visibility") == "private")
        self._json({"url": f"{self.hub.url}/{name}"})

    def _validate(self, content: str) -> None:
        head = yaml.safe_load(content.split("---")[1])
        errors = (
            [] if isinstance(head.get("license"), str) else [{"message": '"license" must be a string'}]
        )
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _batch(self, wanted: dict) -> None:
        assert wanted["operation"] == "upload"
        objects = []
        for one in wanted["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.url}/storage/{one['oid']}"},
                "verify": {"href": f"{self.hub.url}/verify"},
            }
            known = one["oid"] in self.hub.blobs
            objects.append({**one, **({} if known else {"actions": actions})})
        self._json({"transfer": "basic", "objects": objects})

    def _model(self, name: str, rest: list[str], body: bytes) -> None:
        found = self.hub.repositories.get(name)
        if found is None:
            return self._send(404, {"X-Error-Code": "RepoNotFound"})
        kind = rest[0] if rest else "revision"
        if kind == "revision":
            siblings = [{"rfilename": path} for path in found.files]
            return self._json(
                {
                    "id": name,
                    "modelId": name,
                    "sha": found.head,
                    "private": found.private,
                    "siblings": siblings,
                }
            )
        if kind == "tree":
            return self._json([self._info(found, path) for path in found.files])
        if kind == "preupload":
            return self._json({"files": [self._mode(one) for one in json.loads(body)["files"]]})
        if kind == "commit":
            return self._commit(name, found, body)
        if kind == "paths-info":
            paths = parse_qs(body.decode())["paths"]
            return self._json([self._info(found, path) for path in paths if path in found.files])
        return self._send(404, {})

    def _mode(self, one: dict) -> dict:
        large = one["path"].endswith(".safetensors") or one["size"] > 1_000_000
        return {
            "path": one["path"],
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
            "oid": None,
        }

    def _commit(self, name: str, found: Repository, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if self.hub.moved:
            found.commit({**found.files, "moved.txt": b"by somebody else"})
        if header.get("parentCommit") not in (None, found.head):
            return self._send(412, {"X-Error-Message": "A commit has happened since"})
        files = dict(found.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
                found.large.add(value["path"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        if self.hub.spoil:
            files[self.hub.spoil] = bytes([files[self.hub.spoil][0] ^ 1]) + files[self.hub.spoil][1:]
        commit = found.commit(files)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _info(self, found: Repository, path: str) -> dict:
        data = found.files[path]
        info = {"type": "file", "path": path, "size": len(data), "oid": _git_hash(data)}
        if path in found.large:
            digest = hashlib.sha256(data).hexdigest()
            info["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
        return info

    def _file(self, name: str, revision: str, path: str) -> None:
        found = self.hub.repositories[name]
        commit = found.head if revision == "main" else revision
        data = found.commits[commit].get(path)
        if data is None:
            return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        self._send(200, {"X-Repo-Commit": commit, "ETag": f'"{_git_hash(data)}"'}, data)

    def _json(self, value, status: int = 200) -> None:
        self._send(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"{}") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
