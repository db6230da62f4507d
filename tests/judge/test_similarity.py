"""Loss of similarity: 0 for an unchanged model, by hand for made-up vectors, and the real embedder tells paraphrases from other things."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from dream_engine.errors import IntegrityError
from dream_engine.judge.measure import Bench
from dream_engine.judge.similarity import lost, similarity_lost
from dream_engine.judge.suites import shipped_suites
from dream_engine.models import embedding
from dream_engine.models.hf import load_model
from dream_engine.types import Interval, Missing

needs_embeddings = pytest.mark.skipif(find_spec(embedding.PACKAGE) is None, reason="the extra dream-engine[embeddings] is not installed")


def letters(texts: Sequence[str]) -> torch.Tensor:
    """A stand-in embedder: how often a and b occur, scaled to length 1."""
    return torch.nn.functional.normalize(torch.tensor([[text.count("a"), text.count("b")] for text in texts], dtype=torch.float32), dim=-1)


def test_the_loss_is_the_difference_of_cosines() -> None:
    """cos(a, a) = 1, cos(a, b) = 0; cos(a, ab) = 0.7071. Mean of 1 and 0.2929."""
    found = lost(["a", "a"], ["a", "a"], ["b", "ab"], ["x", "y"], letters, 0)
    assert isinstance(found, Interval)
    assert found.value == pytest.approx((1 + 1 - 2**-0.5) / 2, abs=1e-4)
    assert found.n == 2


def test_without_plain_prompts_it_is_missing() -> None:
    """Unknown, not 0."""
    assert isinstance(lost([], [], [], [], letters, 0), Missing)


def test_an_unchanged_candidate_loses_exactly_nothing() -> None:
    """C with W's weights samples what W samples."""
    model = load_model("sandbox")
    for name in ("W", "C"):
        model.add_adapter(name, 4, 8, seed=1)
    bench = Bench(tuple(p for p in shipped_suites() if p.side == "anchor")[:40], answer_tokens=8)
    found = similarity_lost(model, "W", "C", bench, {}, lambda texts: letters([text + "a" for text in texts]), 0)
    assert isinstance(found, Interval)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@needs_embeddings
def test_the_real_embedder_gives_unit_vectors_and_knows_a_paraphrase() -> None:
    """The contract that the stand-in keeps: (N, D), length 1; closer in meaning is closer in angle."""
    embed = embedding.embedder()
    assert embed is not None
    vectors = embed(["The shop opens at nine.", "The store is open from nine o'clock.", "A whale is a mammal."])
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[2]) + 0.3


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name with other weights does not judge."""
    package = tmp_path / embedding.PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model" / "model.safetensors").write_bytes(b"other")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(IntegrityError, match="pinned"):
        embedding.embedder()


def test_texts_are_alike_from_a_cosine_on_and_are_read_once() -> None:
    """A made-up embedder that counts: 'ab' and 'ba' are one, 'aaaa' is not; nothing is embedded a second time."""
    read: list[str] = []

    def embed(texts: Sequence[str]) -> torch.Tensor:
        read.extend(texts)
        return torch.nn.functional.normalize(torch.tensor([[float(t.count("a")), float(t.count("b"))] for t in texts]), dim=1)

    alike = embedding.meaning_alike(embed, 0.9)
    assert alike("ab", ["ba", "aaaa"]) == [True, False]
    assert alike("ba", ["aaaa", "ab"]) == [False, True]
    assert read == ["ab", "ba", "aaaa"]
