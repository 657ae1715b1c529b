"""A model that Afina released, by itself: this file needs torch, transformers and safetensors only.

Nothing is loaded before every file of the folder has the hash that manifest.json names. Texts are read
as in training: the same template, the same ids. No text is ever written to a log or into an error.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

TOKEN_BUDGET = 4096  # padded tokens of one forward pass
MOST_INPUTS = 256
MANIFEST_SCHEMA = "afina/manifest/1"
# What transformers or Python would read if it lay beside the listed files.
_READ = (".safetensors", ".bin", ".pt", ".pth", ".pkl", ".json", ".jinja", ".py", ".model")
_PARAMETERS = {
    "classify": {"top_k"},
    "generate": {"max_new_tokens", "temperature", "top_p", "do_sample", "seed", "return_full_text"},
}


class NotIntact(RuntimeError):
    """A file of the release is not the one that was written."""


class WrongInput(ValueError):
    """A request that cannot be answered; the message says why and holds nothing of the text."""


def verify(folder: Path) -> None:
    """Compares every file with manifest.json, and that with AFINA_MANIFEST_SHA256 if it is set.

    Raises:
        NotIntact: names the first file that is missing, changed, or not listed but would be read.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise NotIntact("manifest.json is missing: nothing says that these files are the released ones")
    wanted = os.environ.get("AFINA_MANIFEST_SHA256")
    if wanted and not hmac.compare_digest(_sha256(manifest), wanted.strip().lower()):
        raise NotIntact("manifest.json is not the one that AFINA_MANIFEST_SHA256 names")
    try:
        value = json.loads(manifest.read_text(encoding="utf-8"))
        known = value["schema"] == MANIFEST_SCHEMA
        hashes = {str(name): str(entry["sha256"]) for name, entry in value["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotIntact("manifest.json is damaged") from None
    if not known:
        raise NotIntact("manifest.json is damaged, or not one that Afina wrote")
    for name, digest in hashes.items():
        path = folder / name
        if not path.is_file() or not hmac.compare_digest(_sha256(path), digest):
            raise NotIntact(f"{name} is missing, changed or damaged: copy the export again")
    for path in folder.iterdir():
        if path.is_file() and path.suffix in _READ and path.name not in {*hashes, "manifest.json"}:
            raise NotIntact(f"{path.name} is not one of the released files: remove it")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ReleasedModel:
    """The model in a folder that `afina export` wrote.

    Args:
        folder: holds manifest.json, inference.json, the weights and the tokenizer.
    Raises:
        NotIntact: before anything is loaded.
    """

    def __init__(self, folder: str | Path) -> None:
        root = Path(folder)
        verify(root)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.settings: dict[str, Any] = json.loads((root / "inference.json").read_text(encoding="utf-8"))
        dtype = torch.bfloat16 if self.settings["precision"] == "bf16" else torch.float32
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(root), local_files_only=True)
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            str(root), dtype=dtype, local_files_only=True, use_safetensors=True
        )
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model.to(self.device).eval().requires_grad_(False)
        self.pad = int(self.settings["generation"]["pad_token_id"])
        self.ends = [int(end) for end in self.settings["generation"]["eos_token_ids"]]
        self.bos = self._begin()
        self.labels: list[str] = list(self.settings["labels"])
        self._controls = tuple(self.tokenizer.get_added_vocab())
        self._masker = _masker(self.settings)
        head = self.settings["head"]
        self._head: dict[str, Any] | None = None
        if head is not None and head["kind"] == "pooled":
            from safetensors.numpy import load_file

            self._head = load_file(str(root / head["path"]))

    def answer(self, inputs: Any, parameters: dict[str, Any] | None = None) -> list[Any]:
        """What serving asks for.

        Args:
            inputs: a text, a list of texts, or (for a model that writes) one conversation as a list of
                {"role", "content"}.
            parameters: top_k of the labels; max_new_tokens, temperature, top_p, do_sample, seed.
        Returns:
            For labels [{"label", "score"}, …] of a text, a list of those for a list; the label that is
            said comes first. For a model that writes [{"generated_text"}, …], one for each input.
        Raises:
            WrongInput: for other inputs or parameters.
        """
        kind = "classify" if self.settings["kind"] == "classify" else "generate"
        known = dict(parameters or {}) if isinstance(parameters, dict | None) else None
        if known is None or not set(known) <= _PARAMETERS[kind]:
            allowed = ", ".join(sorted(_PARAMETERS[kind]))
            raise WrongInput(f"parameters may only be an object with: {allowed}")
        if kind == "classify":
            texts = _texts(inputs)
            rows = self.ranked(texts, known.get("top_k"))
            return rows[0] if isinstance(inputs, str) else rows
        if _is_conversation(inputs):
            return [{"generated_text": self.write(inputs, known)}]
        return [{"generated_text": self.write(text, known)} for text in _texts(inputs)]

    def ranked(self, texts: list[str], top_k: Any = None) -> list[list[dict[str, Any]]]:
        """Labels with their calibrated probabilities, the one that is said first."""
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise WrongInput("top_k must be a whole number of 1 or more")
        found = []
        for row in self.probabilities(texts).tolist():
            order = sorted(range(len(row)), key=lambda place: -row[place])
            said = self._said(row)
            order = [said, *(place for place in order if place != said)][:top_k]
            found.append([{"label": self.labels[place], "score": row[place]} for place in order])
        return found

    def _said(self, row: list[float]) -> int:
        positive = self.settings["positive"]
        if positive is None or len(self.labels) != 2:
            return max(range(len(row)), key=lambda place: row[place])
        place = self.labels.index(positive)
        return place if row[place] >= self.settings["threshold"] else 1 - place

    def probabilities(self, texts: list[str]) -> Any:
        """Calibrated probabilities; [texts, labels]."""
        import numpy as np

        logits = self.logits(texts) / self.settings["temperature"]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def logits(self, texts: list[str]) -> Any:
        """Label logits before the temperature; [texts, labels]."""
        import numpy as np

        texts = texts if self._masker is None else [self._masker.text(text)[0] for text in texts]
        if self._head is None:
            return np.array([self._likelihoods(text) for text in texts])
        head = self._head
        means = self._means([self.encode_text(text) for text in texts])
        return ((means - head["mean"]) / head["scale"]) @ head["weight"].T + head["bias"]

    def write(self, asked: str | list[dict[str, str]], parameters: dict[str, Any]) -> str:
        """The answer to a text or a conversation; how a text goes on, for a model of texts."""
        import torch

        ids = self.prompt_ids(asked)
        given = torch.tensor([ids], device=self.device)
        seed = parameters.get("seed")
        with torch.inference_mode(), torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(int(seed))
            written = self.model.generate(
                input_ids=given, attention_mask=torch.ones_like(given), **self._options(parameters)
            )
        return str(self.tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True)).strip()

    def _options(self, parameters: dict[str, Any]) -> dict[str, Any]:
        own = self.settings["generation"]
        most = parameters.get("max_new_tokens", own["max_new_tokens"])
        limit = int(self.model.config.max_position_embeddings)
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= limit:
            raise WrongInput(f"max_new_tokens must be a whole number from 1 to {limit}")
        numbers = {name: parameters.get(name, own.get(name)) for name in ("temperature", "top_p")}
        for name, value in numbers.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise WrongInput(f"{name} must be a number")
        warm = parameters.get("do_sample", (numbers["temperature"] or 0) > 0)
        return {
            "max_new_tokens": most,
            "do_sample": bool(warm),
            "temperature": (numbers["temperature"] or 1.0) if warm else None,
            "top_p": numbers["top_p"] if warm else None,
            "top_k": None,
            "eos_token_id": self.ends,
            "pad_token_id": self.pad,
        }

    def prompt_ids(self, asked: str | list[dict[str, str]]) -> list[int]:
        """Token ids of what is asked, as in training."""
        if self.settings["kind"] == "text":
            if not isinstance(asked, str):
                raise WrongInput("this model goes on with a text; it knows no conversations")
            plain = self.tokenizer(asked, add_special_tokens=False)["input_ids"]
            return self._with_bos(list(plain))
        messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        if self._masker is not None:
            messages = self._masker.messages(messages)[0]
        instruction = self.settings["instruction"]
        if self.settings["kind"] == "generate" and instruction and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": instruction}, *messages]
        return self.chat_ids(messages)

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Ids of a conversation that the assistant is to answer."""
        text = self._render(messages, True)
        return self._with_bos(self._tokenize(text, [one["content"] for one in messages])[0])

    def encode_text(self, text: str) -> list[int]:
        """Ids of a bare text, cut at its end; a control token spelt out in it is plain text."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return self._with_bos(list(ids))[: self.settings["max_length"]] or [self.pad]

    def _means(self, encoded: list[list[int]]) -> Any:
        """Mean of the last layer's states over each text's own tokens, in fp32; [texts, hidden]."""
        import numpy as np
        import torch

        found: list[Any] = [None] * len(encoded)
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        while order:
            group = [order.pop(0)]
            while order and (len(group) + 1) * len(encoded[order[0]]) <= TOKEN_BUDGET:
                group.append(order.pop(0))
            width = len(encoded[group[-1]])
            ids = torch.full((len(group), width), self.pad)
            for place, row in enumerate(group):
                ids[place, : len(encoded[row])] = torch.tensor(encoded[row])
            with torch.inference_mode():  # padding comes after all that is read: no mask is needed
                states = self.model.model(input_ids=ids.to(self.device), use_cache=False)
            for place, row in enumerate(group):
                own = states.last_hidden_state[place, : len(encoded[row])].float()
                found[row] = own.mean(dim=0).cpu().numpy()
        return np.stack(found)

    def _likelihoods(self, text: str) -> list[float]:
        """Log-likelihood in nats of each label as the answer, its end token included."""
        import torch

        text = self._shortened(text)
        rows = [self._answered(text, label) for label in self.labels]
        width = max(len(ids) for ids, _start in rows)
        ids = torch.full((len(rows), width), self.pad)
        for place, (row, _start) in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        found = []
        with torch.inference_mode():
            states = self.model.model(input_ids=ids.to(self.device), use_cache=False).last_hidden_state
            for place, (row, start) in enumerate(rows):
                logits = self.model.lm_head(states[place, start - 1 : len(row) - 1]).float()
                goals = torch.tensor(row[start:], device=logits.device)
                losses = torch.nn.functional.cross_entropy(logits, goals, reduction="none")
                found.append(-float(losses.double().sum()))
        return found

    def _asked(self, text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"{self.settings['instruction']}\n\n{text}"}]

    def _answered(self, text: str, label: str) -> tuple[list[int], int]:
        """Ids of the question with this answer up to its end token, and where the answer begins."""
        messages = self._asked(text)
        before = len(self._render(messages, True))
        messages = [*messages, {"role": "assistant", "content": label}]
        ids, places = self._tokenize(self._render(messages), [one["content"] for one in messages])
        inside = [place for place, (left, right) in enumerate(places) if before <= left < right]
        last = max(place for place in inside if ids[place] in self.ends)
        whole = self._with_bos(ids)
        moved = len(whole) - len(ids)
        return whole[: last + 1 + moved], inside[0] + moved

    def _shortened(self, text: str) -> str:
        """The text, cut at its end so that it fits with the longest label, as in training."""
        longest = max(self.labels, key=lambda label: len(self.tokenizer(label)["input_ids"]))
        limit = int(self.settings["max_length"])
        if self._length(text, longest) <= limit:
            return text
        room = max(1, limit - self._length("", longest) - 2)
        text = self._fit(text, room)
        while self._length(text, longest) > limit + len(self.labels) and room > 1:
            room -= 1
            text = self._fit(text, room)
        return text

    def _length(self, text: str, label: str) -> int:
        messages = [*self._asked(text), {"role": "assistant", "content": label}]
        ids, _places = self._tokenize(self._render(messages), [one["content"] for one in messages])
        return len(self._with_bos(ids))

    def _fit(self, text: str, room: int) -> str:
        while True:
            found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            if len(found["input_ids"]) <= room or room < 1:
                return text if room >= 1 else ""
            text = text[: found["offset_mapping"][room - 1][1]]
            again = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            room -= len(again) >= len(found["input_ids"])

    def _render(self, messages: list[dict[str, str]], answer_follows: bool = False) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    chat_template=self.settings["template"],
                    add_generation_prompt=answer_follows,
                    date_string=self.settings["date"],
                )
            )
        except Exception:  # Jinja's own kinds; their messages may quote what was asked
            raise WrongInput("the chat template refuses these roles") from None

    def _tokenize(self, text: str, contents: list[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and places of rendered text, in which only the template may write control tokens."""
        ids: list[int] = []
        places: list[tuple[int, int]] = []

        def add(start: int, stop: int, plain: bool) -> None:
            part = self.tokenizer(
                text[start:stop],
                add_special_tokens=False,
                return_offsets_mapping=True,
                split_special_tokens=plain,
            )
            ids.extend(part["input_ids"])
            places.extend((left + start, right + start) for left, right in part["offset_mapping"])

        done = reached = 0
        for content in contents:
            written = content.strip()
            start = text.find(written, reached)
            reached = start + len(written) if start >= 0 else reached
            if any(control in written for control in self._controls):
                if start < 0:
                    raise WrongInput("the chat template changed a text with control tokens in it")
                add(done, start, False)
                add(start, reached, True)
                done = reached
        add(done, len(text), False)
        return ids, places

    def _begin(self) -> int | None:
        empty = list(self.tokenizer("")["input_ids"])
        found: int | None = self.tokenizer.get_vocab().get("<|begin_of_text|>")
        return empty[0] if empty else found

    def _with_bos(self, ids: list[int]) -> list[int]:
        return [self.bos, *ids] if self.bos is not None and ids[:1] != [self.bos] else ids


def _texts(inputs: Any) -> list[str]:
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise WrongInput("inputs must be a text or a list of texts")
    if len(texts) > MOST_INPUTS:
        raise WrongInput(f"inputs may hold at most {MOST_INPUTS} texts")
    return texts


def _is_conversation(inputs: Any) -> bool:
    if not isinstance(inputs, list) or not inputs or not isinstance(inputs[0], dict):
        return False
    for turn in inputs:
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            raise WrongInput('a conversation is a list of {"role", "content"}')
        if not all(isinstance(value, str) for value in turn.values()):
            raise WrongInput("role and content must be texts")
    return True


def _masker(settings: dict[str, Any]) -> Any:
    """What puts placeholders for personal data, for a model that was trained on such texts."""
    if settings.get("personal", "keep") != "mask":
        return None
    try:
        from afina.personal.masking import masker_of
    except ImportError:
        raise NotIntact(
            "this model was trained on masked texts: install afina, which masks them"
        ) from None
    return masker_of(settings["personal"], settings.get("names"))
