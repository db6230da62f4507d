"""From a folder or hub id to the bare model, and which device and precision it gets. Knows nothing of chat or adapters."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from dream_engine.errors import InputError
from dream_engine.models.attention import implementation


def pretrained(place: str, dtype: torch.dtype, device: str, quantization: str = "none") -> Any:
    """The bare model of a folder or hub id, from safetensors only; every tensor from the file, none drawn at random."""
    try:
        config = AutoConfig.from_pretrained(place)
        more = {"quantization_config": _four_bit(dtype), "device_map": device} if quantization == "4bit" else {}
        model, found = AutoModelForCausalLM.from_pretrained(
            place,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            attn_implementation=implementation(config, device),
            output_loading_info=True,
            **more,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise not_loaded(place, error) from error
    absent = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if absent:
        raise InputError(f"model {place!r} cannot be loaded: its files lack {len(absent)} tensors that config.json asks for, such as {absent[0]}")
    return model if more else model.to(device)


def _four_bit(dtype: torch.dtype) -> Any:
    """NF4 weights that are multiplied in `dtype` (QLoRA, 2305.14314).

    Raises:
        InputError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise InputError("model.quantization: 4bit needs bitsandbytes; run: pip install bitsandbytes")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def not_loaded(source: str, error: Exception) -> InputError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"model {source!r} cannot be loaded: {first} Use a local folder, a cached hub id, 'smollm2-135m' or 'sandbox'.")


def pick_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_dtype(dtype: str, source: str, device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float32: a CPU without it takes ten times as long a step."""
    if dtype != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[dtype]
    return torch.bfloat16 if source != "sandbox" and multiplies_bf16(device) else torch.float32


def multiplies_bf16(device: str) -> bool:
    """Whether this machine multiplies bfloat16 there, as every accelerator does."""
    return device != "cpu" or cpu_multiplies_bf16(torch.cpu.get_capabilities())


def cpu_multiplies_bf16(capabilities: Mapping[str, Any]) -> bool:
    """Whether any of the processor's instruction sets has bfloat16 products (AVX512-BF16, AMX-BF16, ARM BF16)."""
    return any(bool(has) for name, has in capabilities.items() if "bf16" in name)
