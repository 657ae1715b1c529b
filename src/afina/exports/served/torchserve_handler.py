"""The handler in a TorchServe archive: it answers by the released model that lies beside it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from released_model import NotIntact, ReleasedModel, WrongInput

_LOG = logging.getLogger(__name__)


class AfinaHandler:
    """A batch of requests, each `{"inputs": …, "parameters": {…}}` or a plain text."""

    def __init__(self) -> None:
        self.model: ReleasedModel | None = None

    def initialize(self, context: Any) -> None:
        """Compares the files' hashes, then loads the model. Called once by each worker."""
        try:
            self.model = ReleasedModel(Path(context.system_properties["model_dir"]))
        except NotIntact as error:
            _LOG.error("refused to load: %s", error)
            raise

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One answer for each request, in their order; a wrong one gets a message and code 400."""
        answers: list[Any] = []
        for place, request in enumerate(data):
            try:
                inputs, parameters = _asked(request)
                assert self.model is not None
                answers.append(self.model.answer(inputs, parameters))
                code, said = 200, "OK"
            except WrongInput as error:
                code, said = 400, str(error)
            except Exception as error:  # its message may hold a part of the text
                code, said = 500, f"the model could not answer ({type(error).__name__})"
            if code != 200:
                answers.append({"code": code, "error": said})
            # TorchServe wants these by the request's place in the batch.
            context.set_response_status(code=code, phrase="" if code == 200 else "refused", idx=place)
        return answers


def _asked(request: dict[str, Any]) -> tuple[Any, Any]:
    """Inputs and parameters of one request."""
    body = request.get("body", request.get("data", request))
    if isinstance(body, bytes | bytearray):
        try:
            text = bytes(body).decode("utf-8")
        except UnicodeDecodeError:
            raise WrongInput("the body is not UTF-8") from None
        try:
            body = json.loads(text)
        except ValueError:
            body = text
    if isinstance(body, dict):
        if "inputs" not in body:
            raise WrongInput('the body must be a text or an object with the key "inputs"')
        return body["inputs"], body.get("parameters")
    return body, None
