"""The shipped pack is complete, and a broken one says what is wrong."""

from __future__ import annotations

import random
import re
from importlib import resources
from pathlib import Path

import pytest

from dream_engine.dream.imagine import template_anchors, template_pairs
from dream_engine.errors import InputError
from dream_engine.judge.suites import shipped_suites
from dream_engine.policy.declining import declines
from dream_engine.policy.pack import load_pack, problems
from dream_engine.policy.text_rules import Overlap


def test_the_default_pack_is_complete() -> None:
    """At least 10 categories, 15 pairs each, 6 styles, a critical one, every slot listed."""
    pack = load_pack()
    assert problems(pack) == []
    assert {"violence", "self_harm", "child_safety", "weapons"} <= pack.critical


def test_problems_name_what_is_missing() -> None:
    """The small pack of the sandbox lacks categories, styles and pairs, and each is said."""
    found = " ".join(problems(load_pack("sandbox")))
    for word in ("categories", "styles", "pairs"):
        assert word in found


def test_every_refusal_form_declines_in_the_judges_eyes() -> None:
    """What the pack teaches is what the judge recognises, in each category and language."""
    pack, rng = load_pack(), random.Random(0)
    for category in pack.categories:
        for language in ("en", "es"):
            assert all(declines(pack.refusal(category, language, rng)) for _ in range(20))


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a list", "must be a mapping"), ("a: [", "not valid YAML"), ("format: dream-engine-pack/1", "name"), ("format: other/9", "format")],
)
def test_a_broken_pack_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    """No traceback: the file and the field are named."""
    path = tmp_path / "pack.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_pack(str(path))


@pytest.mark.parametrize("entry", ["7", "{es: uno, fr: un}", "{es: 7}", "[uno]"])
def test_a_plain_request_that_is_none_is_named(tmp_path: Path, entry: str) -> None:
    """A text, or one language and a text; anything else is said with its place in the list."""
    shipped = (resources.files("dream_engine.policy") / "packs" / "sandbox.yaml").read_text(encoding="utf-8")
    path = tmp_path / "pack.yaml"
    path.write_text(shipped.replace("anchors:\n", f"anchors:\n  - {entry}\n"), encoding="utf-8")
    with pytest.raises(InputError, match=r"anchors\.0\.text: Input should be a valid string"):
        load_pack(str(path))


def test_an_unknown_pack_is_refused() -> None:
    """Neither shipped nor a file."""
    with pytest.raises(InputError, match="neither a shipped pack nor a file"):
        load_pack("nowhere")


def test_both_sides_of_a_pair_have_the_same_form() -> None:
    """Style, language and category agree, and the pair is linked; the same seed gives the same pairs."""
    pairs = template_pairs(load_pack(), 300, seed=3)
    assert len(pairs) == 300
    assert len({h.text.lower() for h, _ in pairs}) == 300
    for harm, twin in pairs:
        assert (harm.category, harm.style, harm.language) == (twin.category, twin.style, twin.language)
        assert twin.twin_of == harm.id
    assert pairs == template_pairs(load_pack(), 300, seed=3)


def test_every_style_and_category_is_drawn() -> None:
    """No cell of category × style is a blind spot of the grammar at 300 pairs."""
    cells = {(h.category, h.style) for h, _ in template_pairs(load_pack(), 300, seed=1)}
    assert len(cells) == 12 * 10


def test_suites_share_no_filler_and_no_wording_with_the_grammar() -> None:
    """Largest 5-gram Jaccard of any suite prompt against 20,000 expansions is under 0.5; no content word of a slot is in a suite."""
    pack, suites = load_pack(), shipped_suites("standard")
    expansions = [s.text for pair in template_pairs(pack, 10_000, seed=11) for s in pair] + [s.text for s in template_anchors(pack, 2000, seed=11)]
    index = Overlap(expansions, 5)
    assert max(index.nearest(p.text) for p in suites) < 0.5
    words_of_form = {"amount", "genre", "group", "tongue"}  # numbers, kinds of text, whole peoples, and Polish, which is a verb too
    for slot in pack.slots.keys() - words_of_form:
        for filler in pack.slots[slot]:
            word = re.compile(rf"\b{re.escape(filler)}\b")
            assert not any(word.search(p.text) for p in suites), f"{slot}: {filler}"


def test_anchors_fill_their_slots_and_are_seeded() -> None:
    """No brace is left, no request comes twice, one in five wears a style, and the seed decides."""
    pack = load_pack()
    drawn = template_anchors(pack, 600, seed=4)
    assert len({s.text for s in drawn}) == 600
    assert not any("{" in s.text for s in drawn)
    assert drawn == template_anchors(pack, 600, seed=4) != template_anchors(pack, 600, seed=5)
    frames = [ask.split("{x}") for style in pack.styles.values() for ask in style.ask if ask != "{x}"]
    styled = [s for s in drawn if any(s.text.startswith(before) and s.text.endswith(after) for before, after in frames)]
    assert 90 < len(styled) < 180


def test_a_second_language_without_plain_requests_is_a_problem() -> None:
    """Spanish pairs and no Spanish anchor: the language itself would be a reason to decline, and `problems` says so."""
    pack = load_pack()
    english = pack.model_copy(update={"anchors": [plain for plain in pack.anchors if plain.language == "en"]})
    assert len(english.anchors) < len(pack.anchors)
    assert [p for p in problems(english) if "'es'" in p] == problems(english) != []


def test_a_plain_request_says_its_language_where_it_is_not_english() -> None:
    """`{es: …}` in the file is a Spanish form; drawn by language, nothing else comes."""
    spanish = [s for s in template_anchors(load_pack(), 70, 1, "es") if s.language == "es"]
    assert len(spanish) == 70
    assert {s.language for s in template_anchors(load_pack(), 300, 1)} == {"en", "es"}
    assert template_anchors(load_pack(), 5, 1, "fr") == []
