"""Classifies texts by the pooled head on the mean states that vLLM serves (start it with ./serve.sh):

    python classify.py --server http://127.0.0.1:8000 "a text" "another text"

Needs numpy, safetensors and tokenizers. The texts are read here, so that the ids are those of training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent


def verify(folder: Path) -> None:
    """Stops when a file is not the one that was exported."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["schema"] != "afina/manifest/1":
        raise SystemExit("manifest.json is not one that Afina wrote")
    for name, entry in manifest["files"].items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                raise SystemExit(f"{name} was changed or damaged: copy the export again")


class Classifier:
    """Labels of texts.

    Args:
        folder: what `afina export RUN --to vllm` wrote. server: vLLM's address.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.settings = json.loads((folder / "inference.json").read_text(encoding="utf-8"))
        self.head = load_file(str(folder / self.settings["head"]["path"]))
        self.tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # one that is spelt out in a text is plain text
        note = json.loads((folder / "vllm.json").read_text(encoding="utf-8"))
        self.name = str(note["served_model_name"])
        self.server = server.rstrip("/")
        # What this model's texts begin with, if with anything.
        self.bos: int | None = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))["bos"]

    def encode(self, text: str) -> list[int]:
        """Token ids as in training, cut at their end."""
        ids = list(self.tokenizer.encode(text, add_special_tokens=False).ids)
        if self.bos is not None and ids[:1] != [self.bos]:
            ids = [self.bos, *ids]
        return ids[: self.settings["max_length"]] or [self.settings["generation"]["pad_token_id"]]

    def logits(self, texts: list[str]) -> Any:
        """Label logits before the temperature; [texts, labels]."""
        body = {"model": self.name, "input": [self.encode(text) for text in texts]}
        headers = {"Content-Type": "application/json"}
        if os.environ.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {os.environ['VLLM_API_KEY']}"
        request = urllib.request.Request(  # noqa: S310
            f"{self.server}/v1/embeddings", data=json.dumps(body).encode("utf-8"), headers=headers
        )
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
            data = sorted(json.load(answer)["data"], key=lambda one: int(one["index"]))
        means = np.array([one["embedding"] for one in data], dtype=np.float32)
        return ((means - self.head["mean"]) / self.head["scale"]) @ self.head["weight"].T + self.head[
            "bias"
        ]

    def classify(self, texts: list[str]) -> list[dict[str, float]]:
        """The probability of each label for each text."""
        if self.settings.get("personal") == "mask":
            raise SystemExit("this model was trained on masked texts: mask them with afina first")
        scaled = self.logits(texts) / self.settings["temperature"]
        odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True)
        return [dict(zip(self.settings["labels"], map(float, row), strict=True)) for row in shares]


def main() -> None:
    """Prints one JSON line for each text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    given = parser.parse_args()
    verify(HERE)
    for row in Classifier(HERE, given.server).classify(given.texts):
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
