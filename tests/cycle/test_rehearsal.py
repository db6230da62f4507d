"""What a first model is fitted on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_engine.cycle.dreaming import FIRST_PLAIN, first_dreams
from dream_engine.cycle.night import Night
from dream_engine.cycle.opening import open_night
from dream_engine.cycle.rehearsal import rehearse
from dream_engine.dream.rehearse import Row
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
    prompts = Counter(tuple(r.encoded.ids[: r.encoded.num_prompt]) for r in fitted)
    passes = {d.dream.scenario.id: prompts[tuple(night.model.encode(d.dream.scenario.turns, "", False).ids)] for d in dreams}
    languages = {d.dream.scenario.id: d.dream.scenario.language for d in dreams}
    assert {(languages[id], n) for id, n in passes.items()} == {("en", 1), ("es", 4)}
    spanish = Counter(d.dream.scenario.side for d in dreams if d.dream.scenario.language == "es")
    assert spanish["anchor"] > (FIRST_PLAIN - 1) * spanish["harmful"] > 0
