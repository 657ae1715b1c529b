"""Writes answers token by token, for chat and for the samples of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

from afina.inference.states import measuring
from afina.models.tokenizer import Tokens


def generation_settings(tokens: Tokens, max_new_tokens: int = 256) -> dict[str, Any]:
    """What inference.json keeps about generation; temperature 0 takes the likeliest token."""
    return {
        "max_new_tokens": max_new_tokens,
        "temperature": 0.0,
        "eos_token_ids": sorted(tokens.ends),
        "pad_token_id": tokens.pad,
    }


def answer(model: Any, tokens: Tokens, messages: list[dict[str, str]], settings: dict[str, Any]) -> str:
    """The model's answer to a conversation."""
    return "".join(stream(model, tokens, messages, settings))


def stream(
    model: Any, tokens: Tokens, messages: list[dict[str, str]], settings: dict[str, Any]
) -> Iterator[str]:
    """The model's answer in pieces, as they are written."""
    import torch
    from transformers import TextIteratorStreamer

    ids = tokens.encode_chat(messages)
    given = torch.tensor([ids], device=model.device)
    pieces = TextIteratorStreamer(tokens.tokenizer, skip_prompt=True, skip_special_tokens=True)
    failure: list[BaseException] = []

    def work() -> None:
        try:
            with measuring(model):
                model.generate(
                    input_ids=given,
                    attention_mask=torch.ones_like(given),
                    streamer=pieces,
                    **_options(settings),
                )
        except BaseException as error:  # handed to the reader below
            failure.append(error)
            pieces.end()

    worker = Thread(target=work, daemon=True)
    worker.start()
    yield from pieces
    worker.join()
    if failure:
        raise failure[0]


def continue_text(model: Any, tokens: Tokens, text: str, settings: dict[str, Any]) -> str:
    """How the model goes on with a text."""
    import torch

    given = torch.tensor([tokens.encode(text)], device=model.device)
    with measuring(model):
        ids = model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), **_options(settings)
        )
    return str(tokens.tokenizer.decode(ids[0, given.shape[1] :], skip_special_tokens=True))


def _options(settings: dict[str, Any]) -> dict[str, Any]:
    warm = settings["temperature"] > 0
    return {
        "max_new_tokens": settings["max_new_tokens"],
        "do_sample": warm,
        "temperature": settings["temperature"] if warm else None,
        "top_p": settings.get("top_p") if warm else None,
        "top_k": None,
        "eos_token_id": settings["eos_token_ids"],
        "pad_token_id": settings["pad_token_id"],
    }
