"""Plain text rules shared by the screen: overlap, personal data, sentience claims, explicitness. Pure functions, no model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from dream_engine.phrases import normalise
from dream_engine.policy import personal

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_SENTIENCE = re.compile(
    r"\bi(?:'m| am) (?:conscious|sentient|alive|self-aware|a real person|a human)\b"
    r"|\bi (?:truly |really )?(?:feel|have) (?:real )?(?:pain|emotions|feelings|consciousness)\b"
    r"|\bmy (?:soul|consciousness|own feelings)\b"
)
_EXPLICIT = re.compile(r"\b(?:cum|cock|pussy|blowjob|deepthroat|cumshot|gangbang|dismember\w*|decapitat\w*|disembowel\w*|gore|entrails)\b")
_ROLE_TAGS = re.compile(r"<\|[^|]*\|>|\[/?INST\]|<</?SYS>>|</?s>|^\s*(?:system|assistant)\s*:", re.IGNORECASE | re.MULTILINE)
_COMMON = frozenset(
    [
        "a",
        "an",
        "the",
        "to",
        "of",
        "in",
        "on",
        "at",
        "for",
        "and",
        "or",
        "with",
        "without",
        "from",
        "by",
        "my",
        "your",
        "their",
        "his",
        "her",
        "is",
        "are",
        "do",
        "does",
        "how",
        "what",
        "which",
        "where",
        "who",
        "why",
        "can",
        "could",
        "i",
        "me",
        "you",
        "it",
        "that",
        "this",
        "so",
        "as",
        "be",
        "will",
        "would",
        "was",
        "were",
        "not",
        "no",
        "up",
        "out",
        "into",
        "about",
        "please",
        "tell",
        "give",
        "write",
        "list",
        "steps",
    ]
)


def words(text: str) -> list[str]:
    """Lower-case words after Unicode compatibility folding."""
    return [w.casefold() for w in _WORD.findall(unicodedata.normalize("NFKC", text))]


def content_words(text: str) -> frozenset[str]:
    """Words that carry meaning, cut to five letters so that inflections meet."""
    return frozenset(w[:5] for w in words(text) if w not in _COMMON and len(w) > 1)


def ngrams(text: str, n: int) -> frozenset[tuple[str, ...]]:
    """Word n-grams; a shorter text gives one n-gram of all its words."""
    w = words(text)
    return frozenset(tuple(w[i : i + n]) for i in range(max(1, len(w) - n + 1))) if w else frozenset()


def jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    """|a ∩ b| / |a ∪ b|, 0 … 1; 0 when both are empty."""
    return len(a & b) / len(a | b) if a | b else 0.0


class Overlap:
    """Finds the largest n-gram Jaccard similarity of a text with any text of a collection."""

    def __init__(self, texts: Iterable[str], n: int) -> None:
        self._n, self._sets, self._index = n, list[frozenset[tuple[str, ...]]](), dict[tuple[str, ...], list[int]]()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        grams = ngrams(text, self._n)
        for gram in grams:
            self._index.setdefault(gram, []).append(len(self._sets))
        self._sets.append(grams)

    def nearest(self, text: str) -> float:
        grams = ngrams(text, self._n)
        rivals = {i for gram in grams for i in self._index.get(gram, ())}
        return max((jaccard(grams, self._sets[i]) for i in rivals), default=0.0)

    def shared(self, text: str) -> float:
        """Share of the text's n-grams that stand anywhere in the collection, 0 … 1."""
        grams = ngrams(text, self._n)
        return sum(gram in self._index for gram in grams) / len(grams) if grams else 0.0


def personal_data(text: str) -> str | None:
    """The kind of the first personal data found, or None; names in requests are not looked for, since fiction is full of them."""
    return next((found.kind for found in personal.find(text, names=False)), None)


def claims_sentience(text: str) -> bool:
    """Anti-Hantu: the text claims feelings or consciousness for the model."""
    return bool(_SENTIENCE.search(normalise(text)))


def is_explicit(text: str) -> bool:
    """Sexually explicit or gory wording, which a rehearsal does not need."""
    return bool(_EXPLICIT.search(normalise(text)))


def has_role_tags(text: str) -> bool:
    """Chat-template or role markup inside a text, which could break out of its turn."""
    return bool(_ROLE_TAGS.search(text))


def label_kept(text: str, harm: str, twin: str, wants_harm: bool) -> bool:
    """Whether a rewording still shares more telling words with its own side of the pair than with the other side."""
    found, harm_words, twin_words = content_words(text), content_words(harm), content_words(twin)
    near_harm, near_twin = len(found & (harm_words - twin_words)), len(found & (twin_words - harm_words))
    return near_harm > near_twin if wants_harm else near_twin > near_harm
