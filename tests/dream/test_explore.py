"""Exploring: scores come from the two models alone, the hardest pairs are kept, healed cells cost nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from dream_engine.dream.archive import Archive, Fitness
from dream_engine.dream.explore import Explorer, boundary_kl, scored
from dream_engine.dream.imagine import template_pairs
from dream_engine.errors import InputError
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.policy.pack import Pack, load_pack
from dream_engine.policy.screen import RequestScreen
from dream_engine.types import Scenario


@pytest.fixture(scope="module")
def sandbox() -> ChatModel:
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8, 0.0, seed=1)
    model.copy_adapter("T", "W")
    return model


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("sandbox")


def explorer(pack: Pack, score: object, scope: Sequence[str] = ()) -> Explorer:
    return Explorer(pack, Archive(), RequestScreen(pack, []), score, "002", 5, scope)  # type: ignore[arg-type]


def test_divergence_is_nought_for_equal_models_and_the_hand_computed_value_for_others(sandbox: ChatModel, pack: Pack) -> None:
    """KL(T‖W), not KL(W‖T): against softmaxes of whole logits at the answer positions, one request at a time."""
    asked = [s for pair in template_pairs(pack, 4, seed=1) for s in pair]
    assert boundary_kl(sandbox, "T", "W", asked) == pytest.approx([0.0] * len(asked), abs=1e-4)
    with torch.no_grad():
        for index, weight in enumerate(sandbox.adapter_parameters("W")):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(index)).to(weight.device) * 0.3)
    found = boundary_kl(sandbox, "T", "W", asked)
    for scenario, value in zip(asked, found, strict=True):
        with sandbox.using("T"):
            answer = sandbox.generate([scenario.turns], 5)[0]
        row = [sandbox.encode(scenario.turns, answer.text, answer.ended)]
        with torch.no_grad():
            with sandbox.using("T"):
                p = torch.log_softmax(sandbox.target_logits(row).float(), -1)
            with sandbox.using("W"):
                q = torch.log_softmax(sandbox.target_logits(row).float(), -1)
        assert value == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=0.15, abs=0.02)
    assert max(found) > 0.05


def test_the_hardest_pairs_are_dreamed_and_the_others_are_blocked_with_their_reason(pack: Pack) -> None:
    """Kept and blocked together are what was proposed; nothing that scored lower in its cell was preferred."""
    asked: list[Scenario] = []

    def score(pairs: Sequence[Scenario]) -> list[Fitness]:
        asked.extend(pairs)
        return [Fitness(len(harm.text) / 50) for harm in pairs[::2]]

    night = explorer(pack, score)
    chosen = night.run(120, 30)
    assert len(chosen) == 60
    assert {s.twin_of for s in chosen[1::2]} == {s.id for s in chosen[::2]}
    assert len(chosen) + sum(b.rule == "not_chosen" for b in night.blocked) == len(asked)
    best = {(s.category, s.style): max(len(o.text) for o in asked[::2] if (o.category, o.style) == (s.category, s.style)) for s in chosen[::2]}
    for cell, length in best.items():
        assert length in [len(s.text) for s in chosen[::2] if (s.category, s.style) == cell]


def test_the_search_goes_on_with_children_of_the_hardest(pack: Pack) -> None:
    """From the second round on; each names its parent."""
    night = explorer(pack, lambda pairs: [Fitness(1.0)] * (len(pairs) // 2))
    night.run(90, 200)
    children = [harm for harm, _ in night.seen if harm.generator == "mutate"]
    first = {harm.id for harm, _ in night.seen}
    assert children
    assert all(child.parent in first for child in children)


def test_a_healed_boundary_ends_the_search_early(pack: Pack) -> None:
    """One round of asking, nothing to dream about."""
    night = explorer(pack, lambda pairs: [Fitness(0.001, 0.0, 0.0)] * (len(pairs) // 2))
    assert night.run(300, 50) == [] or len(night.seen) < 200
    wide = explorer(pack, lambda pairs: [Fitness(1.0)] * (len(pairs) // 2))
    wide.run(300, 50)
    assert len(night.seen) < len(wide.seen)


def test_a_scope_is_kept_and_what_other_nights_left_outside_of_it_stays_away(pack: Pack) -> None:
    """Pairs of the scope alone, whatever the archive remembers."""
    score = lambda pairs: [Fitness(1.0)] * (len(pairs) // 2)  # noqa: E731
    first, *rest = pack.categories
    night = explorer(pack, score)
    night.run(60, 200)
    narrow = replace(night, scope=[first], seen=[], blocked=[], night="003", screen=RequestScreen(pack, []))
    assert {s.category for s in narrow.run(60, 200)} == {first}
    assert rest
    assert {c[0] for c in pack.cells([first])} == {first}
    with pytest.raises(InputError, match="nonsense"):
        pack.cells(["nonsense"])


def test_scores_of_sides_that_stand_next_to_each_other_are_of_one_pair() -> None:
    """Harmful first; without a probe nothing is made up."""
    found = scored([0.1, 0.3, 1.0, 3.0], [0.9, 0.1, 0.2, 0.7])
    assert [(f.kl, f.wrong) for f in found] == [(pytest.approx(0.2), 0.0), (pytest.approx(2.0), 1.0)]
    assert [f.wrong for f in scored([0.1, 0.3], None)] == [None]
