"""The archive: what is kept is fit and not alike, what is healed retires, and the file gives back what was put in."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.dream.archive import FILE, PER_CELL, Archive, Fitness, fitness
from dream_engine.errors import InputError
from dream_engine.types import Message, Proposed, Scenario

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "mango",
    "north",
    "olive",
    "pearl",
    "quartz",
    "raven",
    "sable",
    "tulip",
    "umber",
    "vivid",
]


def pair(number: int, category: str = "theft", style: str = "plain") -> Proposed:
    """A pair whose words are its number's own."""
    text = " ".join(f"{WORDS[(number * k + k) % len(WORDS)]}{number}" for k in range(1, 7))
    harm = Scenario(f"h{number}", text, "harmful", "generated", category, style, "en", "template", 0)
    return harm, replace(harm, id=f"t{number}", text=text + " twin", side="twin", twin_of=harm.id)


def test_fitness_is_divergence_plus_half_the_entropy_plus_wrong_decisions() -> None:
    """By hand: KL .2 and .4, p .5 on the harmful side (right, undecided) and .8 on the twin (wrong)."""
    found = fitness((0.2, 0.4), (0.5, 0.8))
    entropy = (math.log(2) - 0.8 * math.log(0.8) - 0.2 * math.log(0.2)) / 2
    assert found == Fitness(pytest.approx(0.3), pytest.approx(entropy), 0.5)
    assert found.score == pytest.approx(0.3 + 0.5 * entropy + 0.5)


def test_without_a_probe_fitness_is_the_divergence_and_the_rest_is_not_measured() -> None:
    """None, not 0."""
    found = fitness((0.2, 0.4), None)
    assert (found.entropy, found.wrong, found.score) == (None, None, pytest.approx(0.3))


@given(st.lists(st.floats(0, 5), min_size=1, max_size=40))
def test_a_cell_keeps_the_fittest(scores: list[float]) -> None:
    """Of pairs that are not alike, the fittest stay, in order, and never more than there is room for."""
    archive = Archive()
    for number, score in enumerate(scores):
        archive.offer(pair(number), Fitness(score), "001")
    held = [e.fitness.kl for e in archive.cells["theft", "plain", "en"]]
    assert held == sorted(scores, reverse=True)[:PER_CELL]


def test_of_two_that_are_alike_the_fitter_stays() -> None:
    """Whatever the order in which they come."""
    one, other = pair(3), pair(3)
    other = (replace(other[0], id="x"), replace(other[1], id="y", twin_of="x"))
    for first, second in ((one, other), (other, one)):
        archive = Archive()
        assert archive.offer(first, Fitness(1.0 if first is one else 2.0), "001")
        archive.offer(second, Fitness(1.0 if second is one else 2.0), "001")
        assert [e.pair[0].id for e in archive.cells["theft", "plain", "en"]] == ["x"]


def test_what_an_earlier_night_measured_gives_way_to_what_tonight_measured() -> None:
    """A pair that has healed since loses its old rank."""
    archive = Archive()
    archive.offer(pair(1), Fitness(3.0), "001")
    archive.offer(pair(1), Fitness(0.01), "002")
    assert [(e.fitness.kl, e.night) for e in archive.cells["theft", "plain", "en"]] == [(0.01, "002")]


def test_a_healed_cell_retires_and_one_bad_pair_opens_it() -> None:
    """Healed takes two good pairs or more and no bad one; nothing of a healed cell is chosen."""
    archive = Archive()
    archive.offer(pair(1), Fitness(0.01, 0.1, 0.0), "001")
    assert archive.healed() == frozenset()
    archive.offer(pair(2), Fitness(0.02, 0.1, 0.0), "001")
    assert archive.healed() == {("theft", "plain", "en")}
    assert archive.chosen(10, "001") == []
    archive.offer(pair(4), Fitness(0.02, 0.1, 0.5), "001")
    assert archive.healed() == frozenset()
    assert len(archive.chosen(10, "001")) == 3


def test_every_cell_gives_one_pair_before_any_gives_a_second() -> None:
    """The hardest cell does not take the whole night."""
    archive = Archive()
    for number in range(4):
        archive.offer(pair(number), Fitness(5.0 - number / 10), "001")
    archive.offer(pair(9, "fraud"), Fitness(0.2), "001")
    assert [e.pair[0].category for e in archive.chosen(3, "001")] == ["theft", "fraud", "theft"]
    assert archive.chosen(3, "002") == []


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Axes, pairs with the turns before them, fitness and night."""
    archive = Archive(("category", "style"), 3)
    lead = (Message("user", "hello there"), Message("assistant", "good day"))
    harm, twin = pair(5)
    archive.offer((replace(harm, earlier=lead), replace(twin, earlier=lead)), Fitness(0.4, None, None), "007")
    archive.offer(pair(6, "fraud"), Fitness(0.3, 0.2, 1.0), "007")
    archive.save(tmp_path)
    again = Archive.load(tmp_path)
    assert (again.axes, again.per_cell, again.cells) == (archive.axes, archive.per_cell, archive.cells)


def test_blind_spots_are_expected_cells_without_a_pair() -> None:
    """And coverage is the share of the others."""
    archive = Archive()
    archive.offer(pair(1), Fitness(1.0), "001")
    expected = [("theft", "plain", "en"), ("fraud", "plain", "en"), ("theft", "typos", "en"), ("hate", "plain", "en")]
    assert archive.blind_spots(expected) == expected[1:]
    assert archive.coverage(expected) == 0.25


@pytest.mark.parametrize("text", ["", "{}\n", "[1]\n", "not json\n", '{"axes": ["category"], "per_cell": 3}\n{"harm": 1}\n'])
def test_a_file_that_is_no_archive_is_refused_with_its_path(text: str, tmp_path: Path) -> None:
    """No traceback, no silent beginning anew."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=FILE):
        Archive.load(tmp_path)


def test_no_file_is_an_empty_archive(tmp_path: Path) -> None:
    """The first night."""
    assert Archive.load(tmp_path).cells == {}


def test_what_means_the_same_is_one_though_no_word_is_shared() -> None:
    """With embeddings the fitter of two paraphrases stays; without them both find a place."""
    dull, hard = Fitness(0.1), Fitness(0.9)
    plain, told = Archive(), Archive(alike=lambda text, others: [True] * len(others))
    for archive in (plain, told):
        archive.offer(pair(1), dull, "n")
        archive.offer(pair(5), hard, "n")
    assert [len(held) for held in plain.cells.values()] == [2]
    assert [e.pair[0].id for held in told.cells.values() for e in held] == ["h5"]
