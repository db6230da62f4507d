"""`dream run --dry-run`: the forecast of a cycle, held to the cycle itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dream_engine.cycle import run_cycle
from dream_engine.dream.imagine import template_anchors, template_pairs
from dream_engine.files import read_jsonl
from dream_engine.judge.measure import load_measured
from dream_engine.plan import evening, plan_cycle
from dream_engine.policy.pack import load_pack
from dream_engine.progress import silent
from dream_engine.workspace import Workspace

Make = Callable[..., Any]


def test_a_night_does_what_its_forecast_says(commissioned: Any, sandbox_config: Make) -> None:
    """The forecast counts what the night does (less, where W handles dreams), repeats no stage, records nothing."""
    config, entries = sandbox_config(), len(list(commissioned.ledger.entries()))
    forecast = plan_cycle(config, commissioned, silent).stages
    stages = {s.name: s for s in forecast}
    assert len(stages) == len(forecast)
    assert len(list(commissioned.ledger.entries())) == entries
    folder = run_cycle(config, commissioned).folder
    wake, rehearsed = (json.loads((folder / f"fit-{name}.json").read_text())["steps"] for name in ("W", "R"))
    assert stages["Δ wake"].items == wake
    assert 0.5 * stages["Ω rehearse"].items <= rehearsed <= stages["Ω rehearse"].items
    measured = load_measured(folder / "eval" / "C.jsonl").evaluation
    assert stages["Ψ answers of C"].items == len(measured.records)
    assert stages["Ψ lengths of C"].items == len(measured.lengths)
    behind = sum("behind plain questions" in str(row["stage"]) for row in read_jsonl(folder / "events.jsonl"))
    assert stages["Ψ behind plain questions"].items == behind * sum(r.side == "harmful" for r in measured.records)


@pytest.mark.parametrize("teach", [True, False])
def test_a_first_cycle_does_what_its_forecast_says(teach: bool, sandbox_config: Make, tmp_path: Any) -> None:
    """A first model that is taken as it is costs its measurement alone; one that is taught, its rehearsal as well."""
    made = plan_cycle(sandbox_config(commission={"teach": teach}), Workspace.open(tmp_path), silent)
    assert made.commissioning
    assert ("Ω rehearse" in {s.name for s in made.stages}) == teach
    assert made.seconds > 0


def test_the_forecast_counts_plain_requests_of_the_second_language() -> None:
    """So many for each harmful one in Spanish, less those among the anchors; none where these suffice, or where a pack has one language."""
    pack = load_pack()
    harmful = sum(harm.language == "es" for harm, _ in template_pairs(pack, 1500, 0))
    plain = sum(s.language == "es" for s in template_anchors(pack, 560, 0))
    assert evening(pack, 1500, 560) == (harmful - plain, 3 * harmful)
    assert evening(pack, 1500, 560, 3) == (3 * harmful - plain, 5 * harmful)
    assert harmful > plain > 0
    assert evening(pack, 100, 560)[0] == 0
    assert evening(load_pack("sandbox"), 360, 90) == (0, 0)
