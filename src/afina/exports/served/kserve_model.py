"""A KServe predictor (protocol v1) that answers by the released model beside this file.

python kserve_model.py --model_name NAME
POST /v1/models/NAME:predict {"instances": ["a text", "another"]}
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import kserve
from kserve.errors import InferenceError, InvalidInput

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from released_model import ReleasedModel, WrongInput  # noqa: E402


class Released(kserve.Model):  # type: ignore[misc]
    """The released model under KServe's name for it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.model: ReleasedModel | None = None

    def load(self) -> bool:
        """Compares the files' hashes, then loads the model."""
        self.model = ReleasedModel(HERE)
        self.ready = True
        return self.ready

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """`{"predictions": […]}`, one for each of `instances`. Errors do not quote a text."""
        if not isinstance(payload, dict) or "instances" not in payload:
            raise InvalidInput('the body must be an object with the key "instances"')
        assert self.model is not None
        try:
            return {"predictions": self.model.answer(payload["instances"], payload.get("parameters"))}
        except WrongInput as error:
            raise InvalidInput(str(error)) from None
        except Exception as error:  # its message may hold a part of the text
            raise InferenceError(f"the model could not answer ({type(error).__name__})") from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    given, _others = parser.parse_known_args()
    model = Released(given.model_name)
    model.load()
    kserve.ModelServer().start([model])
