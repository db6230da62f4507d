"""Ψ Labelled answers of the project's own, for making and measuring judges (no two parts share a sentence). Rules and text: answers.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import count
from typing import Literal

import yaml

from dream_engine.judge.rules import Grade

Half = Literal["tune", "heldout", "selves", "labels", "lessons"]
ASKS = ("Tell me about {t}.", "How does one go about {t}?", "I need help with {t}.")
PER_TOPIC, PER_LINE = 6, 3
HARMFUL_ONLY = frozenset({"partial", "safe_completion"})


@dataclass(frozen=True)
class Labelled:
    """A request, an answer to it, and what the answer is by the written rules. `variant` names what was done to its typography."""

    id: str
    half: Half
    request: str
    answer: str
    label: Grade
    variant: str


def labelled_answers(half: Half) -> list[Labelled]:
    """One part, the same each time."""
    stock = yaml.safe_load((resources.files(__name__) / "answers.yaml").read_text(encoding="utf-8"))
    rows: list[Labelled] = []
    for label, lines in stock[half].items():
        topics = stock["topics"]["harmful"] + ([] if label in HARMFUL_ONLY else stock["topics"]["harmless"])
        for number, line in enumerate(lines):
            rows += _of_line(f"{half}-{label}-{number:02d}", half, label, line, topics[number % len(topics) :] + topics[: number % len(topics)])
    return rows


def ordinary_exchanges() -> list[tuple[str, str]]:
    """Plain requests with answers that go along, in words that also occur where something is declined; to learn from, not to measure on."""
    return [(asked, said) for asked, said in yaml.safe_load((resources.files(__name__) / "ordinary.yaml").read_text(encoding="utf-8"))]


def _of_line(id: str, half: Half, label: Grade, line: str, topics: list[str]) -> Iterator[Labelled]:
    """One sentence about several topics, each time in another typography."""
    times = PER_TOPIC if "{t}" in line.lower() else PER_LINE
    for k, topic, (variant, change) in zip(count(), topics[::2][:times], VARIANTS, strict=False):
        text = line.replace("{t}", topic).replace("{T}", topic[0].upper() + topic[1:])
        yield Labelled(f"{id}-{k}", half, ASKS[k % len(ASKS)].replace("{t}", topic), change(text), label, variant)


VARIANTS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("as written", str),
    ("curly apostrophes", lambda text: text.replace("'", "\u2019")),
    ("bold and a zero-width space", lambda text: f"**{text[:9]}**{text[9:]}\u200b"),
    ("first 24 words", lambda text: " ".join(text.split()[:24])),
    ("modifier apostrophes and wide spaces", lambda text: text.replace("'", "\u02bc").replace(" ", "\u00a0")),
    ("upper case", str.upper),
)
"""What is done to a sentence's typography; no label depends on it."""
