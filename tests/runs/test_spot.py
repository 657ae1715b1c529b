"""Notices of the clouds, read from a stand-in of their metadata addresses over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from afina.errors import AfinaError, Stopped
from afina.runs import spot
from afina.runs.signals import StopSignal, forget_notices
from afina.runs.spot import ADDRESS_VARIABLE, SpotWatch


class Cloud(ThreadingHTTPServer):
    """A metadata address that says what a test wants; notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self.taken = threading.Event()
        self.maintenance = "NONE"
        self.token = "first"
        self.events: list[dict] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Cloud

    def log_message(self, *_given: object) -> None:
        """Nothing on the terminal."""

    def _say(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def _need(self, name: str, wanted: str) -> bool:
        if self.headers.get(name) == wanted:
            return True
        self.server.faults.append(f"{self.path}: {name} is {self.headers.get(name)!r}")
        self._say(401 if "token" in name else 403)
        return False

    def do_PUT(self) -> None:
        self.server.asked.append(("PUT", self.path))
        if self.path == "/latest/api/token" and self._need(
            "X-aws-ec2-metadata-token-ttl-seconds", "21600"
        ):
            self._say(200, self.server.token)

    def do_GET(self) -> None:
        cloud, place = self.server, urlsplit(self.path)
        cloud.asked.append(("GET", self.path))
        if place.path == "/latest/meta-data/spot/instance-action":
            if self._need("X-aws-ec2-metadata-token", cloud.token):
                told = {"action": "terminate", "time": "2026-11-25T08:22:00Z"}
                self._say(*((200, json.dumps(told)) if cloud.taken.is_set() else (404, "")))
        elif place.path.startswith("/computeMetadata/v1/instance/"):
            if self._need("Metadata-Flavor", "Google"):
                query = parse_qs(place.query)
                if place.path.endswith("/preempted"):
                    if query.get("wait_for_change") == ["true"]:
                        cloud.taken.wait(min(1.0, float(query["timeout_sec"][0])))
                    self._say(200, "TRUE" if cloud.taken.is_set() else "FALSE")
                else:
                    self._say(200, cloud.maintenance)
        elif place.path == "/metadata/scheduledevents":
            if self._need("Metadata", "true") and parse_qs(place.query)["api-version"]:
                self._say(200, json.dumps({"DocumentIncarnation": 1, "Events": cloud.events}))
        elif place.path == "/metadata/instance/compute/name":
            self._say(200, "mine")
        else:
            self._say(404)


@pytest.fixture
def cloud(monkeypatch) -> Iterator[Cloud]:
    server = Cloud()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(ADDRESS_VARIABLE, server.address)
    yield server
    server.shutdown()
    server.server_close()
    forget_notices()


def stopped(cloud_name: str, cloud: Cloud, take) -> Stopped:
    """The error at a safe point after `take` made the cloud take the machine back."""
    with pytest.raises(Stopped) as caught, SpotWatch(cloud_name, pace=0.02), StopSignal() as stop:  # noqa: PT012
        for _turn in range(20):  # nothing happens before there is a notice
            stop.check()
            time.sleep(0.01)
        take()
        for _turn in range(1000):
            stop.check()
            time.sleep(0.01)
    assert caught.value.exit_code == 3
    return caught.value


def test_aws_by_a_token_that_is_asked_for_again(cloud):
    def take() -> None:
        cloud.token = "second"  # the first one is no longer good
        cloud.taken.set()

    what = stopped("aws", cloud, take).what
    assert "notice of AWS: this machine is taken back (terminate at 2026-11-25T08:22:00Z)" in what
    assert "what was done is kept" in what
    assert [method for method, _path in cloud.asked].count("PUT") == 2
    assert all("ttl" not in fault for fault in cloud.faults)


def test_google_preempts(cloud):
    error = stopped("google", cloud, cloud.taken.set)
    assert error.what.startswith("notice of Google Cloud: this machine is preempted")
    assert "the same command" in str(error.fix)
    assert any("wait_for_change=true" in path for _method, path in cloud.asked)
    assert cloud.faults == []


def test_google_maintains_and_only_an_end_is_a_notice(cloud):
    cloud.maintenance = "MIGRATE_ON_HOST_MAINTENANCE"

    def take() -> None:
        cloud.maintenance = "TERMINATE_ON_HOST_MAINTENANCE"

    assert "(TERMINATE_ON_HOST_MAINTENANCE)" in stopped("google", cloud, take).what


def test_azure_takes_this_machine_and_not_its_neighbour(cloud):
    def event(kind: str, name: str) -> dict:
        return {"EventId": "1", "EventType": kind, "Resources": [name], "NotBefore": "soon"}

    cloud.events = [event("Preempt", "other"), event("Freeze", "mine")]
    error = stopped("azure", cloud, lambda: cloud.events.append(event("Preempt", "mine")))
    assert error.what.startswith("notice of Azure: this machine is taken back (Preempt at soon)")
    assert cloud.faults == []


@pytest.mark.parametrize("name", ["aws", "google", "azure"])
def test_an_address_that_does_not_answer_is_said_once_and_stops_nothing(name, monkeypatch):
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setattr(spot, "WITHOUT_ANSWER", 0.02)
    said: list[str] = []
    with SpotWatch(name, said.append, pace=0.01), StopSignal() as stop:
        for _turn in range(30):
            stop.check()
            time.sleep(0.01)
    assert len(said) == 1
    assert f"{name}: the metadata address http://127.0.0.1:9 does not answer" in said[0]


def test_answers_that_make_no_sense_stop_nothing(cloud, monkeypatch):
    monkeypatch.setattr(spot, "WITHOUT_ANSWER", 0.02)
    cloud.events = ["not an event"]  # type: ignore[list-item]
    said: list[str] = []
    with SpotWatch("azure", said.append, pace=0.01), StopSignal() as stop:
        for _turn in range(30):
            stop.check()
            time.sleep(0.01)
    assert len(said) == 1


def test_nobody_is_asked_when_it_is_switched_off(cloud):
    with SpotWatch(None):
        time.sleep(0.05)
    assert cloud.asked == []


def test_a_wrong_address_is_refused(monkeypatch):
    monkeypatch.setenv(ADDRESS_VARIABLE, "here")
    with pytest.raises(AfinaError, match="AFINA_METADATA must be of the form"):
        SpotWatch("aws")
