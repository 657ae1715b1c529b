"""A Ray Serve application that answers by the released model beside this file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ray import serve

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from released_model import ReleasedModel, WrongInput  # noqa: E402


@serve.deployment
class Released:
    """Answers POST with `{"inputs": …, "parameters": {…}}`; GET says that it is there."""

    def __init__(self, folder: str) -> None:
        self.model = ReleasedModel(folder)

    async def __call__(self, request: Any) -> Any:
        """The answer; 400 with a message for a wrong request. Neither quotes the text."""
        from starlette.responses import JSONResponse

        if request.method == "GET":
            return "Ok"
        try:
            try:
                body = await request.json()
            except ValueError:
                raise WrongInput("the body is not JSON") from None
            if not isinstance(body, dict) or "inputs" not in body:
                raise WrongInput('the body must be an object with the key "inputs"')
            return self.model.answer(body["inputs"], body.get("parameters"))
        except WrongInput as error:
            return JSONResponse({"error": str(error)}, 400)
        except Exception as error:  # its message may hold a part of the text
            return JSONResponse({"error": f"the model could not answer ({type(error).__name__})"}, 500)


app = Released.bind(str(HERE))  # type: ignore[attr-defined]
