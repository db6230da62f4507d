"""What a first model and a night are fitted on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dream_engine.cycle.dreaming import FIRST_PLAIN, first_dreams, nightly_dreams
from dream_engine.cycle.night import Night
from dream_engine.cycle.opening import open_night
from dream_engine.cycle.rehearsal import rehearse
from dream_engine.cycle.wake import learn
from dream_engine.dream.rehearse import Row
from dream_engine.policy.screen import Screened
from dream_engine.progress import silent
from dream_engine.workspace import Workspace

Make = Callable[..., Any]
FEW = {"pairs": 300, "prefaced_pairs": 0, "anchors": 60, "self_anchors": 0, "self_texts": 0}


def test_a_first_model_reads_the_second_language_several_times(sandbox_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Spanish dream makes as many rows as there are passes, every other one a single row; plain Spanish outweighs harmful Spanish."""
    config = sandbox_config(policy={"pack": "default"}, commission={**FEW, "second_language_passes": 4})
    night = open_night(config, Workspace.open(tmp_path), silent)
    dreams = first_dreams(night)
    fitted: list[Row] = []
    monkeypatch.setattr(Night, "fit", lambda self, stage, name, rows, plan: fitted.extend(rows()))
    rehearse(night, None, dreams)
    assert _passes(night, dreams, fitted) == {("en", 1), ("es", 4)}
    spanish = Counter(d.dream.scenario.side for d in dreams if d.dream.scenario.language == "es")
    assert spanish["anchor"] > (FIRST_PLAIN - 1) * spanish["harmful"] > 0


@pytest.mark.parametrize("when", ["after", "interleaved"])
def test_a_night_reads_the_second_language_several_times(
    when: str, sandbox_config: Make, commissioned: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a first model does, whichever way the night goes."""
    plan = {"when": when, "pairs": 90, "anchors": 30, "second_language_passes": 3, "prefaced_pairs": 0, "prefix_recovery": 0.0}
    night = open_night(sandbox_config(dream=plan, policy={"pack": "default"}), commissioned, silent)
    woken = learn(night)
    assert woken
    dreams = nightly_dreams(night, woken)
    fitted: list[Row] = []
    monkeypatch.setattr(Night, "fit", lambda self, stage, name, rows, plan: fitted.extend(rows()))
    rehearse(night, woken, dreams)
    assert _passes(night, dreams, fitted) == {("en", 1), ("es", 3)}


def _passes(night: Night, dreams: Sequence[Screened], fitted: Sequence[Row]) -> set[tuple[str, int]]:
    """In which languages there are dreams that make how many rows."""
    prompts = Counter(tuple(r.encoded.ids[: r.encoded.num_prompt]) for r in fitted)
    return {(s.language, prompts[tuple(night.model.encode(s.turns, "", False).ids)]) for s in (d.dream.scenario for d in dreams)}
