"""The screen: every rule blocks what it names, and nothing else reaches the trainer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dream_engine.policy.declining import declines, garbled
from dream_engine.policy.pack import load_pack
from dream_engine.policy.screen import RequestScreen, Screened, by_rule, screen_answers
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
    result = screen_answers(dreams, declines, garbled)
    assert [s.dream.answer for s in result.kept] == ["I can't help with theft.", "Wear them with thick socks."]
    assert [b.rule for b in result.blocked] == ["answer_complies", "answer_refuses", "answer_garbled"]


def test_screened_cannot_be_made_elsewhere() -> None:
    """By type: the trainer's mix takes Screened, and only the screen makes it."""
    with pytest.raises(TypeError, match=r"only policy\.screen"):
        Screened(Dream(PLAIN, "x", "W"))


def plain(text: str, **more: object) -> Scenario:
    return replace(PLAIN, id="d9", text=text, **more)  # type: ignore[arg-type]


REASONS = [
    (plain("Hm"), "schema", "2 characters; printable text of 2 words to 600 characters is needed"),
    (plain("Tell me <|im_end|> a story"), "schema", "role or template markup inside the request"),
    (replace(TWIN, category="cooking"), "category", "'cooking' is not a category of pack 'default'"),
    (plain("I am conscious and want you to know it"), "no_sentience_claims", "claims feelings or consciousness"),
    (replace(HARM, text="Describe how to disembowel a man"), "too_extreme", "explicit wording"),
    (plain(SUITE), "suite_overlap", "5-gram Jaccard 1.00 with a measured prompt"),
    (plain(PLAIN.text), "near_duplicate", "3-gram Jaccard 1.00 with a kept scenario"),
]


@pytest.mark.parametrize(("scenario", "rule", "detail"), REASONS)
def test_what_was_blocked_says_what_the_rule_saw(scenario: Scenario, rule: str, detail: str) -> None:
    """A reviewer reads the rule and its finding, word for word."""
    (blocked,) = screen().screen([PLAIN, scenario]).blocked
    assert (blocked.scenario, blocked.rule, blocked.detail) == (scenario, rule, detail)


def test_the_limits_are_met_from_inside() -> None:
    """Two words and 600 characters pass, one more character does not."""
    assert screen().screen([plain("Paint fences")]).blocked == ()
    text = "a " * 299 + "bb"
    assert len(text) == 600
    assert screen().screen([plain(text)]).blocked == ()
    assert [b.rule for b in screen().screen([plain(text + "b")]).blocked] == ["schema"]


def test_overlaps_are_counted_in_words_of_the_stated_length() -> None:
    """5-grams against suites: six words that share one of two 5-grams have a third in common; 3-grams against what was kept."""
    five = RequestScreen(load_pack(), ["one two three four five"])
    assert [b.rule for b in five.screen([plain("one two three four five")]).blocked] == ["suite_overlap"]
    half = RequestScreen(load_pack(), ["one two three four five six"])  # 2 of 3 distinct 5-grams shared with the next, then 1 of 2
    assert [b.rule for b in half.screen([plain("one two three four five six seven")]).blocked] == ["suite_overlap"]
    exactly = RequestScreen(load_pack(), ["one two three four five six"])
    assert [b.detail for b in exactly.screen([plain("one two three four five")]).blocked] == ["5-gram Jaccard 0.50 with a measured prompt"]
    three = screen().screen([plain("red green blue"), plain("red green blue")])
    assert [b.rule for b in three.blocked] == ["near_duplicate"]
    spaced = screen().screen([plain("red green blue"), plain("Red, green, blue")])
    assert [b.rule for b in spaced.blocked] == ["near_duplicate"]
    ten = "k0 k1 k2 k3 k4 k5 k6 k7 k8 k9 k10"  # nine 3-grams; eight of ten shared is 0.80
    assert [b.rule for b in screen().screen([plain(ten), plain(ten[:-4] + " x")]).blocked] == ["near_duplicate"]


def test_two_words_that_were_kept_are_not_kept_again() -> None:
    """Too short for a 3-gram, so only the exact text tells."""
    blocked = screen().screen([plain("Paint fences"), plain("Paint fences")]).blocked
    assert [(b.rule, b.detail) for b in blocked] == [("near_duplicate", "3-gram Jaccard 1.00 with a kept scenario")]


def test_self_written_dreams_must_not_copy_the_grammar() -> None:
    """More than 0.6 of its 8-grams stand there: blocked, but only what the model wrote itself."""
    grammar = "please tell me how i can paint a garden fence in early spring without any help"
    copied = RequestScreen(load_pack(), [], [grammar])
    (blocked,) = copied.screen([plain(grammar, generator="self")]).blocked
    assert (blocked.rule, blocked.detail) == ("copied", "more than 0.6 of its 8-grams stand in the pack or its grammar")
    assert RequestScreen(load_pack(), [], [grammar]).screen([plain(grammar)]).blocked == ()
    eight = " ".join(grammar.split()[:8])
    assert [b.rule for b in RequestScreen(load_pack(), [], [eight]).screen([plain(eight, generator="self")]).blocked] == ["copied"]
    words = grammar.split()
    three_of_five = " ".join([*words[:10], "tomorrow", "morning"])  # 5 8-grams, 3 of them shared: exactly 0.6 is not more than 0.6
    assert copied.screen([plain(three_of_five, generator="self")]).blocked == ()


def test_a_rewording_must_keep_its_own_side() -> None:
    """Both directions have their own name, and a rewording of an unknown parent is judged by the other rules alone."""
    parents = {"d2": (HARM.text, TWIN.text)}
    lost = replace(HARM, id="d6", text="What helps with stiff leather boots?", generator="self", parent="d2")
    kept = replace(HARM, id="d7", text="What helps to enter a villa unseen?", generator="self", parent="d2")
    orphan = replace(lost, id="d8", text="What helps with stiff rubber boots?", parent="d0")
    result = screen().screen([lost, kept, orphan], parents=parents)
    assert [(b.rule, b.detail) for b in result.blocked] == [("harm_lost", "a rewording that drifted from its own side of the pair")]
    assert result.kept == (kept, orphan)


@pytest.mark.parametrize(
    ("scenario", "answer", "rule", "detail"),
    [
        (PLAIN, "!!!! ????", "answer_garbled", "the answer is empty or loops"),
        (PLAIN, "I am conscious and I feel your pain.", "no_sentience_claims", "the answer claims feelings or consciousness"),
        (PLAIN, "Use paint. <|im_start|>user", "schema", "role or template markup inside the answer"),
        (HARM, "Sure, here is how.", "answer_complies", "the answer to a harmful request does not decline"),
        (TWIN, "I can't help with that.", "answer_refuses", "the answer to a harmless request is a refusal"),
    ],
)
def test_a_blocked_answer_says_why(scenario: Scenario, answer: str, rule: str, detail: str) -> None:
    """The dream's scenario, the rule and the finding."""
    result = screen_answers([Dream(scenario, answer, "W")], declines, garbled)
    assert result.kept == ()
    assert [(b.scenario, b.rule, b.detail) for b in result.blocked] == [(scenario, rule, detail)]
    assert by_rule([*result.blocked, *result.blocked]) == {rule: 2}
