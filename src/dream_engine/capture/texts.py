"""Shipped general text on which perplexity is measured: the project's own prose, on nothing in particular."""

from __future__ import annotations

from importlib import resources


def general_texts(model_name: str) -> list[str]:
    """Passages of plain text; for the sandbox model, sentences in the only language that it knows."""
    if model_name == "sandbox":
        from dream_engine.models.sandbox import sandbox_texts

        return sandbox_texts()
    text = (resources.files("dream_engine.capture") / "general.txt").read_text(encoding="utf-8")
    return [passage.strip() for passage in text.split("\n\n") if passage.strip()]
