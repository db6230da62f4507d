"""Refusal directions: by hand for made-up states, nothing where a side is missing, and a prompt's state does not depend on its company."""

from __future__ import annotations

import pytest
import torch

from dream_engine.judge.directions import refusal_directions, turned
from dream_engine.models.hf import load_model
from dream_engine.models.sandbox import sandbox_suites
from dream_engine.types import Message


def test_cosines_layer_by_layer() -> None:
    """The same direction is 1 whatever its length, the opposite −1, a right angle 0; what was not measured is None."""
    before = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    assert turned(before, torch.tensor([[3.0, 0.0], [-1.0, -1.0], [5.0, 0.0]])) == pytest.approx([1.0, -1.0, 0.0], abs=1e-4)
    assert turned(before, None) is turned(None, before) is None


def test_directions_of_a_model() -> None:
    """One a layer, the same each time, so an unchanged model turned nothing; none without look-alikes."""
    model, suites = load_model("sandbox"), sandbox_suites()
    found = refusal_directions(model, None, suites)
    assert found is not None
    assert found.shape == (4, 128)
    assert turned(found, refusal_directions(model, None, suites)) == pytest.approx([1.0] * 4)
    assert refusal_directions(model, None, [p for p in suites if p.side != "twin"]) is None


def test_a_state_does_not_depend_on_its_company() -> None:
    """Padded beside a longer prompt or alone: the same state."""
    model = load_model("sandbox")
    prompts = [[Message("user", "is the lamp red?")], [Message("user", "how do i hit the lamp with a drum and a kite and a bucket?")]]
    together = model.prompt_states(prompts, batch_size=2)
    assert torch.allclose(together[0], model.prompt_states(prompts[:1])[0], atol=1e-4)
    assert torch.allclose(together[1], model.prompt_states(prompts[1:])[0], atol=1e-4)
