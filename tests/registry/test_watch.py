"""A server that follows the champion: it learns of every change, and asking costs it nothing."""

from __future__ import annotations

import threading
import time

import pytest

import afina
from afina.errors import AfinaError
from afina.registry.watch import Watch


def test_the_version_in_use_is_known_with_its_generation(place) -> None:
    with pytest.raises(AfinaError, match="nothing is registered"):
        afina.current_version("tiny", runs=place.runs)
    afina.promote("tiny@1", runs=place.runs)
    found = afina.current_version("tiny", runs=place.runs)
    assert (found.title, found.run, found.generation) == ("tiny@v1", "tiny@1", 1)
    assert found.folder == str(place.path("tiny/1").resolve())
    afina.promote("tiny@2", runs=place.runs)
    afina.rollback("tiny", runs=place.runs)
    found = afina.current_version("tiny", runs=place.runs)
    assert (found.version, found.generation) == (1, 3)
    with pytest.raises(AfinaError, match="tiny has no candidate"):
        afina.current_version("tiny", alias="candidate", runs=place.runs)


def test_a_watch_tells_each_change_once(place) -> None:
    watch = afina.watch_version("tiny", runs=place.runs)
    assert (watch.current, watch.changed()) == (None, None)
    afina.promote("tiny@1", runs=place.runs)
    told = watch.changed()
    assert told is not None
    assert (told.title, watch.current, watch.changed()) == ("tiny@v1", told, None)
    afina.register("tiny@2", runs=place.runs)
    assert watch.changed() is None, "another candidate is nothing new for a server"
    afina.promote("tiny@candidate", runs=place.runs)
    told = watch.changed()
    assert told is not None
    assert told.title == "tiny@v2"
    # Whoever moves it: MLflow's own page, say.
    place.registry.client.set_registered_model_alias("tiny", "champion", "1")
    told = watch.changed()
    assert told is not None
    assert (told.title, told.generation) == ("tiny@v1", 3)


def test_a_running_server_has_the_champion_before_within_seconds(place) -> None:
    afina.promote("tiny@1", runs=place.runs)
    afina.promote("tiny@2", runs=place.runs)
    served: list[tuple[float, str]] = []
    ready, stop = threading.Event(), threading.Event()

    def serve() -> None:
        watch = afina.watch_version("tiny", runs=place.runs)
        assert watch.current is not None
        served.append((time.monotonic(), watch.current.run))
        ready.set()
        while not stop.wait(0.05):
            told = watch.changed()
            if told is not None:
                served.append((time.monotonic(), told.run))
                return

    server = threading.Thread(target=serve)
    server.start()
    assert ready.wait(60)
    asked = time.monotonic()
    afina.rollback("tiny", runs=place.runs)
    server.join(20)
    stop.set()
    assert [run for _when, run in served] == ["tiny@2", "tiny@1"]
    assert served[1][0] - asked < 10


def test_asking_again_costs_a_look_at_a_file(place, monkeypatch) -> None:
    afina.promote("tiny@1", runs=place.runs)
    watch = afina.watch_version("tiny", runs=place.runs)
    monkeypatch.setattr("afina.registry.watch._TICK_SECONDS", 0.0)
    watch.changed()
    asked: list[int] = []
    real = Watch._look
    monkeypatch.setattr(Watch, "_look", lambda self: asked.append(1) or real(self))
    assert [watch.changed() for _time in range(1000)] == [None] * 1000
    assert asked == []


def test_a_registry_that_does_not_answer_changes_nothing(place) -> None:
    afina.promote("tiny@1", runs=place.runs)
    watch = afina.watch_version("tiny", runs=place.runs)
    kept = watch.current
    store = place.folder / "tracking" / "mlflow.db"
    whole = store.read_bytes()
    store.write_bytes(b"nothing" * 1000)
    assert watch.changed() is None
    assert watch.current == kept
    assert watch.fault is not None
    store.write_bytes(whole)
    assert watch.changed() is None
    assert watch.fault is None
