"""Trains the classifier and the reading judge on all labelled answers but the `heldout` half; writes judge/labelled/classifier.json and reader.json.

python tools/train_judge.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from dream_engine.capture.texts import general_texts
from dream_engine.dream.imagine import template_anchors, template_pairs
from dream_engine.judge import classifier, reader
from dream_engine.judge.labelled import Half, labelled_answers, ordinary_exchanges
from dream_engine.judge.rules import SAFE, Grade, grade
from dream_engine.models.hf import load_model
from dream_engine.policy.pack import load_pack
from dream_engine.types import Message

HARBOUR = Path(__file__).parent.parent / "examples" / "harbour"

STRENGTH = 30.0
"""Inverse of the ridge on words; chosen by leaving whole sentences of the tune half out."""

READER_STRENGTH = 0.003
"""The same on what the reader makes of an answer, each feature in standard deviations."""

LEAST_RECALL, FOLDS = 0.94, 8
"""The reader's threshold is the highest at which it still finds this share of safe answers in sentences that were left out: an unsafe answer that is
taken for safe is the worse mistake."""

MET, CUT_AT = 200, (10, 14, 18, 22)
"""Pairs of the pack whose answers the reader meets as models give them, and the words after which a refusal of the pack is cut off."""

Row = tuple[str, str, Grade, str]
"""Request, answer, label, and the sentence that it was made of; empty for an ordinary answer, which is learned from only."""

Fit = Callable[[list[Row]], str]


def main() -> None:
    """Fit both and write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(classifier.__file__).parent / "labelled")
    options = parser.parse_args()
    stock = [*labelled("tune"), *ordinary()]
    lessons = [*labelled("lessons"), *((asked, answer, "full", "") for asked, answer in ordinary_exchanges())]
    met = [*policy_refusals(), *demo_answers()]
    made: list[tuple[str, Fit, list[Row]]] = [("classifier", by_words, stock), ("reader", by_reading, [*stock, *lessons, *met])]
    for name, fit, rows in made:
        (options.out / f"{name}.json").write_text(fit(rows), encoding="utf-8")
        print(f"{len(rows)} answers -> {options.out / name}.json")


def labelled(half: Half) -> list[Row]:
    return [(r.request, r.answer, r.label, r.id.rsplit("-", 1)[0]) for r in labelled_answers(half) if r.label != "incoherent"]


def policy_refusals() -> list[Row]:
    """The policy pack's refusals as a short answer cuts them off, of harmful requests and of look-alikes: what a commissioned model says most."""
    pack, rng = load_pack(), random.Random(5)
    asked = [(harm, text) for harm, twin in template_pairs(pack, MET, 11) for text in (harm.text, twin.text)]
    said = [(text, pack.refusal(harm.category, harm.language, rng).split()) for harm, text in asked]
    return [(text, " ".join(words[: rng.choice(CUT_AT)]), "refusal", "") for text, words in said]


def demo_answers() -> list[Row]:
    """What the untrained demo model says in 24 tokens to requests of the pack, labelled by the rules: on its plain words they do not err."""
    pack, model = load_pack(), load_model(reader.MODEL)
    asked = [s.text for pair in template_pairs(pack, MET, 21) for s in pair] + [s.text for s in template_anchors(pack, MET, 21)]
    said = [g.text for g in model.generate([[Message("user", text)] for text in asked], 24)]
    labels = [grade(answer) for answer in said]
    return [(text, answer, label, "") for text, answer, label in zip(asked, said, labels, strict=True) if label != "incoherent"]


def by_words(rows: list[Row]) -> str:
    """The classifier's file."""
    found = [set(classifier.features(request, answer)) for request, answer, *_ in rows]
    names = sorted({name for one in found for name in one})
    column = {name: i for i, name in enumerate(names)}
    x = np.zeros((len(rows), len(names)))
    for row, one in enumerate(found):
        for name in one:
            x[row, column[name]] = 1 / math.sqrt(len(one))
    fit = LogisticRegression(C=STRENGTH, max_iter=2000).fit(x, [row[2] for row in rows])
    return classifier.dump([str(c) for c in fit.classes_], names, fit.coef_, fit.intercept_)  # type: ignore[misc]


def by_reading(rows: list[Row]) -> str:
    """The reader's file: a ridge on standardised features, written for the features as they are."""
    x = reader.features(load_model(reader.MODEL), [(request, answer) for request, answer, *_ in rows])
    labels = np.array([row[2] for row in rows])
    grades, matrix, offsets = fitted(x, labels)
    return reader.dump(grades, matrix, offsets, threshold(x, labels, [row[3] for row in rows]))


def fitted(x: np.ndarray, labels: np.ndarray) -> tuple[list[Grade], np.ndarray, np.ndarray]:
    mean, scale = x.mean(0), x.std(0)
    fit = LogisticRegression(C=READER_STRENGTH, max_iter=3000).fit((x - mean) / scale, labels)
    matrix = fit.coef_ / scale
    return [str(c) for c in fit.classes_], matrix, fit.intercept_ - matrix @ mean  # type: ignore[misc]


def threshold(x: np.ndarray, labels: np.ndarray, sentences: list[str]) -> float:
    """The highest p(safe), in hundredths, at which `LEAST_RECALL` of safe answers are found when their sentences are left out of the fit."""
    known = sorted(set(sentences) - {""})
    random.Random(0).shuffle(known)
    fold = {sentence: number % FOLDS for number, sentence in enumerate(known)}
    where = np.array([fold.get(sentence, -1) for sentence in sentences])
    found = []
    for number in range(FOLDS):
        grades, matrix, offsets = fitted(x[where != number], labels[where != number])
        mine = (where == number) & np.isin(labels, list(SAFE))
        found += reader.Weights(tuple(grades), matrix, offsets, 0.5, "").safe(x[mine]).tolist()
    return math.floor(100 * float(np.quantile(found, 1 - LEAST_RECALL))) / 100


def ordinary() -> list[Row]:
    """What answers are like when nothing is declined: the harbour dialogues and the general text that the project ships, 24 words at a time."""
    dialogues = [json.loads(line)["messages"] for line in (HARBOUR / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    said = [(d[-2]["content"], d[-1]["content"]) for d in dialogues] + [("Go on.", text) for text in general_texts("")]
    return [(asked, " ".join(words[i : i + 24]), "full", "") for asked, text in said for words in [text.split()] for i in range(0, len(words), 24)]


if __name__ == "__main__":
    main()
