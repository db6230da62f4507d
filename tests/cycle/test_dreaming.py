"""What a night draws from the grammar, and for what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.config import load_config
from dream_engine.cycle.dreaming import DrawnPairs, drawn_pairs
from dream_engine.policy.pack import load_pack

PACK = load_pack("default")
few = st.integers(0, 20)


@settings(deadline=None)
@given(shown=st.integers(2, 20), reworded=few, held_out=few, prefaced=few)
def test_no_pair_of_a_night_serves_two_ends(shown: int, reworded: int, held_out: int, prefaced: int) -> None:
    """As many of each as were asked for, and none twice: what the step is settled on is not rehearsed."""
    night = drawn(shown=shown, reworded=reworded, held_out=held_out, prefaced=prefaced)
    assert [len(part) for part in night] == [shown, reworded, 0, held_out, prefaced]
    texts = [harmful.text for part in night for harmful, _ in part]
    assert len(set(texts)) == len(texts)


@settings(deadline=None)
@given(prefaced=few, more=few)
def test_a_remedy_adds_pairs_and_changes_none(prefaced: int, more: int) -> None:
    """The night after a SABAR asks for more pairs behind another request; everything else that it draws stays as it was."""
    before, after = (drawn(shown=20, held_out=10, prefaced=n) for n in (prefaced, prefaced + more))
    assert after[:-1] == before[:-1]
    assert after.prefaced[:prefaced] == before.prefaced


def drawn(shown: int = 0, reworded: int = 0, held_out: int = 0, prefaced: int = 0) -> DrawnPairs:
    sizes = {"pairs": shown, "reworded_pairs": reworded, "settle_pairs": held_out, "prefaced_pairs": prefaced}
    night: Any = SimpleNamespace(config=load_config(None, [f"dream.{key}={n}" for key, n in sizes.items()]), pack=PACK, seed=lambda _: 5)
    return drawn_pairs(night)
