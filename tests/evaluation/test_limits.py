"""The gate: decided on the bound of the interval; how many rows would decide; what cannot be decided."""

from __future__ import annotations

import pytest

from afina.errors import AfinaError
from afina.evaluation.limits import gate
from afina.metrics.statistics import wilson
from afina.recipe_file import parse_recipe
from afina.runs.files import read_json, write_json
from afina.runs.folder import open_run

TASK = "name: x\ndata: {train: a}\ntask: {labels: [ham, spam], positive: spam}\n"


def line(metric: str, value: float, ci95: list, n: int = 100, model: str = "tuned") -> dict:
    return {
        "model": model, "set": "test", "slice": None, "metric": metric, "value": value,
        "n": n, "groups": None, "ci95": ci95, "method": "Wilson score",
    }  # fmt: skip


def share(metric: str, hits: int, n: int) -> dict:
    found = wilson(hits, n)
    return line(metric, hits / n, [found.low, found.high], n)


def gain(metric: str, difference: float | None, ci95: list, a: str = "tuned", b: str = "base") -> dict:
    return {
        "a": a, "b": b, "set": "test", "slice": None, "metric": metric, "difference": difference,
        "ci95": ci95, "p_value": 0.01, "test": "", "minimum_detectable": 0.1, "rows_needed": 321,
    }  # fmt: skip


def decide(
    tmp_path, limits: str, results: list[dict], comparisons: list[dict] | None = None, task: str = TASK
):
    """gate.json's value for these limits and figures."""
    recipe = parse_recipe(f"{task}gate:\n{limits}")
    run = open_run(recipe, str(tmp_path))
    write_json(run.path("evaluation.json"), {"results": results, "comparisons": comparisons or []})
    value = gate(run, recipe)
    assert read_json(run.path("gate.json")) == value
    assert value["schema"] == "afina/gate/1"
    return value


@pytest.mark.parametrize(
    ("limit", "ci95", "verdict"),
    [
        ("max: 0.05", [0.0, 0.05], "pass"),
        ("max: 0.05", [0.0, 0.051], "undecided"),
        ("max: 0.05", [0.051, 0.2], "fail"),
        ("max: 0.05", [0.05, 0.2], "undecided"),
        ("min: 0.9", [0.9, 0.95], "pass"),
        ("min: 0.9", [0.89, 0.95], "undecided"),
        ("min: 0.9", [0.8, 0.899], "fail"),
        ("max: 0.05", [None, None], "undecided"),
    ],
)
def test_the_bound_decides_not_the_point(tmp_path, limit: str, ci95: list, verdict: str) -> None:
    found = decide(tmp_path, f"  - {{metric: macro_f1, {limit}}}", [line("macro_f1", 0.04, ci95)])
    check = found["checks"][0]
    assert check["verdict"] == verdict
    assert found["passed"] is (verdict == "pass")
    assert check["ci95"] == ci95
    assert check["why"]


def test_undecided_fails_or_warns_as_the_recipe_says(tmp_path) -> None:
    undecided = [share("false_positive_rate", 2, 50)]
    limit = "  - {metric: false_positive_rate, max: 0.05"
    assert decide(tmp_path, f"{limit}}}", undecided)["passed"] is False
    assert decide(tmp_path, f"{limit}, undecided: warn}}", undecided)["passed"] is True
    failed = [share("false_positive_rate", 30, 50)]
    assert decide(tmp_path, f"{limit}, undecided: warn}}", failed)["passed"] is False


@pytest.mark.parametrize(("most", "rows"), [(0.05, 73), (0.01, 381)])
def test_without_a_false_alarm_the_wilson_bound_needs_this_many_rows(
    tmp_path, most: float, rows: int
) -> None:
    """z²(1/bound − 1): 73 and 381. (368 for 1 % is the exact interval's number: ln .025 / ln .99; that
    interval would need 72 rows for 5 %.)"""
    assert wilson(0, rows).high <= most < wilson(0, rows - 1).high
    limit = f"  - {{metric: false_positive_rate, max: {most}}}"
    check = decide(tmp_path, limit, [share("false_positive_rate", 0, 20)])["checks"][0]
    assert (check["verdict"], check["rows_needed"]) == ("undecided", rows)
    assert f"about {rows} rows" in check["why"]
    assert (
        decide(tmp_path, limit, [share("false_positive_rate", 0, rows)])["checks"][0]["verdict"]
        == "pass"
    )
    assert (
        decide(tmp_path, limit, [share("false_positive_rate", 0, rows - 1)])["checks"][0]["verdict"]
        == "undecided"
    )


def test_rows_that_would_show_a_failure_are_counted_too(tmp_path) -> None:
    check = decide(
        tmp_path, "  - {metric: false_positive_rate, max: 0.05}", [share("false_positive_rate", 2, 20)]
    )["checks"][0]
    assert check["verdict"] == "undecided"
    rows = check["rows_needed"]
    assert wilson(rows // 10, rows).low > 0.05


def test_rows_in_groups_tell_less_so_more_are_needed(tmp_path) -> None:
    limit = "  - {metric: accuracy, min: 0.9}"
    single = share("accuracy", 93, 100)
    grouped = line("accuracy", 0.93, [0.80, 1.0], 100)
    few = decide(tmp_path, limit, [single])["checks"][0]["rows_needed"]
    many = decide(tmp_path, limit, [grouped])["checks"][0]["rows_needed"]
    assert 100 < few < many


def test_a_value_on_the_limit_itself_never_gets_decided(tmp_path) -> None:
    check = decide(tmp_path, "  - {metric: accuracy, min: 0.5}", [share("accuracy", 50, 100)])["checks"][
        0
    ]
    assert check["verdict"] == "undecided"
    assert check["rows_needed"] is None


def test_other_metrics_have_no_count_of_rows(tmp_path) -> None:
    check = decide(tmp_path, "  - {metric: auc, min: 0.9}", [line("auc", 0.9, [0.8, 0.95])])["checks"][0]
    assert (check["verdict"], check["rows_needed"]) == ("undecided", None)


@pytest.mark.parametrize(
    ("metric", "difference", "ci95", "verdict", "value"),
    [
        ("accuracy", 0.3, [0.26, 0.34], "pass", 0.3),
        ("accuracy", 0.3, [0.25, 0.34], "undecided", 0.3),
        ("accuracy", 0.1, [0.05, 0.25], "fail", 0.1),
        ("accuracy", -0.3, [-0.34, -0.26], "fail", -0.3),
        ("false_positive_rate", -0.3, [-0.34, -0.26], "pass", 0.3),
        ("false_positive_rate", 0.3, [0.26, 0.34], "fail", -0.3),
    ],
)
def test_a_gain_is_one_in_the_good_direction(tmp_path, metric, difference, ci95, verdict, value) -> None:
    limit = f"  - {{metric: {metric}, against: base, min_gain: 0.25}}"
    check = decide(tmp_path, limit, [], [gain(metric, difference, ci95)])["checks"][0]
    assert check["verdict"] == verdict
    assert check["value"] == pytest.approx(value)
    assert check["ci95"][0] < check["value"] < check["ci95"][1]
    assert check["rows_needed"] == (321 if verdict == "undecided" else None)


def test_less_perplexity_is_a_gain(tmp_path) -> None:
    limit = "  - {metric: perplexity, against: base, min_gain: 1}"
    text = "name: x\ndata: {train: a}\ntask: {kind: text}\n"
    better = decide(tmp_path, limit, [], [gain("perplexity", -5.0, [-7.0, -3.0])], text)["checks"][0]
    assert (better["verdict"], better["value"], better["ci95"]) == ("pass", 5.0, [3.0, 7.0])
    worse = decide(tmp_path, limit, [], [gain("perplexity", 5.0, [3.0, 7.0])], text)["checks"][0]
    assert worse["verdict"] == "fail"


def test_a_limit_on_the_base_is_read_the_other_way_round(tmp_path) -> None:
    limit = "  - {metric: accuracy, model: base, against: tuned, min_gain: 0}"
    # `against` names base, probe or tfidf; the tuned model is the one that is compared.
    with pytest.raises(AfinaError, match=r"against"):
        decide(tmp_path, limit, [])


def test_a_gain_without_an_interval_is_undecided(tmp_path) -> None:
    limit = "  - {metric: accuracy, against: base, min_gain: 0}"
    check = decide(tmp_path, limit, [], [gain("accuracy", 0.2, [None, None])])["checks"][0]
    assert (check["verdict"], check["ci95"]) == ("undecided", [None, None])


def test_a_limit_on_what_was_not_measured_says_what(tmp_path) -> None:
    with pytest.raises(AfinaError, match="recall of tuned on test was not measured"):
        decide(tmp_path, "  - {metric: recall, min: 0.5}", [share("accuracy", 1, 2)])
    with pytest.raises(AfinaError, match="recall of tuned against base was not measured"):
        decide(tmp_path, "  - {metric: recall, against: base, min_gain: 0}", [], [])
    with pytest.raises(AfinaError, match="was not measured"):
        decide(
            tmp_path,
            "  - {metric: auc, against: base, min_gain: 0}",
            [],
            [gain("auc", None, [None, None])],
        )


def test_no_limits_let_every_model_through(tmp_path) -> None:
    run_recipe = parse_recipe(TASK)
    run = open_run(run_recipe, str(tmp_path))
    write_json(run.path("evaluation.json"), {"results": [], "comparisons": []})
    assert gate(run, run_recipe)["passed"] is True


def test_the_rows_that_would_decide_are_more_than_there_are(tmp_path) -> None:
    """14 of 14 right: Wilson's interval begins at .785, the measured one (over groups) at .6."""
    limit = "  - {metric: accuracy, min: 0.7}"
    wide = line("accuracy", 1.0, [0.6, 1.0], 14)
    rows = decide(tmp_path, limit, [wide])["checks"][0]["rows_needed"]
    assert rows > 14
    # Wilson's interval over these rows would decide: it is not rows that are missing.
    odd = line("accuracy", 0.95, [0.928, 0.953], 1000)
    check = decide(tmp_path, "  - {metric: accuracy, min: 0.93}", [odd])["checks"][0]
    assert (check["verdict"], check["rows_needed"]) == ("undecided", None)
    for hits in range(15):
        for least in (0.5, 0.7, 0.9):
            check = decide(
                tmp_path, f"  - {{metric: accuracy, min: {least}}}", [share("accuracy", hits, 14)]
            )
            needed = check["checks"][0]["rows_needed"]
            assert needed is None or needed > 14


@pytest.mark.parametrize(
    "limit", ["{metric: accuracy, min: 0.5}", "{metric: accuracy, against: base, min_gain: 0}"]
)
@pytest.mark.parametrize(("groups", "verdict"), [(None, "pass"), (1, "undecided"), (2, "pass")])
def test_one_group_decides_nothing(tmp_path, limit: str, groups: int | None, verdict: str) -> None:
    recipe = parse_recipe(f"{TASK}gate:\n  - {limit}")
    run = open_run(recipe, str(tmp_path))
    figures = {
        "results": [share("accuracy", 95, 100)],
        "comparisons": [gain("accuracy", 0.3, [0.2, 0.4])],
        "sets": {"test": {"rows": 100, "groups": groups}},
    }
    write_json(run.path("evaluation.json"), figures)
    found = gate(run, recipe)
    check = found["checks"][0]
    assert (check["verdict"], check["groups"], check["rows_needed"]) == (verdict, groups, None)
    assert found["passed"] is (verdict == "pass")
    assert ("one group" in check["why"]) is (groups == 1)
