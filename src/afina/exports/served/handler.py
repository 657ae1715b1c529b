"""The handler that Hugging Face's Inference Toolkit looks for: it asks the released model beside it.

Errors say what is wrong with a request and never quote it. The toolkit itself prints the body of each
request to its log; no handler can change that.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from released_model import ReleasedModel, WrongInput


class EndpointHandler:
    """Answers `{"inputs": …, "parameters": {…}}`.

    Args:
        path: the folder with the model; empty takes this file's own.
    """

    def __init__(self, path: str = "") -> None:
        self.model = ReleasedModel(path or Path(__file__).resolve().parent)

    def __call__(self, data: dict[str, Any]) -> list[Any]:
        """The answer to one request.

        Raises:
            ValueError: for a request that cannot be answered.
            RuntimeError: when the model failed; the message holds nothing of the request.
        """
        if not isinstance(data, dict) or "inputs" not in data:
            raise WrongInput('the body must be an object with the key "inputs"')
        try:
            found: list[Any] = self.model.answer(data["inputs"], data.get("parameters"))
            return found
        except WrongInput:
            raise
        except Exception as error:  # its message may hold a part of the text
            raise RuntimeError(f"the model could not answer ({type(error).__name__})") from None
