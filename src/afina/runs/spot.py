"""Spot machines: reads the cloud's notice that it takes the machine back, in a light thread of its own.

What is asked, and what counts as a notice:

- aws: `spot/instance-action` by IMDSv2 (a token first); 404 until there is one, two minutes ahead.
  https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
- google: `instance/preempted` becoming TRUE, thirty seconds ahead, and `instance/maintenance-event`
  becoming TERMINATE_ON_HOST_MAINTENANCE. https://cloud.google.com/compute/docs/instances/preemptible
- azure: a Preempt or Terminate event for this machine in Scheduled Events, thirty seconds ahead.
  https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events

An address that does not answer never stops anything: it is said once, and asked again later.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from afina.errors import AfinaError
from afina.language import _
from afina.runs.signals import announce, forget_notices

Cloud = Literal["aws", "google", "azure"]
ADDRESS = "http://169.254.169.254"
ADDRESS_VARIABLE = "AFINA_METADATA"  # for tests, and for proxies of the metadata address
PACE = 2.0  # seconds between two questions
WITHOUT_ANSWER = 10.0  # seconds between two questions to an address that does not answer
_AZURE_VERSION = "2020-07-01"


class SpotWatch:
    """Inside `with`, a thread asks the cloud; a notice is announced as signals.announce does.

    Args:
        cloud: whom to ask; None starts no thread.
        say: told once when the address does not answer.
    """

    def __init__(
        self, cloud: Cloud | None, say: Callable[[str], None] = lambda _text: None, pace: float = PACE
    ) -> None:
        self._cloud, self._say, self._pace = cloud, say, pace
        address = os.environ.get(ADDRESS_VARIABLE, ADDRESS)
        self._host = urlsplit(address).netloc
        if cloud is not None and (not self._host or urlsplit(address).scheme != "http"):
            raise AfinaError(
                _("{name} must be of the form http://HOST:PORT").format(name=ADDRESS_VARIABLE),
                where=address,
            )
        self._over = threading.Event()
        self._token: str | None = None
        self._name: str | None = None
        self._asked_before = False

    def __enter__(self) -> Self:
        forget_notices()
        if self._cloud is not None:
            # A daemon that nobody waits for: a question to Google stays open for seconds.
            threading.Thread(target=self._watch, name="afina-spot", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        ask = {"aws": self._aws, "google": self._google, "azure": self._azure}[str(self._cloud)]
        said = False
        while not self._over.is_set():
            began, wait = time.monotonic(), self._pace
            try:
                notice = ask()
            except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
                notice, wait = None, max(self._pace, WITHOUT_ANSWER)
                if not said and not self._over.is_set():
                    self._say(
                        _(
                            "train.spot: {cloud}: the metadata address http://{host} does not answer as "
                            "it should ({error}); its notices cannot be read, SIGTERM still works"
                        ).format(cloud=self._cloud, host=self._host, error=_first_line(error))
                    )
                    said = True
            if notice is not None and not self._over.is_set():
                announce(notice)
                return
            self._over.wait(max(0.0, wait - (time.monotonic() - began)))

    def _ask(
        self, path: str, headers: dict[str, str], method: str = "GET", timeout: float = 3.0
    ) -> tuple[int, str]:
        """Status and text of one answer; no proxy, no redirect."""
        connection = HTTPConnection(self._host, timeout=timeout)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(1 << 20).decode("utf-8", "replace").strip()
        finally:
            connection.close()

    def _aws(self) -> str | None:
        if self._token is None:
            life = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            self._token = _found(self._ask("/latest/api/token", life, method="PUT"))
        key = {"X-aws-ec2-metadata-token": self._token}
        status, text = self._ask("/latest/meta-data/spot/instance-action", key)
        if status == 401:  # the token is too old
            self._token = None
            return None
        if status == 404:
            return None
        told = json.loads(_found((status, text)))
        return _("notice of AWS: this machine is taken back ({action} at {time})").format(
            action=told["action"], time=told["time"]
        )

    def _google(self) -> str | None:
        place, key = "/computeMetadata/v1/instance/", {"Metadata-Flavor": "Google"}
        question = f"{place}preempted"
        if self._asked_before:  # the answer comes when it changes, or after five seconds
            question += "?wait_for_change=true&timeout_sec=5"
        preempted = _found(self._ask(question, key, timeout=15.0))
        self._asked_before = True
        if preempted.upper() == "TRUE":
            return _("notice of Google Cloud: this machine is preempted")
        event = _found(self._ask(f"{place}maintenance-event", key))
        if event.startswith("TERMINATE"):
            return _("notice of Google Cloud: this machine is taken back ({event})").format(event=event)
        return None

    def _azure(self) -> str | None:
        key = {"Metadata": "true"}
        # The first question switches the service on, which can take two minutes.
        path = f"/metadata/scheduledevents?api-version={_AZURE_VERSION}"
        told = json.loads(_found(self._ask(path, key, timeout=150.0)))
        events = [one for one in told["Events"] if one.get("EventType") in ("Preempt", "Terminate")]
        if not events:
            return None
        if self._name is None:
            path = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
            status, text = self._ask(path, key)
            self._name = text if status == 200 else ""
        for event in events:
            meant = event.get("Resources") or []
            if not self._name or not meant or self._name in meant:  # events of neighbours come too
                return _("notice of Azure: this machine is taken back ({event} at {time})").format(
                    event=event["EventType"], time=event.get("NotBefore") or _("once")
                )
        return None


def _found(answer: tuple[int, str]) -> str:
    """The text of an answer that is one. Raises ValueError for any other status."""
    status, text = answer
    if status != 200:
        raise ValueError(f"status {status}")
    return text


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
