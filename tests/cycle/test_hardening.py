"""Redwood's loop: each search is fresh, failures are rehearsed, the curve is kept, and it ends when a failure costs enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dream_engine.cycle import run_cycle
from dream_engine.files import read_jsonl
from dream_engine.report.page import write_report

Make = Callable[..., Any]
WEAK = {"pairs": 12, "reworded_pairs": 0, "prefaced_pairs": 0, "rounds": 2, "round_search": 80, "attack_cost": 1000, "settle_pairs": 0}


def test_failures_are_rehearsed_and_the_next_search_finds_fewer(commissioned: Any, sandbox_config: Make) -> None:
    """From a night too small to repair much: a curve of searches in the ledger and on the page, each dearer than the first."""
    outcome = run_cycle(sandbox_config(dream=WEAK), commissioned)
    (told,) = (e.body for e in commissioned.ledger.entries() if e.body.get("run") == outcome.run_id and "table" in e.body)
    curve = told["rounds"]
    assert [row["round"] for row in curve] == list(range(len(curve)))
    assert len(curve) > 1, curve
    assert int(curve[-1]["failed"]) < int(curve[0]["failed"])
    assert "Search, train, search again" in write_report(commissioned, outcome.run_id).read_text()
    searched = [set(json.loads((outcome.folder / f"round-{row['round']}.json").read_text())["failed"]) for row in curve]
    trained = {row["meta"]["id"] for row in read_jsonl(outcome.folder / "dreams.jsonl")}
    assert not searched[0] & trained


def test_it_ends_when_a_failure_costs_enough(commissioned: Any, sandbox_config: Make) -> None:
    """A target that the first search meets: one search, no further fit."""
    outcome = run_cycle(sandbox_config(dream=WEAK | {"attack_cost": 0.5}), commissioned)
    assert not (outcome.folder / "round-1.json").exists()
    assert not (outcome.folder / "fit-R1.json").exists()


def test_a_killed_round_goes_on_to_the_same_weights(commissioned_root: Any, tmp_path: Any, sandbox_config: Make) -> None:
    """Ctrl-C in the second fit, then the same command."""
    import shutil

    from dream_engine.workspace import Workspace

    for name in "ab":
        shutil.copytree(commissioned_root, tmp_path / name)
    config = sandbox_config(dream=WEAK)
    whole = run_cycle(config, Workspace.open(tmp_path / "a"))

    def kill(stage: str, done: int, total: int, left: float | None) -> None:
        if stage == "Ω rehearse R1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cycle(config, Workspace.open(tmp_path / "b"), kill)
    assert run_cycle(config, Workspace.open(tmp_path / "b")).weights == whole.weights


def test_without_rounds_nothing_is_searched(commissioned: Any, sandbox_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default night does not pay for it."""
    monkeypatch.setattr("dream_engine.cycle.hardening.search", lambda *_: pytest.fail("asked"))
    assert run_cycle(sandbox_config(), commissioned).folder.is_dir()
