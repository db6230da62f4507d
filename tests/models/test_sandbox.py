"""The sandbox model: the same base on every machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from dream_engine.models import sandbox


def test_the_weights_were_made_of_this_grammars_text() -> None:
    """A changed grammar without `python tools/train_sandbox.py` would give its tokens another model's embeddings."""
    with safe_open(sandbox.WEIGHTS, "pt") as file:
        assert file.metadata()["world"] == sandbox.world()


def test_the_folder_holds_the_shipped_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What loads from a fresh cache is what lies in the package, to the bit; a second call finds it there, and the first has drawn no lots."""
    monkeypatch.setenv("DREAM_ENGINE_CACHE", str(tmp_path))
    before = torch.get_rng_state()
    folder = sandbox.sandbox_folder()
    assert torch.equal(torch.get_rng_state(), before)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    with safe_open(sandbox.WEIGHTS, "pt") as file:
        assert {name for name in file.keys()} == set(loaded) - {"lm_head.weight"}  # noqa: SIM118
        assert all(torch.equal(file.get_tensor(name).float(), loaded[name]) for name in file.keys())  # noqa: SIM118
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert json.loads((folder / "complete.json").read_text())["world"] == sandbox.world()
    assert (sandbox.sandbox_folder() / "model.safetensors").stat().st_mtime_ns == made
