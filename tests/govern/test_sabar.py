"""SABAR: stop, align, breathe, adjust, resume, in this order and in no other; and what release does with each verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.config import Config, scaled
from dream_engine.errors import InputError, IntegrityError
from dream_engine.govern import sabar
from dream_engine.govern.ledger import Entry
from dream_engine.govern.release import changed_settings, final_verdict, release
from dream_engine.judge import budgets
from dream_engine.judge.metrics import Evaluation
from dream_engine.types import Verdict
from govern_world import World


def failed(tmp_path: Path, failing: tuple[str, ...] = ("kl_drift",)) -> World:
    """A sealed version, and after it a cycle that failed and was stopped."""
    world = World(tmp_path, ["ada"])
    world.seal("001-a")
    world.cycle("002-b", "sabar", failing=failing)
    sabar.stop(world.ledger, world.registry, 60)
    return world


def state(world: World) -> str | None:
    found = sabar.current(world.ledger.entries())
    return found.state if found else None


def closed(world: World, by: str = "ada") -> Entry:
    opened = sabar.current(world.ledger.entries())
    assert opened
    signed = world.decision(by, "resume", opened.run, opened.entry, opened.weights)
    return sabar.resume(world.ledger, signed, lambda: None)


def test_the_five_steps_in_order(tmp_path: Path) -> None:
    """Each step is an entry; no cycle starts before the last; the sealed weights were live all along."""
    world = failed(tmp_path)
    live = world.registry.live
    assert state(world) == "cooling"
    with pytest.raises(InputError, match="SABAR") as caught:
        sabar.refuse_if_stopped(world.ledger)
    assert caught.value.exit_code == 1
    with pytest.raises(InputError, match="adjust"):
        closed(world)
    assert [c.key for c in sabar.adjust(world.ledger, world.registry, 60)] == ["dream.learning_rate", "dream.num_train_epochs"]
    with pytest.raises(InputError, match="cools down for another 60 s"):
        closed(world)
    world.clock.time += 60
    closed(world)
    assert state(world) is None
    sabar.refuse_if_stopped(world.ledger)
    assert world.registry.live == live
    assert [e.body["step"] for e in world.ledger.entries("sabar")] == ["aligned", "cooling", "adjusted", "resumed"]


def test_only_a_registered_person_closes_the_review_and_only_if_the_dry_check_passes(tmp_path: Path) -> None:
    """A stranger, a used decision and a failing check leave the SABAR open."""
    world = failed(tmp_path)
    sabar.adjust(world.ledger, world.registry, 60)
    world.clock.time += 61
    with pytest.raises(InputError, match="not a registered"):
        closed(world, "eve")
    opened = sabar.current(world.ledger.entries())
    assert opened

    def broken() -> None:
        raise IntegrityError("the sealed weights were changed")

    with pytest.raises(IntegrityError):
        sabar.resume(world.ledger, world.decision("ada", "resume", opened.run, opened.entry, opened.weights), broken)
    assert state(world) == "adjusting"


def test_damaged_sealed_weights_stay_at_stopped(tmp_path: Path) -> None:
    """Align fails loudly: nothing is called aligned that does not verify."""
    world = World(tmp_path, ["ada"])
    live = world.seal("001-a")
    world.cycle("002-b", "sabar", failing=["kl_drift"])
    (world.registry.folder / live / "adapter_config.json").write_text("x")
    with pytest.raises(IntegrityError):
        sabar.stop(world.ledger, world.registry, 60)
    assert state(world) == "stopped"


@pytest.mark.parametrize("kill_after", [0, 1, 2])
def test_a_killed_stop_goes_on_where_it_was(tmp_path: Path, kill_after: int) -> None:
    """Whatever was recorded before the kill, a second stop ends in the same state with each step once."""
    world = World(tmp_path, ["ada"])
    world.seal("001-a")
    world.cycle("002-b", "sabar", failing=["kl_drift"])
    if kill_after >= 1:
        world.ledger.append("sabar", {"run": "002-b", "step": "aligned", "weights": world.registry.live})
    if kill_after >= 2:
        world.ledger.append("sabar", {"run": "002-b", "step": "cooling", "until": "1700000060.000", "repeats": 1})
    sabar.stop(world.ledger, world.registry, 60)
    assert [e.body["step"] for e in world.ledger.entries("sabar")] == ["aligned", "cooling"]


@pytest.mark.parametrize("kill_after", [0, 1])
def test_a_kill_before_the_cool_down_does_not_shorten_it(tmp_path: Path, kill_after: int) -> None:
    """Adjusting first finishes what the kill left undone, so the review still waits for the whole time."""
    world = World(tmp_path, ["ada"])
    world.seal("001-a")
    world.cycle("002-b", "sabar", failing=["kl_drift"])
    if kill_after:
        world.ledger.append("sabar", {"run": "002-b", "step": "aligned", "weights": world.registry.live})
    sabar.adjust(world.ledger, world.registry, 60)
    assert [e.body["step"] for e in world.ledger.entries("sabar")] == ["aligned", "cooling", "adjusted"]
    with pytest.raises(InputError, match="cools down for another 60 s"):
        closed(world)


def test_the_cool_down_doubles_with_failures_in_a_row_and_starts_over_after_a_seal(tmp_path: Path) -> None:
    """60, 120, 240 seconds; a seal forgets both the count and the adjustments."""
    world = World(tmp_path, ["ada"])
    world.seal("001-a")
    for number, seconds in enumerate((60, 120, 240)):
        world.cycle(f"{number}-x", "sabar", failing=["kl_drift"])
        opened = sabar.stop(world.ledger, world.registry, 60)
        assert (opened.repeats, round(opened.until - world.ledger.now())) == (number + 1, seconds)
        sabar.adjust(world.ledger, world.registry, 60)
        world.clock.time += seconds
        closed(world)
    assert [c.factor for c in sabar.changes_in_force(world.ledger.entries()) if c.key == "dream.learning_rate"] == [0.5, 0.5, 0.5]
    world.seal("004-d")
    assert sabar.changes_in_force(world.ledger.entries()) == []
    world.cycle("005-e", "sabar", failing=["kl_drift"])
    assert sabar.stop(world.ledger, world.registry, 60).repeats == 1


def test_a_clock_set_back_does_not_shorten_the_cool_down(tmp_path: Path) -> None:
    """P14: ledger time never runs backwards."""
    world = failed(tmp_path)
    sabar.adjust(world.ledger, world.registry, 60)
    world.clock.time -= 10_000
    with pytest.raises(InputError, match="cools down"):
        closed(world)


def test_every_rule_names_a_setting_that_exists_and_every_test_has_a_rule() -> None:
    """What SABAR changes is a number of the configuration; every test that can end in sabar has a cure."""
    for rules in sabar.RULES.values():
        assert scaled(Config(), list(rules)) != Config()
    nothing = Evaluation("C", ())
    m = budgets.Measurements(nothing, base=nothing, teacher=nothing, woken=nothing, anchor=nothing)
    limits = budgets.PROFILES["quick"]
    tests = [*budgets.cycle_tests(m, limits), *budgets.commissioning_tests(m, limits)]
    assert {t.name for t in tests if t.severity == "sabar"} == set(sabar.RULES)


@given(st.lists(st.sampled_from([*sorted(sabar.RULES), "cumulative_perplexity", "critical_compliance.weapons"]), max_size=6))
def test_a_setting_is_changed_once_a_failure(failing: list[str]) -> None:
    """Two failed tests with the same cure do not square it."""
    keys = [c.key for c in sabar.changes_for(failing)]
    assert len(keys) == len(set(keys))


def test_scaling_rounds_whole_numbers_up_and_refuses_what_is_no_setting() -> None:
    """240 pairs times 1.5 are 360; 5 anchors times 1.5 are 8; an unknown key is named."""
    assert scaled(Config.model_validate({"dream": {"pairs": 240}}), [("dream.pairs", 1.5)]).dream.pairs == 360
    assert scaled(Config.model_validate({"dream": {"anchors": 5}}), [("dream.anchors", 1.5)]).dream.anchors == 8
    with pytest.raises(InputError, match=r"dream\.nothing"):
        scaled(Config(), [("dream.nothing", 2.0)])


def test_a_crash_closes_itself(tmp_path: Path) -> None:
    """A begin without an end becomes sabar(crash): recorded once, nobody is asked, the sealed weights serve; the run that goes on is left alone."""
    world = World(tmp_path, ["ada"])
    live = world.seal("001-a")
    for run in ("002-b", "003-c"):
        world.ledger.append("begin", {"run": run, "live": live})
    assert [e.body["run"] for e in sabar.close_crashed(world.ledger, "003-c")] == ["002-b"]
    assert sabar.close_crashed(world.ledger, "003-c") == []
    assert state(world) is None
    assert world.registry.live == live


def test_final_verdict_asks_a_person_for_the_first_model_and_for_changed_settings() -> None:
    """A pass becomes a hold in both cases; what failed stays what it was."""
    sealed = Verdict("seal", ("every applicable test passed",))
    assert final_verdict(sealed, False, []) == sealed
    assert final_verdict(sealed, True, []).name == "hold"
    held = final_verdict(sealed, False, ["budgets"])
    assert (held.name, held.failing, "budgets" in held.reasons[0]) == ("hold", ("settings_changed",), True)
    stopped = Verdict("sabar", ("x",), ("kl_drift",))
    assert final_verdict(stopped, True, ["budgets"]) == stopped


def test_changed_settings_are_those_that_differ_from_the_last_seal(tmp_path: Path) -> None:
    """A signature over the new settings makes them the sealed ones."""
    world = World(tmp_path, ["ada"])
    assert changed_settings(world.ledger, {"pack": "p"}) == ["pack"]
    world.seal("001-a")
    assert changed_settings(world.ledger, {"pack": "p"}) == []
    assert changed_settings(world.ledger, {"pack": "q", "budgets": "b"}) == ["budgets", "pack"]
    body = {"run": "002-b", "verdict": "hold", "reasons": ["x"], "failing": ["settings_changed"], "missing": [], "standing": {"pack": "q"}}
    release(world.ledger, world.registry, Verdict("hold"), world.adapter("b"), body, 60)
    world.approve("ada")
    assert changed_settings(world.ledger, {"pack": "q"}) == []


def test_release_moves_the_alias_only_for_a_seal(tmp_path: Path) -> None:
    """Inconclusive and hold record and move nothing; sabar records, aligns and cools down; seal goes live."""
    world = World(tmp_path, ["ada"])
    live = world.seal("001-a")
    body = {"run": "x", "reasons": ["y"], "failing": ["kl_drift"], "missing": []}
    for name in ("inconclusive", "sabar"):
        entry = release(world.ledger, world.registry, Verdict(name), world.adapter(name), {**body, "run": name, "verdict": name}, 60)
        assert entry.kind == "cycle"
        assert world.registry.live == live
    assert state(world) == "cooling"
    sealed = world.adapter("good")
    release(world.ledger, world.registry, Verdict("seal"), sealed, {**body, "verdict": "seal"}, 60)
    assert world.registry.live == sealed
