"""The price table: shipped, copied, edited, refused."""

from __future__ import annotations

import pytest

from afina.errors import AfinaError, RecipeError, StorageError
from afina.recipe_budget import Budget
from afina.recipe_file import parse_recipe
from afina.runs.prices import SHIPPED, copy_table, own_table, price_of, read_table, table_path


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("AFINA_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def test_every_shipped_line_has_a_date_and_says_to_check_it():
    table = read_table(SHIPPED)
    assert {"g5.xlarge", "g6.xlarge", "p4d.24xlarge", "p5.48xlarge"} <= set(table.machines)
    assert {one.provider for one in table.machines.values()} >= {
        "AWS",
        "Google Cloud",
        "Azure",
        "RunPod",
    }
    for name, one in table.machines.items():
        assert "list price, check yours" in one.note, name
        assert one.date[:2] == "20", name
        assert one.on_demand, name
        assert one.spot is None or one.spot < one.on_demand, name


def test_a_machine_on_demand_and_spot():
    assert price_of(Budget()) is None
    found = price_of(Budget(machine="g5.xlarge"))
    assert (found.per_hour, found.currency) == (1.006, "USD")
    assert found.source == "g5.xlarge, on-demand, 2026-06; list price, check yours"
    assert price_of(Budget(machine="g5.xlarge", spot=True)).per_hour == 0.45
    assert price_of(Budget(price_per_hour=2.5, currency="EUR")).source == "the recipe"


def test_the_copy_is_a_persons_own_and_is_not_written_over(config):
    assert table_path() == SHIPPED
    path = copy_table()
    assert path == own_table() == config / "prices.yaml" == table_path()
    path.write_text(path.read_text().replace("on_demand: 1.006", "on_demand: 9"))
    assert price_of(Budget(machine="g5.xlarge")).per_hour == 9.0
    with pytest.raises(StorageError, match="a price table already"):
        copy_table()
    copy_table(replace=True)
    assert price_of(Budget(machine="g5.xlarge")).per_hour == 1.006


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "no such price table"),
        ("machines: [", "not YAML"),
        ("currency: USD\nmachines: {mine: {provider: me}}", "wrong at machines.mine"),
        ("currency: dollars\nmachines: {}", "wrong at currency"),
        ("- a list", "wrong at the file"),
    ],
)
def test_a_table_that_is_none_is_told_with_its_place(tmp_path, text, fault):
    path = tmp_path / "prices.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AfinaError, match=fault) as caught:
        price_of(Budget(machine="mine", prices=str(path)))
    assert caught.value.where == str(path)


def test_what_the_table_does_not_have():
    with pytest.raises(AfinaError) as caught:
        price_of(Budget(machine="g5.xlarg"))
    assert caught.value.fix == "did you mean `g5.xlarge`?"
    with pytest.raises(AfinaError, match="no spot price"):
        price_of(Budget(machine="Standard_ND96isr_H100_v5", spot=True))
    with pytest.raises(AfinaError, match="prices are in USD and the budget is in EUR"):
        price_of(Budget(machine="g5.xlarge", currency="EUR"))


@pytest.mark.parametrize(
    ("budget", "fault"),
    [
        ("{cost: 5}", "cost needs a price"),
        ("{price_per_hour: 1, machine: g5.xlarge}", "not both"),
        ("{spot: true}", "about a machine"),
        ("{hours: 0}", "above 0"),
        ("{hour: 1}", "no such setting"),
        ("{currency: dollars}", "of the form"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(budget, fault):
    with pytest.raises(RecipeError, match=fault):
        parse_recipe(f"name: a\ndata: {{train: a.csv}}\ntrain: {{budget: {budget}}}")
