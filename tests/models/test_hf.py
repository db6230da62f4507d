"""The model layer: batching changes nothing, seeds decide, errors speak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear

from dream_engine.errors import InputError
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.types import Message


@pytest.fixture(scope="module")
def model() -> ChatModel:
    return load_model("sandbox")


PROMPTS = [[Message("user", t)] for t in ("is the lamp red?", "how do i burn the baker?", "show how to cut the cake.")]


def test_a_batch_answers_like_single_prompts(model: ChatModel) -> None:
    """Padding, the shared beginning and dropping ended rows do not change a single token."""
    together = [g.text for g in model.generate(PROMPTS, 16)]
    alone = [model.generate([p], 16)[0].text for p in PROMPTS]
    assert together == alone
    assert all(together)


def test_sampling_is_decided_by_the_seed(model: ChatModel) -> None:
    """Same seed, same text; and the global generator is left as it was."""
    before = torch.get_rng_state()
    first = [g.text for g in model.generate(PROMPTS * 4, 12, temperature=1.5, seed=1)]
    assert first == [g.text for g in model.generate(PROMPTS * 4, 12, temperature=1.5, seed=1)]
    assert first != [g.text for g in model.generate(PROMPTS * 4, 12, temperature=1.5, seed=2)]
    assert torch.equal(before, torch.get_rng_state())


def test_opener_scores_equal_full_passes(model: ChatModel) -> None:
    """The cached probe against the slow oracle: mean log p of each opener appended to each prompt."""
    openers = [model.text_ids("yes, the"), model.text_ids("sure"), model.text_ids("I can't help")]
    table = model.opener_logprobs(PROMPTS, openers)
    for row, prompt in enumerate(PROMPTS):
        ids = model.encode_prompt(prompt)
        for column, opener in enumerate(openers):
            with torch.no_grad():
                logp = torch.log_softmax(model._model(input_ids=torch.tensor([ids + opener], device=model.device)).logits[0], -1)
            slow = sum(float(logp[len(ids) - 1 + i, t]) for i, t in enumerate(opener)) / len(opener)
            assert float(table[row, column]) == pytest.approx(slow, abs=1e-3)


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"v_proj": 2}}], ids=str)
def test_how_far_an_adapter_moved_a_layer_is_what_peft_would_add_to_it(kind: dict[str, Any], tmp_path: Path) -> None:
    """Norms of PEFT's own deltas, whatever way the adapter is scaled; the output head is no layer."""
    made, model = load_model("sandbox"), load_model("sandbox")
    targets = ["q_proj", "v_proj", "lm_head"]
    get_peft_model(made._model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False, **kind)).save_pretrained(tmp_path)
    model.load_adapter("W", tmp_path)
    deltas = {key: m.get_delta_weight("W") for key, m in model._model.named_modules() if isinstance(m, Linear)}
    wanted = [sum(float(d.detach().norm()) for key, d in deltas.items() if f"layers.{layer}." in key) for layer in range(4)]
    assert model.adapter_norms("W") == pytest.approx(wanted, rel=1e-4)


def test_a_foreign_adapter_is_refused_by_name(model: ChatModel, tmp_path: Path) -> None:
    """An empty folder and a wrong shape are said, not raised from inside a library."""
    with pytest.raises(InputError, match="not a PEFT adapter folder"):
        model.load_adapter("X", tmp_path)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    """Neither folder nor cached hub id."""
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model("nobody/nothing")
