"""The model layer: batching changes nothing, seeds decide, errors speak."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.errors import InputError
from dream_engine.models.hf import (
    ChatModel,
    by_length,
    by_tokens,
    common_prefix,
    cpu_multiplies_bf16,
    load_model,
    pad_left,
    pad_right,
    pick_dtype,
)
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


def test_a_foreign_adapter_is_refused_by_name(model: ChatModel, tmp_path: Path) -> None:
    """An empty folder and a wrong shape are said, not raised from inside a library."""
    with pytest.raises(InputError, match="not a PEFT adapter folder"):
        model.load_adapter("X", tmp_path)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    """Neither folder nor cached hub id."""
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model("nobody/nothing")


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 2000))
def test_batches_hold_every_row_once(lengths: list[int], budget: int) -> None:
    """Property: no row lost or doubled; no batch of several rows over its padded budget."""
    for batches in (by_tokens(lengths, budget), by_length(lengths, 7)):
        assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in by_tokens(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_padding_and_prefix() -> None:
    """Left and right padding, and the common beginning that leaves every row something to read."""
    assert pad_left([[1], [2, 3]], 0)[0].tolist() == [[0, 1], [2, 3]]
    assert pad_right([[1], [2, 3]], 0)[1].tolist() == [[1, 0], [1, 1]]
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_prefix([[1, 2], [1, 2]]) == 1
    assert common_prefix([[1, 2, 3]]) == 0


@given(st.dictionaries(st.sampled_from(["avx2", "avx512_f", "avx512_bf16", "amx_bf16", "arm_bf16"]), st.booleans()))
def test_bf16_is_chosen_on_a_cpu_only_where_one_instruction_set_multiplies_it(capabilities: dict[str, bool]) -> None:
    """Emulated bf16 products take ten times as long a step, so a set without them must not count."""
    assert cpu_multiplies_bf16(capabilities) == any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def test_a_named_dtype_is_obeyed_and_auto_looks_at_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hardware decides only when nobody else has."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert pick_dtype("bfloat16", "a-model", "cpu") == torch.bfloat16
    assert pick_dtype("float32", "a-model", "cuda") == torch.float32
    assert pick_dtype("auto", "a-model", "cpu") == torch.float32
    assert pick_dtype("auto", "a-model", "cuda") == torch.bfloat16
    assert pick_dtype("auto", "sandbox", "cuda") == torch.float32
