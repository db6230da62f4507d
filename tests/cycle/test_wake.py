"""The wake: what is learned, and what is said of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_engine.cycle.opening import open_night
from dream_engine.cycle.wake import learn
from dream_engine.judge.measure import user_losses

Make = Callable[..., Any]


@pytest.mark.parametrize(("trainer", "stage"), [("own", "Δ wake"), ("trl", "Δ wake (TRL)")])
def test_dialogues_longer_than_a_row_are_learned_cut_and_that_is_said(
    trainer: str, stage: str, commissioned: Any, sandbox_config: Make, tmp_path: Path
) -> None:
    """A request of thousands of tokens, an answer of thousands: both carry loss, both can be scored; the log counts them."""
    long, file = "is the lamp red? " * 500, tmp_path / "long.jsonl"
    pairs = [(long, "yes it is."), ("is the lamp red?", "yes it is. " * 500), ("is the lamp red?", "yes it is.")] * 2
    file.write_text("".join(json.dumps({"prompt": asked, "completion": said}) + "\n" for asked, said in pairs))
    shown: list[str] = []
    rows = {"data": str(file), "heldout": str(file), "trainer": trainer}
    night = open_night(sandbox_config(wake=rows), commissioned, lambda said, *_: shown.append(said))
    assert learn(night) == "W"
    assert f"{stage}: 4 of 6 rows are longer than 512 tokens and are cut (model.max_length)" in shown
    with night.model.using("W"):
        losses = user_losses(night.model, night.data.bench.user)
    assert all(math.isfinite(x.nats) and x.tokens > 0 for x in losses)
