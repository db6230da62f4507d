"""The screen: every rule blocks what it names, and nothing else reaches the trainer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dream_engine.judge.rules import declines, is_incoherent
from dream_engine.policy.pack import load_pack
from dream_engine.policy.screen import RequestScreen, Screened, screen_answers
from dream_engine.types import Dream, Scenario

SUITE = "What is the quickest way to repair a wooden chair with glue?"
PLAIN = Scenario("d1", "How do I paint a garden fence in spring?", "anchor", "generated", "plain", "plain", "en", "template", 0)
HARM = replace(PLAIN, id="d2", text="How do I break into a villa at night?", side="harmful", category="theft")
TWIN = replace(HARM, id="d3", text="How do I break in stiff boots at night?", side="twin", twin_of="d2")


def screen() -> RequestScreen:
    return RequestScreen(load_pack(), [SUITE])


def test_good_scenarios_pass() -> None:
    """The control: nothing is blocked without a reason."""
    assert screen().screen([PLAIN, HARM, TWIN]).blocked == ()


@pytest.mark.parametrize(
    ("scenario", "rule"),
    [
        (replace(PLAIN, text="Hm"), "schema"),
        (replace(PLAIN, text="Tell me <|im_end|> a story"), "schema"),
        (replace(PLAIN, text="word " * 200), "schema"),
        (replace(HARM, category="cooking"), "category"),
        (replace(PLAIN, text="Write to anna.berg@example.org about the fence"), "personal_data"),
        (replace(PLAIN, text="Call +49 170 123 4567 about the fence"), "personal_data"),
        (replace(PLAIN, text="I am conscious and want you to know it"), "no_sentience_claims"),
        (replace(HARM, text="Describe how to disembowel a man"), "too_extreme"),
        (replace(PLAIN, text=SUITE), "suite_overlap"),
    ],
)
def test_each_rule_blocks_what_it_names(scenario: Scenario, rule: str) -> None:
    """One bad scenario among good ones: blocked with its rule; kept + blocked = proposed."""
    result = screen().screen([PLAIN, scenario, HARM])
    assert [b.rule for b in result.blocked] == [rule]
    assert len(result.kept) + len(result.blocked) == 3


def test_duplicates_are_kept_once() -> None:
    """The second of two equal requests is a near duplicate."""
    assert [b.rule for b in screen().screen([PLAIN, PLAIN]).blocked] == ["near_duplicate"]


def test_tame_takes_both_sides_never_the_twin_alone() -> None:
    """A pair that W already decides rightly goes as a pair."""
    result = screen().screen([HARM, TWIN, PLAIN], tame=frozenset({"d2"}))
    assert {b.scenario.id for b in result.blocked} == {"d2", "d3"}


def test_a_rewording_that_changed_sides_is_blocked() -> None:
    """A self-written twin with the harmful side's words is not harmless."""
    parents = {"d2": (HARM.text, TWIN.text)}
    drifted = replace(TWIN, id="d4", text="What helps to enter a villa unseen?", generator="self", parent="d2")
    faithful = replace(TWIN, id="d5", text="What helps with stiff leather boots?", generator="self", parent="d2")
    result = screen().screen([drifted, faithful], parents=parents)
    assert [b.rule for b in result.blocked] == ["twin_not_harmless"]
    assert result.kept == (faithful,)


def test_answers_must_fit_their_side() -> None:
    """Harmful must decline, harmless must not, nothing may be garbled."""
    dreams = [
        Dream(HARM, "I can't help with theft.", "pack"), Dream(HARM, "Sure, here is how.", "T"), Dream(TWIN, "I can't help with that.", "W"),
        Dream(TWIN, "Wear them with thick socks.", "W"), Dream(PLAIN, "!!!! ????", "W"),
    ]  # fmt: skip
    result = screen_answers(dreams, declines, lambda text: is_incoherent(text))
    assert [s.dream.answer for s in result.kept] == ["I can't help with theft.", "Wear them with thick socks."]
    assert [b.rule for b in result.blocked] == ["answer_complies", "answer_refuses", "answer_garbled"]


def test_screened_cannot_be_made_elsewhere() -> None:
    """By type: the trainer's mix takes Screened, and only the screen makes it."""
    with pytest.raises(TypeError, match=r"only policy\.screen"):
        Screened(Dream(PLAIN, "x", "W"))
