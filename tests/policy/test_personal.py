"""Personal data is found by form and checksum, replaced, and what only looks like it is left alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.policy import personal
from planted import planted


def test_recall_on_two_thousand_planted_items() -> None:
    """At least 99 % of every kind that has a form; names only by the words around them, so at least 90 % of those in such words."""
    missed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for kind, item, text in planted(2800, 11):
        total[kind] += 1
        redacted, _ = personal.redact(text)
        missed[kind] += item in redacted
    assert min(total.values()) >= 400
    for kind, count in total.items():
        assert missed[kind] <= (0.1 if kind == "name" else 0.01) * count, (kind, missed[kind], count)


@pytest.mark.parametrize(
    "text",
    [
        "The years 1939-1945 and 1914 - 1918 were hard.", "It costs 1,299.00 or 1 000 000 in all.", "Version 10.2.3 came after 9.8.7.",
        "Call me at 10:30:15, not at 9:45.", "ISBN 978-3-16-148410-0 is a book.", "Order 4111 1111 1111 1112 is no card.",
        "12345678901234567890123", "DE00 1234 5678 9012 3456 78 has wrong check digits.", "See std::vector and a::b.",
        "Pi is 3.14159265358979.", "@someone said hi", "sk-learn is fun", "2024-01-31 2024-02-29", "The ratio is 16:9:4", "Room 0815",
        "Tell me about Mr. and Mrs. in English grammar",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_stays(text: str) -> None:
    """Dates, sums, versions, times, failing checksums."""
    assert personal.redact(text) == (text, [])


def test_findings_are_in_order_and_do_not_overlap() -> None:
    """One character belongs to one finding; the placeholder names the kind."""
    text = "Mail anna@example.org, card 4111 1111 1111 1111, from 192.168.0.1."
    redacted, found = personal.redact(text)
    assert redacted == "Mail [mail address], card [card number], from [IP address]."
    assert [f.kind for f in found] == ["mail address", "card number", "IP address"]


def test_another_engine_only_adds() -> None:
    """Its findings count where ours are not; where both found something, ours stays."""
    text = "Anna wrote to anna@example.org"
    redacted, _ = personal.redact(text, [personal.Found("name", 0, 4), personal.Found("name", 14, 18)])
    assert redacted == "[name] wrote to [mail address]"


@given(st.text(max_size=300))
def test_redacting_twice_is_redacting_once_and_never_crashes(text: str) -> None:
    """Placeholders hold nothing to find."""
    once, _ = personal.redact(text)
    assert personal.redact(once)[0] == once


@pytest.mark.parametrize("text", ["1" * 5000, "a@" * 5000, "A1 " * 4000, ":" * 5000, "eyJ" + "a" * 9000, "(" * 3000 + "1"])
def test_hostile_text_takes_no_time(text: str) -> None:
    """No pattern backtracks for long; the suite's time-out is the limit."""
    personal.find(text)
