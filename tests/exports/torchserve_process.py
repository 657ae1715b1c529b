"""A real TorchServe on loopback, with an exported archive."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self


def executable() -> str | None:
    """The program `torchserve` beside this Python or on the path, where Java is there too."""
    beside = Path(sys.executable).with_name("torchserve")
    found = str(beside) if beside.exists() else shutil.which("torchserve")
    return found if found and shutil.which("java") else None


def answers(found: tuple[int, Any]) -> dict[str, float]:
    """Scores by label of one text's answer."""
    code, rows = found
    assert code == 200, rows
    return {row["label"]: row["score"] for row in rows}


class Server:
    """`with Server(folder, name) as server:` started on free ports, stopped afterwards."""

    def __init__(self, folder: Path, name: str, seconds: int = 240) -> None:
        self.name, self.seconds = name, seconds
        self.place = Path(tempfile.mkdtemp(prefix="torchserve"))
        shutil.copytree(folder / "model-store", self.place / "model-store")
        text = (folder / "config.properties").read_text(encoding="utf-8")
        self.ports = {port: _free_port() for port in ("8080", "8081", "8082")}
        for old, new in self.ports.items():
            text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
        (self.place / "config.properties").write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        program = executable()
        assert program is not None
        # The workers are started by the `python` that is first on the path.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with (self.place / "log.txt").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, program, "--start", "--foreground", "--ncs",
                 "--model-store", "model-store", "--ts-config", "config.properties"],
                cwd=self.place, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "PATH": path, "TEMP": str(self.place)},
            )  # fmt: skip
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(self.log()[-3000:])
            if "State change WORKER_STARTED -> WORKER_MODEL_LOADED" in self.log():
                return self
            if "Worker died" in self.log() or "MODEL_LOG - refused to load" in self.log():
                return self  # a test looks at the log
            time.sleep(0.5)
        self.__exit__()
        raise AssertionError(self.log()[-3000:])

    def __exit__(self, *_error: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def log(self) -> str:
        """All that it printed."""
        path = self.place / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def ask(self, body: Any, with_key: bool = True) -> tuple[int, Any]:
        """Code and answer of one prediction."""
        headers = {"Content-Type": "application/json"}
        if with_key:
            keys = json.loads((self.place / "key_file.json").read_text())
            headers["Authorization"] = f"Bearer {keys['inference']['key']}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['8080']}/predictions/{self.name}",
            data=json.dumps(body).encode(),
            headers=headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])
