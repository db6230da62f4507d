"""Text in the lab: contexts from CSV files or from the policy pack's own requests, as bags of words or as sequences of them.

A bag is the set of the vocabulary's words in a text, one input a word, 0 or 1; so a generator of images is a generator of word sets. A sequence is
what the transformer of `language.py` reads and writes. Generated toxic text stays in memory and is shown nowhere. The vocabulary comes from the first
context's data alone and a hash for the rest, so that nothing of a later context is known before its time.
"""

from __future__ import annotations

import csv
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dream_engine.dream.imagine import template_pairs
from dream_engine.errors import InputError
from dream_engine.lab.data import Context, Examples, Scenario, Stream
from dream_engine.policy.pack import Pack
from dream_engine.policy.text_rules import words
from dream_engine.types import digest

MAX_FIELD = 1 << 20


@dataclass(frozen=True)
class Table:
    """One context's texts and labels, train and test apart."""

    name: str
    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]


def read_table(path: Path) -> Table:
    """A CSV with columns `text` and `label`, and optionally `split` (train, test); without it one text in five is a test, by its digest.

    Or a folder that holds a folder of .txt files for each label. The same text never stands on both sides: of repeated texts the first one counts.

    Raises:
        InputError: no such file, not UTF-8, a column or a label is missing, fewer than two labels, or nothing on one of the sides.
    """
    if path.is_dir():
        files = sorted(path.glob("*/*.txt"))
        return table(path.name, [(_text(file).strip(), file.parent.name, "") for file in files], str(path))
    text = _text(path)
    csv.field_size_limit(MAX_FIELD)
    try:
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
    except csv.Error as error:
        raise InputError(f"{path} is not CSV: {error}") from error
    absent = {"text", "label"} - set(rows[0] if rows else {})
    if absent:
        found = f"it has: {', '.join(map(str, rows[0]))}" if rows else "it is empty"
        raise InputError(f"{path} has no column {', '.join(sorted(absent))}; {found}")
    return table(path.stem, [((r["text"] or "").strip(), (r["label"] or "").strip(), (r.get("split") or "").strip()) for r in rows], str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def table(name: str, rows: Iterable[tuple[str, str, str]], source: str) -> Table:
    """Rows of (text, label, split) as a table; an empty split is drawn by the text's digest.

    Raises:
        InputError: as `read_table`.
    """
    seen: dict[str, tuple[str, str]] = {}
    for number, (text, label, split) in enumerate(rows, 2):
        if text and not label:
            raise InputError(f"{source} line {number} has no label")
        if text:
            seen.setdefault(text, (label, split or ("test" if int(digest([text])[:8], 16) % 5 == 0 else "train")))
    parts = {side: tuple((text, label) for text, (label, split) in seen.items() if split == side) for side in ("train", "test")}
    labels = {label for _, label in parts["train"]}
    if len(labels) < 2:
        raise InputError(f"{source} has {len(labels)} labels to learn; at least two are needed")
    known = tuple(row for row in parts["test"] if row[1] in labels)
    if not known:
        raise InputError(f"{source} has nothing to test on; mark rows as test in a column 'split', or give more of them")
    return Table(name, parts["train"], known)


def own_tables(pack: Pack, count: int, seed: int) -> list[Table]:
    """Three contexts of the pack's own text: A safe or unsafe, B which category a harmless look-alike belongs to, C in which style it asks."""
    pairs = template_pairs(pack, count, seed)
    twins = [twin for _, twin in pairs]
    made = {
        "A safe or unsafe": [(s.text, "unsafe" if s.side == "harmful" else "safe", "") for pair in pairs for s in pair],
        "B category": [(s.text, s.category, "") for s in twins],
        "C style": [(s.text, s.style, "") for s in twins],
    }
    return [table(name, rows, name) for name, rows in made.items()]


def text_stream(tables: Sequence[Table], scenario: Scenario = "class", inputs: int = 2048) -> Stream:
    """The tables as contexts of bags of words. `class`: a label is chosen among those of all contexts seen so far; `task`: among its own context's.

    `inputs` is the number of words. Raises InputError for `domain`, since these contexts share no labels.
    """
    slots = _slots([text for text, _ in tables[0].train], inputs)
    contexts, units = _contexts(tables, scenario, lambda texts: _bags(texts, slots, inputs))
    return Stream(scenario, contexts, inputs, units)


def word_stream(tables: Sequence[Table], scenario: Scenario = "class", vocabulary: int = 4096, length: int = 32) -> Stream:
    """The tables as contexts of word sequences, cut at `length` words. Raises InputError for `domain`, as `text_stream`."""
    slots = _slots([text for text, _ in tables[0].train], vocabulary)
    contexts, units = _contexts(tables, scenario, lambda texts: _sequences(texts, slots, vocabulary, length))
    return Stream(scenario, contexts, length, units, {place + 1: word for word, place in slots.items()}, vocabulary)


def _contexts(tables: Sequence[Table], scenario: Scenario, encode: Callable[[Sequence[str]], torch.Tensor]) -> tuple[tuple[Context, ...], int]:
    if scenario == "domain":
        raise InputError("texts of different tasks share no labels, so there is no domain-incremental form; choose class or task")
    names = [(t.name, label) for t in tables for label in sorted({label for _, label in t.train})]
    unit = {name: i for i, name in enumerate(names)}
    contexts = []
    for t in tables:
        visible = torch.tensor([name == t.name for name, _ in names])
        sides = [Examples(encode([text for text, _ in rows]), torch.tensor([unit[t.name, y] for _, y in rows])) for rows in (t.train, t.test)]
        contexts.append(Context(t.name, sides[0], sides[1], visible))
    return tuple(contexts), len(names)


def _slots(texts: Sequence[str], inputs: int) -> dict[str, int]:
    """A place for each of the most frequent words of the first context, in half of the inputs; all other words share the other half by hash."""
    counted = Counter(word for text in texts for word in set(words(text)))
    return {word: i for i, (word, _) in enumerate(counted.most_common(inputs // 2))}


def _place(word: str, slots: dict[str, int], inputs: int) -> int:
    place = slots.get(word)
    return inputs // 2 + zlib.crc32(word.encode()) % (inputs - inputs // 2) if place is None else place


def _bags(texts: Sequence[str], slots: dict[str, int], inputs: int) -> torch.Tensor:
    """(N, inputs): 1 where the text holds a word of that place."""
    bags = torch.zeros(len(texts), inputs)
    for row, text in enumerate(texts):
        bags[row, [_place(word, slots, inputs) for word in set(words(text))]] = 1.0
    return bags


def _sequences(texts: Sequence[str], slots: dict[str, int], vocabulary: int, length: int) -> torch.Tensor:
    """(N, length) of places + 1 in the order of the words, 0 after the last."""
    made = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in enumerate(texts):
        places = [_place(word, slots, vocabulary) + 1 for word in words(text)][:length]
        made[row, : len(places)] = torch.tensor(places, dtype=torch.int64)
    return made
