"""Where unpacked models are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_engine.models.bundled import cache_home


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours goes before the desktop's, and neither, set to nothing, puts models into the folder where a command happens to run."""
    monkeypatch.setenv("DREAM_ENGINE_CACHE", "/ours")
    monkeypatch.setenv("XDG_CACHE_HOME", "/theirs")
    assert cache_home() == Path("/ours")
    monkeypatch.setenv("DREAM_ENGINE_CACHE", "")
    assert cache_home() == Path("/theirs/dream-engine")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_home() == Path.home() / ".cache" / "dream-engine"
