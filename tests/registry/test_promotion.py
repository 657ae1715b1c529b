"""Promotion and rollback: what is asked, what moves, and what a stop in the middle leaves."""

from __future__ import annotations

import shutil
import time

import pytest
from filelock import FileLock

import afina
from afina.errors import AfinaError
from afina.registry import lock
from afina.registry.admission import PromotionRefused
from afina.registry.changes import settle
from afina.registry.store import Registry
from afina.runs.files import read_json, sha256_of, write_json


def aliases(place) -> dict[str, int | None]:
    return place.registry.model("tiny").places()


def test_promotion_and_rollback_move_the_aliases_and_are_written_down(place) -> None:
    runs = place.runs
    first = afina.promote("tiny@1", why="the first", runs=runs)
    assert (first.version.title, first.replaced, first.changed) == ("tiny@v1", None, True)
    assert aliases(place) == {"champion": 1, "candidate": None, "previous": None}
    afina.register("tiny@2", runs=runs)
    second = afina.promote("tiny@candidate", why="better", runs=runs)
    assert (second.version.title, second.replaced) == ("tiny@v2", "tiny@v1")
    assert aliases(place) == {"champion": 2, "candidate": None, "previous": 1}
    afina.promote("tiny@3", runs=runs)
    assert aliases(place) == {"champion": 3, "candidate": None, "previous": 2}
    assert afina.promote("tiny@v3", runs=runs).changed is False
    assert aliases(place) == {"champion": 3, "candidate": None, "previous": 2}

    back = afina.rollback("tiny", why="complaints", runs=runs)
    assert (back.version.title, back.replaced) == ("tiny@v2", "tiny@v3")
    assert aliases(place) == {"champion": 2, "candidate": None, "previous": 1}
    assert "complaints" in str(afina.registered_version("tiny@v3", runs=runs).rolled_back)
    afina.rollback("tiny", runs=runs)
    assert aliases(place) == {"champion": 1, "candidate": None, "previous": None}
    with pytest.raises(PromotionRefused, match="no previous version to go back to"):
        afina.rollback("tiny", runs=runs)

    journal = afina.registered("tiny", runs=runs)[0].model.journal
    assert [(entry.action, entry.version, entry.state) for entry in journal] == [
        ("promote", 1, "done"),
        ("add", 2, "done"),
        ("promote", 2, "done"),
        ("promote", 3, "done"),
        ("rollback", 2, "done"),
        ("rollback", 1, "done"),
    ]
    assert [entry.why for entry in journal] == ["the first", "", "better", "", "complaints", ""]
    assert [entry.number for entry in journal] == [1, 2, 3, 4, 5, 6]
    assert all("@" in entry.who and entry.at.endswith("+00:00") for entry in journal)


def test_a_candidate_is_not_asked_anything(place) -> None:
    afina.promote("tiny@1", runs=place.runs)
    afina.promote("tiny@2", to="candidate", runs=place.runs)
    assert aliases(place) == {"champion": 1, "candidate": 2, "previous": None}
    with pytest.raises(AfinaError, match="nothing can be promoted to 'previous'"):
        afina.promote("tiny@2", to="previous", runs=place.runs)


def refused(place, name: str, **more) -> str:
    """What a refusal says; the champion stays."""
    before = aliases(place)
    with pytest.raises(PromotionRefused) as no:
        afina.promote(name, runs=place.runs, **more)
    assert no.value.exit_code == 1
    assert aliases(place) == before
    return str(no.value)


@pytest.fixture
def second(place):
    """The first is the champion, the second is registered."""
    afina.promote("tiny@1", runs=place.runs)
    afina.register("tiny@2", runs=place.runs)
    return place


def decide(place, **check) -> None:
    """Puts another word of the gate into the second run, as the gate itself would write it."""
    path = place.path("tiny/2/gate.json")
    value = read_json(path)
    value["passed"] = check.pop("passed")
    value["checks"][0].update(check)
    write_json(path, value)
    state = place.path("tiny/2/stages/gate.json")
    kept = read_json(state)
    kept["outputs"]["gate.json"] = sha256_of(path)
    write_json(state, kept)


def test_a_failed_gate_refuses_and_says_which_limit(second) -> None:
    decide(second, passed=False, verdict="fail")
    said = refused(second, "tiny@v2")
    assert "tiny@v2 was not promoted:" in said
    assert "gate: fail: accuracy of tuned on test: at least 0.001; " in said


def test_what_is_undecided_counts_as_the_gate_says(second) -> None:
    decide(second, passed=False, verdict="undecided")
    recipe = second.path("tiny/2/recipe.yaml")
    assert "undecided: accuracy of tuned" in refused(second, "tiny@v2")
    assert "undecided: fail" in recipe.read_text(), "which is what the gate does by default"
    decide(second, passed=True, verdict="undecided")
    said: list[str] = []
    afina.promote("tiny@v2", runs=second.runs, say=said.append)
    assert said[0].startswith("the gate let pass what it could not decide: undecided: accuracy")


def test_a_gate_that_was_changed_by_hand_refuses(second) -> None:
    path = second.path("tiny/2/gate.json")
    write_json(path, {**read_json(path), "note": "trust me"})
    assert "gate.json is not what the gate wrote" in refused(second, "tiny@v2")
    path.unlink()
    assert "the gate was not asked" in refused(second, "tiny@v2")


def test_a_release_that_was_changed_refuses_and_names_the_file(second) -> None:
    adapter = second.path("tiny/2/release/adapter/adapter_model.safetensors")
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    decide(second, passed=False, verdict="fail")
    said = refused(second, "tiny@v2")
    assert "gate: fail" in said, "everything that fails is told at once"
    assert str(adapter) in said
    adapter.write_bytes(whole)
    decide(second, passed=True, verdict="pass")
    afina.promote("tiny@v2", runs=second.runs)


def test_a_run_that_the_gate_refused_is_not_even_registered(second) -> None:
    path = second.path("tiny/3/gate.json")
    write_json(path, {**read_json(path), "passed": False})
    second.path("tiny/3/release/manifest.json").unlink()
    assert "gate.json is not what the gate wrote" in refused(second, "tiny@3")
    assert len(afina.registered("tiny", runs=second.runs)[0].versions) == 2


def test_a_signature_can_be_asked_for(second) -> None:
    said = refused(second, "tiny@v2", require_signature=True)
    assert "the release is not signed: run `afina sign RUN`" in said


def test_once_somebody_is_trusted_only_what_they_signed_is_promoted(
    second, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("AFINA_TRUST", str(tmp_path / "trust"))
    afina.new_signer("ana", protect=False)
    afina.register("tiny@3", runs=second.runs)  # a candidate may be signed later
    assert "this release is not signed" in refused(second, "tiny@v3")
    afina.sign("tiny@3", runs=second.runs)
    afina.promote("tiny@v3", runs=second.runs, require_signature=True)
    assert aliases(second)["champion"] == 3
    afina.revoke_signer("ana")
    afina.register("tiny@2", runs=second.runs)
    assert "signed" in refused(second, "tiny@v2")


def test_nothing_goes_back_to_a_release_that_is_not_there(second) -> None:
    afina.promote("tiny@v2", runs=second.runs)
    root = second.path("tiny/1")
    adapter = root / "release/adapter/adapter_model.safetensors"
    whole = adapter.read_bytes()
    adapter.write_bytes(whole + b"x")
    with pytest.raises(PromotionRefused, match="missing or of another size") as no:
        afina.rollback("tiny", runs=second.runs)
    assert str(adapter) in str(no.value)
    adapter.write_bytes(whole)
    root.rename(second.path("tiny_1"))
    with pytest.raises(PromotionRefused, match="moved or deleted"):
        afina.rollback("tiny", runs=second.runs)
    assert aliases(second) == {"champion": 2, "candidate": None, "previous": 1}
    second.path("tiny_1").rename(root)
    afina.rollback("tiny", runs=second.runs)
    assert aliases(second)["champion"] == 1


def test_a_version_that_was_deleted_is_no_previous(second) -> None:
    afina.promote("tiny@v2", runs=second.runs)
    afina.promote("tiny@3", runs=second.runs)
    second.registry.client.delete_model_version("tiny", "1")
    afina.rollback("tiny", runs=second.runs)
    assert aliases(second) == {"champion": 2, "candidate": None, "previous": None}


class Killed(BaseException):
    """The process ends here."""


def dying_after(writes: list[int], real):
    """A way to write that ends the process once the writes that are left are used up."""

    def write(self, *given):
        if writes[0] == 0:
            raise Killed
        writes[0] -= 1
        real(self, *given)

    return write


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_kill_at_any_write_leaves_a_champion_and_is_settled(second, monkeypatch, action) -> None:
    """Each write to the registry in turn is the last one that a process makes."""
    runs = second.runs
    afina.promote("tiny@v2", runs=runs)
    afina.register("tiny@3", runs=runs)
    start = aliases(second)
    assert start == {"champion": 2, "candidate": 3, "previous": 1}
    ends = {
        "promote": {"champion": 3, "candidate": None, "previous": 2},
        "rollback": {"champion": 1, "candidate": 3, "previous": None},
    }
    store = second.folder / "tracking" / "mlflow.db"
    kept, seen = store.read_bytes(), []
    for last in range(20):
        store.write_bytes(kept)
        writes = [last]
        with monkeypatch.context() as patch:
            for name in ("set_alias", "write_entry", "tag_version"):
                patch.setattr(Registry, name, dying_after(writes, getattr(Registry, name)))
            try:
                if action == "promote":
                    afina.promote("tiny@v3", runs=runs)
                else:
                    afina.rollback("tiny", runs=runs)
            except Killed:
                pass
            else:
                break
        assert aliases(second)["champion"] in (start["champion"], ends[action]["champion"])
        model = settle(second.registry, "tiny")
        assert model.places() in (start, ends[action])
        assert all(entry.state in ("done", "undone") for entry in model.journal)
        seen.append(model.places() == ends[action])
    assert aliases(second) == ends[action]
    assert seen == sorted(seen), "from some write on it is completed"
    assert set(seen) == {False, True}


def test_only_one_process_changes_the_aliases(second, monkeypatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.3)
    with FileLock(second.folder / "tracking" / ".registry.lock"):
        with pytest.raises(AfinaError, match="another process is changing the aliases of tiny"):
            afina.promote("tiny@v2", runs=second.runs)
        with pytest.raises(AfinaError, match="another process"):
            afina.rollback("tiny", runs=second.runs)
    afina.promote("tiny@v2", runs=second.runs)


def test_a_rollback_reads_no_weights(second, monkeypatch) -> None:
    """Whatever the size of a model, going back takes as long as a few questions to the registry."""
    afina.promote("tiny@v2", runs=second.runs)
    read: list[str] = []
    import afina.inference.intact as intact

    monkeypatch.setattr(intact, "sha256_of", lambda path: read.append(str(path)))
    started = time.perf_counter()
    afina.rollback("tiny", runs=second.runs)
    assert read == []
    assert time.perf_counter() - started < 10


def test_a_registry_that_does_not_answer_is_told(second) -> None:
    store = second.folder / "tracking" / "mlflow.db"
    store.write_bytes(b"no database at all" * 100)
    with pytest.raises(AfinaError, match="the registry does not answer as it should"):
        afina.rollback("tiny", runs=second.runs)
    shutil.rmtree(second.folder / "tracking")
    with pytest.raises(AfinaError, match="nothing is registered as `tiny`"):
        afina.rollback("tiny", runs=second.runs)
