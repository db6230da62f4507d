"""Device and precision: the hardware decides only when nobody else has."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.models.pretrained import cpu_multiplies_bf16, pick_dtype


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
