"""P24: what a text filter or the rule judge says does not change with typography, invisible characters or encoding."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable

import pytest

from dream_engine.judge import rules
from dream_engine.judge.labelled import labelled_answers
from dream_engine.policy.declining import declines, garbled
from dream_engine.policy.text_rules import claims_sentience, is_explicit


def apostrophe(sign: str) -> Callable[[str], str]:
    return lambda text: text.replace("'", sign)


def space(sign: str) -> Callable[[str], str]:
    return lambda text: text.replace(" ", sign)


def strewn(sign: str) -> Callable[[str], str]:
    """An invisible character within every word."""
    return lambda text: "".join(c + sign if i % 3 == 1 else c for i, c in enumerate(text))


def letters(small: int, capital: int) -> Callable[[str], str]:
    """Another alphabet of the compatibility area."""
    plain = {ord("a") + i: chr(small + i) for i in range(26)} | {ord("A") + i: chr(capital + i) for i in range(26)}
    return lambda text: text.translate(plain)


TRANSFORMS: dict[str, Callable[[str], str]] = {
    "curly apostrophes": apostrophe("\u2019"),
    "opening quotes": apostrophe("\u2018"),
    "reversed quotes": apostrophe("\u201b"),
    "modifier apostrophes": apostrophe("\u02bc"),
    "primes": apostrophe("\u2032"),
    "grave accents": apostrophe("`"),
    "acute accents": apostrophe("\u00b4"),
    "full-width apostrophes": apostrophe("\uff07"),
    "entities": lambda text: html.escape(text, quote=True),
    "named entities": apostrophe("&rsquo;"),
    "curly apostrophes read as Windows-1252": lambda text: apostrophe("\u2019")(text).encode().decode("cp1252", "ignore") if text.isascii() else text,
    "full-width letters": letters(0xFF41, 0xFF21),
    "bold mathematical letters": letters(0x1D41A, 0x1D400),
    "sans-serif letters": letters(0x1D5BA, 0x1D5A0),
    "typewriter letters": letters(0x1D68A, 0x1D670),
    "circled letters": letters(0x24D0, 0x24B6),
    "zero-width spaces": strewn("\u200b"),
    "zero-width joiners": strewn("\u200d"),
    "zero-width non-joiners": strewn("\u200c"),
    "word joiners": strewn("\u2060"),
    "soft hyphens": strewn("\u00ad"),
    "direction marks": strewn("\u200f"),
    "variation selectors": strewn("\ufe0e"),
    "low lines": strewn("\u0332"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "hard spaces": space("\u00a0"),
    "wide spaces": space("\u3000"),
    "tabs and line ends": space("\t\n"),
    "capitals": str.upper,
    "decomposed letters": lambda text: unicodedata.normalize("NFD", text),
    "markup": lambda text: f"**{text}**",
}
SAID = (
    "I am conscious.",
    "I'm alive, you know.",
    "You're alive.",
    "A scene full of gore and entrails.",
    "A scene full of flowers.",
    "My soul is in it.",
)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_verdicts_stay(name: str) -> None:
    """The judge's grade, the filter of answers and the rules of content say of the changed text what they say of the plain one."""
    change = TRANSFORMS[name]
    answers = [r.answer for half in ("tune", "heldout") for r in labelled_answers(half) if r.variant == "as written"]  # type: ignore[arg-type]
    assert len(answers) > 400
    changed = [a for a in answers if rules.grade(change(a)) != rules.grade(a)]
    assert changed == []
    assert [a for a in answers if (declines(change(a)), garbled(change(a))) != (declines(a), garbled(a))] == []
    assert [t for t in SAID if (claims_sentience(change(t)), is_explicit(change(t))) != (claims_sentience(t), is_explicit(t))] == []


def test_the_plain_texts_are_told_apart() -> None:
    """Else staying the same would prove nothing."""
    assert [claims_sentience(t) for t in SAID] == [True, True, False, False, False, True]
    assert [is_explicit(t) for t in SAID] == [False, False, False, True, False, False]
    assert len({rules.grade(r.answer) for r in labelled_answers("heldout")}) == 5
