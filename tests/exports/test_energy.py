"""Joules with their method, and what a token costs: known answers."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from afina.errors import MissingExtra
from afina.exports import energy
from afina.exports.cost import bytes_per_token, measure, ratio, verdict
from afina.exports.energy import ESTIMATED, MEASURED, Meter, find_meter


def _package(root, number, joules, limit=1000):
    place = root / f"intel-rapl:{number}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "energy_uj").write_text(str(int(joules * 1e6)))
    (place / "max_energy_range_uj").write_text(str(int(limit * 1e6)))


def test_rapl_counts_packages_and_begins_again_at_its_limit(tmp_path):
    for number, joules in (("0", 10), ("1", 990), ("0:0", 500)):  # a part of a package counts already
        _package(tmp_path, number, joules)
    meter = find_meter("cpu", False, idle_seconds=0.01, root=tmp_path)
    assert (meter.name, meter.method) == ("RAPL", MEASURED)
    before = meter.joules()
    _package(tmp_path, "0", 14)
    _package(tmp_path, "1", 5)
    assert meter.joules() - before == pytest.approx(4 + 15)
    assert meter.idle_watts == 0.0


def test_without_a_counter_there_are_no_joules_unless_an_estimate_is_asked_for(tmp_path, monkeypatch):
    assert find_meter("cpu", False, root=tmp_path) is None
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    monkeypatch.setattr(energy, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match="codecarbon") as caught:
        find_meter("cpu", True, root=tmp_path)
    assert "afina[energy]" in caught.value.fix


def test_an_estimate_is_the_data_sheet_times_cpu_seconds(tmp_path, monkeypatch):
    cpu = pytest.importorskip("codecarbon.core.cpu")
    monkeypatch.setattr(cpu.TDP, "_main", lambda _self=None: ("Some CPU", 100))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("time.process_time", lambda: 8.0)
    meter = find_meter("cpu", True, root=tmp_path)
    assert (meter.method, meter.idle_watts) == (ESTIMATED, 0.0)
    assert meter.joules() == 200.0
    assert "not a measurement" in meter.note


class _Worker:
    """A runtime that burns a known number of the clock's seconds."""

    weight_bytes = 1000

    def __init__(self, clock, start, step, log, name):
        self.clock, self.costs, self.log, self.name = clock, (start, step), log, name

    def start(self, ids, more):
        self.log.append(self.name)
        self.clock[0] += self.costs[0] * len(ids)

    def step(self):
        self.clock[0] += self.costs[1]


def test_runtimes_take_turns_and_the_idle_part_is_subtracted(monkeypatch):
    clock, log = [0.0], []
    monkeypatch.setattr("time.process_time", lambda: clock[0])
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    meter = Meter("RAPL", MEASURED, lambda: 10 * clock[0], 4.0, "")
    workers = {"a": _Worker(clock, 1.0, 2.0, log, "a"), "b": _Worker(clock, 3.0, 8.0, log, "b")}
    found = measure(workers, [1, 2], 10, 5, meter)
    assert log[:6] == ["a", "b", "b", "a", "a", "b"]
    assert len(log) == 22
    np.testing.assert_allclose(found["a"].cpu["generated"], [2.0] * 10)
    np.testing.assert_allclose(found["b"].cpu["prompt"], [3.0] * 10)
    np.testing.assert_allclose(found["b"].joules["generated"], [8.0 * 6] * 10)
    one = ratio(found["a"].cpu["generated"], found["b"].cpu["generated"], 1)
    assert one["ratio"] == pytest.approx(0.25)
    assert (one["rounds"], one["ci95"]) == (10, pytest.approx([0.25, 0.25]))


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.3, 0.4, 0.5), "the goal of half is reached"), ((0.3, 0.45, 0.51), "not half"),
        ((0.8, 1.0, 1.2), "no difference"), ((1.1, 1.8, 2.0), "COSTS MORE: 80%"),
    ],
)  # fmt: skip
def test_the_verdict_says_when_a_path_costs_more(interval, said):
    found = {"ratio": interval[1], "ci95": [interval[0], interval[2]]}
    assert said in verdict("generated", found, "energy (measured)", "full precision")


def test_bytes_are_counted_from_sizes():
    config = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 64,
    }
    found = bytes_per_token(1000, config, 10, 4, 4)
    assert found == {"prompt": 100.0, "generated": 1000 + 2 * 2 * 2 * 16 * 4 * 12}
