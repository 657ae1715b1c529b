"""Uploads a release to the Hugging Face Hub in one commit, and compares what the Hub has then."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.language import _
from afina.models.hub_errors import hub_answers
from afina.releases.leaving import LeavingFile
from afina.runs.files import sha256_of

_OF_THE_HUB = (".gitattributes",)  # the Hub makes it with the repository
_NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")


def check_repository(repository: str) -> None:
    """Refuses what is no ORG/NAME that the Hub takes."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repository)
        right = repository.count("/") == 1
    except HFValidationError:
        right = False
    if not right:
        raise AfinaError(
            _("`{name}` is no repository of the Hub").format(name=repository),
            where="--hub",
            fix=_("write ORG/NAME, of letters, digits, -, _ and ."),
        )


def upload(
    repository: str,
    release: Path,
    files: list[LeavingFile],
    public: bool,
    replace: bool,
    title: str,
    say: Callable[[str], None],
) -> str:
    """Uploads the files as one commit; what the Hub has afterwards is compared with their hashes.

    Args:
        public: a new repository is visible to everyone. replace: other files in it are removed.
        title: of the run, for the commit's message.
    Returns:
        The commit's address.
    Raises:
        AfinaError: offline, without a token, when the Hub refuses, when the repository holds other
            files or is public without `public`, or when a file arrived otherwise.
    """
    from huggingface_hub import HfApi, constants, get_token

    if not hub_answers():
        raise AfinaError(
            _("the Hub cannot be reached: nothing was sent"),
            where=constants.ENDPOINT,
            fix=_("connect to the network, or leave out HF_HUB_OFFLINE, and try again"),
        )
    token = get_token()
    if token is None:
        raise AfinaError(
            _("there is no token for the Hub: nothing was sent"),
            fix=_("run `hf auth login` with a token that may write, or set HF_TOKEN"),
        )
    api = HfApi(token=token, library_name="afina")
    try:
        parent, stale = _open(api, repository, files, public, replace, say)
        say(_("sending {count} files to {repository}").format(count=len(files), repository=repository))
        commit = _commit(api, repository, release, files, parent, stale, title)
        say(_("comparing what the Hub has with what was sent"))
        wrong = _differences(api, repository, str(commit.oid), files)
    except AfinaError:
        raise
    except Exception as error:
        raise _explained(error, repository) from None
    if wrong:
        raise AfinaError(
            _("the Hub has something else than was sent: {files}").format(files=", ".join(wrong)),
            where=str(commit.commit_url),
            fix=_("remove the repository or this commit, and publish again"),
        )
    return str(commit.commit_url)


def _open(
    api: Any,
    repository: str,
    files: list[LeavingFile],
    public: bool,
    replace: bool,
    say: Callable[[str], None],
) -> tuple[str | None, list[str]]:
    """Makes the repository, or looks at the one that is there. Returns its commit and stale files."""
    api.create_repo(repository, private=not public, exist_ok=True)
    info = api.repo_info(repository)
    if not public and info.private is False:
        raise AfinaError(
            _("this repository is public: everyone could read the model"),
            where=repository,
            fix=_("add --public if that is meant, or choose another name"),
        )
    if public and info.private:
        say(_("the repository is private and stays so: its settings on the Hub change that"))
    own = {one.path for one in files}
    there = api.list_repo_files(repository, revision=info.sha)
    stale = sorted(name for name in there if name not in own and name not in _OF_THE_HUB)
    if stale and not replace:
        raise AfinaError(
            _("the repository holds other files: {files}").format(files=", ".join(stale[:10])),
            where=repository,
            fix=_("add --replace to remove them in the same commit, or choose another name"),
        )
    return info.sha, stale


def _commit(
    api: Any,
    repository: str,
    release: Path,
    files: list[LeavingFile],
    parent: str | None,
    stale: list[str],
    title: str,
) -> Any:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [CommitOperationDelete(name) for name in stale]
    operations += [CommitOperationAdd(one.path, str(release / one.path)) for one in files]
    message = f"Release of {title}"
    return api.create_commit(repository, operations, commit_message=message, parent_commit=parent)


def _differences(api: Any, repository: str, commit: str, files: list[LeavingFile]) -> list[str]:
    """The files that the Hub does not have as they were sent.

    Of large files the Hub tells the SHA-256 under which it keeps them; small ones, which it keeps by
    another hash, are downloaded again.
    """
    found = {
        one.path: one
        for one in api.get_paths_info(repository, [one.path for one in files], revision=commit)
    }
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            there = found.get(file.path)
            if there is None or there.size != file.bytes:
                wrong.append(file.path)
                continue
            if there.lfs is not None:
                digest = str(there.lfs.sha256)
            else:
                digest = sha256_of(
                    Path(
                        api.hf_hub_download(
                            repository,
                            file.path,
                            revision=commit,
                            local_dir=folder,
                            force_download=True,
                        )
                    )
                )
            if digest != file.sha256:
                wrong.append(file.path)
    return wrong


def _explained(error: Exception, repository: str) -> AfinaError:
    """What a person should read of an error of the Hub's client; others are raised again."""
    from huggingface_hub import errors

    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status in (401, 403):
        return AfinaError(
            _("the Hub refuses your token for this repository"),
            where=repository,
            fix=_("run `hf auth login` with a token that may write there, and check ORG"),
        )
    if status in (409, 412):
        return AfinaError(
            _("the repository changed while the files were sent: nothing of them is visible"),
            where=repository,
            fix=_("look at what was changed, then publish again"),
        )
    text = (str(error).splitlines() or [""])[0][:300]
    if isinstance(error, ValueError) and "README.md" in str(error):
        return AfinaError(
            _("the Hub refuses the card's head: {error}").format(error=text), where=repository
        )
    known = (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError, RuntimeError)
    of_network = any(
        kind.__module__.partition(".")[0] in _NETWORK_LIBRARIES for kind in type(error).__mro__
    )
    if isinstance(error, known) or of_network:
        return AfinaError(
            _("the Hub did not take the files: {error}").format(error=text or type(error).__name__),
            where=repository,
            fix=_("what was sent is visible only after the last step; publish again"),
        )
    raise error
