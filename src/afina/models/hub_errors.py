"""Whether the Hub answers, and what a person reads when it does not give a model."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

from afina.errors import AfinaError, BaseModelError
from afina.language import _
from afina.runs.files import storage_error

# The Hub's client has changed its HTTP library twice: errors are known by where they come from.
_NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")


def hub_answers(timeout: float = 5.0) -> bool:
    """Whether the Hub's address takes a connection, in seconds: its client would try for half a minute.

    Behind a proxy nothing can be said: then it is the client's business.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    if urllib.request.getproxies():
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout):
            return True
    except OSError:
        return False


def hub_error(error: Exception, model: str, where: str) -> AfinaError:
    """The error for a person.

    Args:
        error: what huggingface_hub raised.
        model: the Hub id; where: the same with its revision.
    Raises:
        Exception: the given error, when it is none that a person can put right.
    """
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return BaseModelError(
            _("the licence of this model has not been accepted with your account"),
            where=where,
            fix=_(
                "open https://huggingface.co/{model} while logged in, accept the licence, then run "
                "`hf auth login` (or set HF_TOKEN) and try again"
            ).format(model=model),
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BaseModelError(
            _("the Hub has this model, but not this revision"), where=where, fix=_("check base.revision")
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return BaseModelError(
            _("the Hub has no such model, or it is private and you are not logged in"),
            where=where,
            fix=_("check base.model; for a private or gated model run `hf auth login`"),
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(
        error, errors.LocalEntryNotFoundError
    ):
        return BaseModelError(
            _("this repository of the Hub holds no model: config.json is missing"),
            where=where,
            fix=_("choose a repository with config.json and .safetensors weights"),
        )
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return BaseModelError(
            _("the Hub refuses your token for this model"),
            where=where,
            fix=_("run `hf auth login` with a token that may read it, or remove HF_TOKEN"),
        )
    full = storage_error(error)
    if full is not None:
        return full
    if _is_of_the_network(error):
        return _unreachable(error, where)
    raise error


def _is_of_the_network(error: Exception) -> bool:
    from huggingface_hub import errors

    known = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError, OSError)
    if isinstance(error, known):
        return True
    return any(kind.__module__.partition(".")[0] in _NETWORK_LIBRARIES for kind in type(error).__mro__)


def _unreachable(error: Exception, where: str) -> BaseModelError:
    return BaseModelError(
        _("the Hub cannot be reached, and this model is not in the local cache"),
        where=where,
        fix=_(
            "connect once to download it, use `base: embedded`, or point base.model at a folder or "
            ".gguf file ({error})"
        ).format(error=type(error).__name__),
    )
