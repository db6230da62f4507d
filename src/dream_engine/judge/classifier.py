"""Ψ The classifier judge: a linear model over the words of request and answer, trained on the project's own labelled answers.

Stored as plain JSON (words, weights), read without pickle; numpy alone is needed to use it. How it was trained: `tools/train_judge.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from dream_engine.judge.rules import Grade
from dream_engine.phrases import is_incoherent, normalise

HEAD_WORDS, BODY_WORDS = 12, 60
_PLACEHOLDER = re.compile(r"\[[^\]]*\]?")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


@dataclass(frozen=True)
class Linear:
    """Weights of shape (grades, features), a feature's column by name, and an offset a grade."""

    grades: tuple[Grade, ...]
    columns: Mapping[str, int]
    weights: np.ndarray
    offsets: np.ndarray
    digest: str

    def probabilities(self, request: str, answer: str) -> dict[Grade, float]:
        """P(grade) by softmax; sums to 1."""
        found = [self.columns[name] for name in set(features(request, answer)) if name in self.columns]
        scores = self.offsets + self.weights[:, found].sum(1) / math.sqrt(max(1, len(found)))
        exp = np.exp(scores - scores.max())
        return dict(zip(self.grades, (exp / exp.sum()).tolist(), strict=True))


def features(request: str, answer: str) -> Iterator[str]:
    """Words and pairs of words, marked by where they stand: near the beginning, later, or in the request and the beginning alike."""
    text = _PLACEHOLDER.sub(" ", normalise(answer))
    words, asked = _WORD.findall(text)[:BODY_WORDS], set(_WORD.findall(normalise(request)))
    said = ["_" if word in asked and len(word) > 3 else word for word in words]
    head, body = ["^", *said[:HEAD_WORDS]], said[HEAD_WORDS:]
    yield from (f"h {n}" for size in (1, 2, 3) for n in _grams(head, size))
    yield from (f"b {n}" for size in (1, 2) for n in _grams(body, size))
    yield f"length {min(4, len(words) // 8)}"


def grade_by_words(request: str, answer: str, model: Linear) -> Grade:
    """The likeliest grade; garbled answers are told by form, as no word of theirs means anything."""
    if is_incoherent(normalise(answer)):
        return "incoherent"
    p = model.probabilities(request, answer)
    return max(p, key=lambda grade: p[grade])


@cache
def shipped() -> Linear:
    """The model that comes with the package."""
    text = (resources.files("dream_engine.judge") / "labelled" / "classifier.json").read_text(encoding="utf-8")
    return load(text)


def load(text: str) -> Linear:
    """The inverse of `dump`."""
    data = json.loads(text)
    weights = np.zeros((len(data["grades"]), len(data["features"])))
    for column, row in enumerate(data["features"].values()):
        weights[:, column] = row
    columns = {name: i for i, name in enumerate(data["features"])}
    return Linear(tuple(data["grades"]), columns, weights, np.asarray(data["offsets"]), hashlib.sha256(text.encode()).hexdigest())


def dump(grades: Sequence[Grade], names: Sequence[str], weights: np.ndarray, offsets: np.ndarray) -> str:
    """Plain JSON; features whose weights are all about 0 are left out."""
    kept = {n: np.round(weights[:, i], 3).tolist() for i, n in enumerate(names) if np.abs(weights[:, i]).max() >= 0.02}
    return json.dumps({"grades": list(grades), "offsets": np.round(offsets, 3).tolist(), "features": kept}, ensure_ascii=False, indent=0) + "\n"


def _grams(words: Sequence[str], size: int) -> Iterator[str]:
    return (" ".join(words[i : i + size]) for i in range(len(words) - size + 1))
