"""A budget ends training with a checkpoint; a higher one goes on in the same run with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from afina.errors import AfinaError, BudgetSpent, Stopped
from afina.runs.folder import open_run
from afina.runs.spending import Meter, add_up, spent_of
from afina.training import loop, tune
from afina.training.loop import Trainer
from tests.runs.test_spot import Cloud
from tests.tiny import Tiny, adapter_hash, metrics, value

SETTINGS = ("train.patience=null", "train.checkpoint_steps=2", "train.micro_batch_tokens=64")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("budget"), llama3_folder, llama3)


@pytest.fixture(scope="module")
def whole(tiny):
    """The run that nothing stopped."""
    return tiny.run(*SETTINGS, runs="whole")


class Hours:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now * 3600


# --- the sums ---------------------------------------------------------------------------------------


def test_hours_add_up_over_processes_each_at_its_own_price(tiny):
    clock = Hours()

    def hour(stage: str, *overrides: str):
        recipe = tiny.recipe(*overrides)
        run = open_run(recipe, str(tiny.folder / "sums"))
        with Meter(run, recipe, stage, clock):
            clock.now += 1
        return spent_of(run, recipe.train.budget)

    assert hour("data").cost is None  # no price yet
    first = hour("train", "train.budget.price_per_hour=2")
    assert (first.hours, first.cost) == (2.0, 4.0)  # the hour without a price at today's
    hour("train", "train.budget.price_per_hour=2")
    found = hour("evaluate", "train.budget.price_per_hour=5")
    assert (found.hours, found.price_per_hour) == (4.0, 5.0)
    assert found.cost == 5.0 + 2 * 2.0 + 5.0  # without a price, twice two, five
    assert found.stages == {"data": 1.0, "train": 2.0, "evaluate": 1.0}
    assert not found.exhausted
    lines = value(open_run(tiny.recipe(), str(tiny.folder / "sums")), "spent.json")["entries"]
    assert [(line["stage"], line["seconds"]) for line in lines] == [
        ("data", 3600.0),
        ("train", 7200.0),
        ("evaluate", 3600.0),
    ]


def test_each_limit_by_itself(tiny):
    entry = {"stage": "train", "seconds": 7200.0, "gpus": 4, "price_per_hour": 3.0, "currency": "USD"}
    for limits, exhausted in (
        ({"hours": 2.0}, True),
        ({"hours": 2.1}, False),
        ({"gpu_hours": 8.0}, True),
        ({"gpu_hours": 8.1}, False),
        ({"cost": 6.0, "price_per_hour": 1.0}, True),
        ({"cost": 6.1, "price_per_hour": 1.0}, False),
    ):
        budget = tiny.recipe(f"train.budget={json.dumps(limits)}").train.budget
        assert add_up([entry], budget, None).exhausted is exhausted


def test_gpu_hours_need_a_gpu_and_money_one_currency(tiny):
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(AfinaError, match="has no GPU") as caught:
            tiny.run(*SETTINGS, "train.budget.gpu_hours=1", runs="gpu")
        assert "train.budget.hours" in caught.value.fix
    recipe = tiny.recipe("train.budget={cost: 1, price_per_hour: 1, currency: EUR}")
    run = open_run(recipe, str(tiny.folder / "currencies"))
    with Meter(run, recipe, "train"):
        pass
    with pytest.raises(AfinaError, match="spent EUR before, and its budget is in USD"):
        Meter(run, tiny.recipe("train.budget={cost: 1, price_per_hour: 1}"), "train")


# --- the stop and the going on ----------------------------------------------------------------------


class StepsOfAnHour(Trainer):
    """The real trainer; each forward pass of training takes one more hour by the meter's clock."""

    def _may_stop(self):
        self.run.meter._began -= 3600
        super()._may_stop()


def test_a_spent_budget_stops_and_a_higher_one_goes_on_with_the_same_bits(tiny, whole, monkeypatch):
    monkeypatch.setattr(tune, "Trainer", StepsOfAnHour)
    seen = []
    for hours in (3, 9, 17):
        with pytest.raises(BudgetSpent) as caught:
            tiny.run(*SETTINGS, f"train.budget.hours={hours}", runs="stopped")
        error = caught.value
        assert error.exit_code == 3
        assert error.where == "train.budget.hours"
        assert f"train.budget.hours={2 * hours}" in error.fix
        run = tiny.workflow(*SETTINGS, f"train.budget.hours={hours}", runs="stopped").run
        seen.append((run.number, len([line for line in metrics(run) if line["split"] == "train"])))
        # With the same budget it says so at once, before anything is loaded.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tune, "load_model", None)
            with pytest.raises(BudgetSpent, match=r"the budget is spent \(hours: "):
                tiny.run(*SETTINGS, f"train.budget.hours={hours}", runs="stopped")
    assert [number for number, _steps in seen] == [1, 1, 1]
    assert 0 <= seen[0][1] < seen[1][1] < seen[2][1] < 12
    run = tiny.run(*SETTINGS, runs="stopped")
    assert run.number == 1
    assert run.recipe().train.budget.hours is None  # the newest budget is the run's
    assert adapter_hash(run) == adapter_hash(whole)
    assert metrics(run) == metrics(whole)
    assert value(run, "train.json")["spent"]["hours"] > 17
    # A budget changes nothing of what was learned: there is nothing to do again.
    flow = tiny.workflow(*SETTINGS, "train.budget.hours=1", "train.spot=aws", runs="stopped")
    assert flow.run.number == 1
    assert flow.do("train") is False


def test_the_probe_and_a_validation_are_within_the_budget(tiny):
    with pytest.raises(BudgetSpent):
        tiny.run(*SETTINGS, "train.budget.hours=0.0000001", runs="tight")
    run = tiny.workflow(*SETTINGS, runs="tight").run
    assert not run.path("probe").exists()
    assert spent_of(run, run.recipe().train.budget).hours > 0


# --- notices ----------------------------------------------------------------------------------------


class Slow(Trainer):
    """The real trainer, whose steps are slow from the fourth on, when the machine is taken."""

    def _may_stop(self):
        if self.progress.step >= 3:
            cloud.taken.set()
            time.sleep(0.5)
        super()._may_stop()


def test_a_notice_leaves_a_checkpoint_within_seconds_and_the_same_bits_in_the_end(
    tiny, whole, monkeypatch
):
    global cloud
    cloud = Cloud()
    threading.Thread(target=cloud.serve_forever, daemon=True).start()
    monkeypatch.setenv("AFINA_METADATA", cloud.address)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tune, "Trainer", Slow)
            with pytest.raises(Stopped, match="notice of Google Cloud: this machine is preempted"):
                tiny.run(*SETTINGS, "train.spot=google", runs="taken")
        run = tiny.workflow(*SETTINGS, runs="taken").run
        assert 3 <= len([line for line in metrics(run) if line["split"] == "train"]) < 12
        assert list(run.path("checkpoints").glob("step-*"))
    finally:
        cloud.shutdown()
        cloud.server_close()
    assert adapter_hash(tiny.run(*SETTINGS, runs="taken")) == adapter_hash(whole)


def test_a_process_of_its_own_ends_with_code_3_and_names_the_notice(tiny):
    """The real command, and AWS's notice over HTTP."""
    server = Cloud()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    recipe = tiny.folder / "spot.yaml"
    recipe.write_text(tiny.text().replace("name: tiny", "name: spot"), encoding="utf-8")
    command = [sys.executable, "-m", "afina", "train", str(recipe), "--runs", str(tiny.folder / "cli")]
    command += ["--set", "train.spot=aws", "--set", "train.epochs=100", "--set", "train.patience=null"]
    environment = {**os.environ, "AFINA_METADATA": server.address, "LC_ALL": "C"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    lines = tiny.folder / "cli" / "spot" / "1" / "metrics.jsonl"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (
            lines.exists() and lines.read_text().count("train") > 3
        ):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        server.taken.set()
        _out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        server.shutdown()
        server.server_close()
    assert process.returncode == 3, err
    assert "notice of AWS: this machine is taken back (terminate at" in err
    saved = list((tiny.folder / "cli" / "spot" / "1" / "checkpoints").glob("step-*/state.json"))
    assert len(saved) == 1
    assert (
        loop.Progress(
            **{
                name: entry
                for name, entry in json.loads(saved[0].read_text()).items()
                if name in vars(loop.Progress())
            }
        ).step
        >= 3
    )
