"""Classifies texts with the GGUF file beside this file: llama.cpp makes the mean state, the pooled head
reads it. Needs numpy, safetensors, and either llama-cpp-python or a running llama-server:

    python classify.py "a text" "another text"
    llama-server -m model.gguf --embedding --pooling mean --embd-normalize -1 -c 4096 -b 4096 -ub 4096
    python classify.py --server http://127.0.0.1:8080 "a text"

The mean must not be normalised (`--embd-normalize -1`): the head was trained on its length too. Ollama
normalises every embedding, so that it cannot serve this head.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
# Token ids to their mean state; a text to its token ids, control tokens in it read as plain text.
Embed = Callable[[list[int]], Any]
Tokenize = Callable[[str], list[int]]


def verify(folder: Path) -> None:
    """Stops when a file is not the one that was exported."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["schema"] != "afina/manifest/1":
        raise SystemExit("manifest.json is not one that Afina wrote")
    for name, entry in manifest["files"].items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                raise SystemExit(f"{name} was changed or damaged: copy the export again")


def in_process(path: Path, longest: int, threads: int | None = None) -> tuple[Tokenize, Embed]:
    """llama.cpp in this process; its threads wait for each other, so take fewer on a busy machine."""
    import llama_cpp

    size = max(512, longest)
    model = llama_cpp.Llama(
        str(path),
        embedding=True,
        pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN,
        n_ctx=size,
        n_batch=size,
        n_ubatch=size,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    begins = model._model.add_bos_token()

    def tokenize(text: str) -> list[int]:
        return list(model.tokenize(text.encode("utf-8"), add_bos=begins, special=False))

    def embed(ids: list[int]) -> Any:
        model._ctx.kv_cache_clear()
        model._batch.reset()
        model._batch.add_sequence(ids, 0, True)  # every token is read, for the mean
        model._ctx.decode(model._batch)
        found = llama_cpp.llama_get_embeddings_seq(model._ctx.ctx, 0)
        return np.array(found[: model.n_embd()], dtype=np.float32)

    return tokenize, embed


def by_server(address: str) -> tuple[Tokenize, Embed]:
    """A llama-server."""

    def post(path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310
            address.rstrip("/") + path,
            data=json.dumps(body).encode("utf-8"),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
            return json.load(answer)

    def tokenize(text: str) -> list[int]:
        asked = {"content": text, "add_special": True, "parse_special": False}
        return [int(number) for number in post("/tokenize", asked)["tokens"]]

    def embed(ids: list[int]) -> Any:
        found = post("/embedding", {"content": ids, "embd_normalize": -1})
        vector = (found[0] if isinstance(found, list) else found)["embedding"]
        return np.array(vector[0] if isinstance(vector[0], list) else vector, dtype=np.float32)

    return tokenize, embed


class Classifier:
    """Labels of texts.

    Args:
        folder: what `afina export RUN --to gguf` wrote. tokenize, embed: llama.cpp, one way or another.
    """

    def __init__(self, folder: Path, tokenize: Tokenize, embed: Embed) -> None:
        self.settings = json.loads((folder / "inference.json").read_text(encoding="utf-8"))
        self.head = load_file(str(folder / self.settings["head"]["path"]))
        self.tokenize, self.embed = tokenize, embed

    def encode(self, text: str) -> list[int]:
        """Token ids as in training, cut at their end."""
        ids = self.tokenize(text)[: self.settings["max_length"]]
        return ids or [self.settings["generation"]["pad_token_id"]]

    def logits(self, text: str) -> Any:
        """Label logits before the temperature; [labels]."""
        head = self.head
        mean = self.embed(self.encode(text))
        return head["weight"] @ ((mean - head["mean"]) / head["scale"]) + head["bias"]

    def classify(self, text: str) -> dict[str, float]:
        """The probability of each label."""
        if self.settings.get("personal") == "mask":
            raise SystemExit("this model was trained on masked texts: mask them with afina first")
        scaled = self.logits(text) / self.settings["temperature"]
        odds = np.exp(scaled - scaled.max())
        shares = odds / odds.sum()
        return dict(zip(self.settings["labels"], map(float, shares), strict=True))


def main() -> None:
    """Prints one JSON line for each text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--server", help="address of a llama-server; without it llama.cpp runs here")
    given = parser.parse_args()
    verify(HERE)
    settings = json.loads((HERE / "inference.json").read_text(encoding="utf-8"))
    if given.server:
        tokenize, embed = by_server(given.server)
    else:
        tokenize, embed = in_process(HERE / "model.gguf", settings["max_length"])
    classifier = Classifier(HERE, tokenize, embed)
    for text in given.texts:
        print(json.dumps(classifier.classify(text), ensure_ascii=False))


if __name__ == "__main__":
    main()
