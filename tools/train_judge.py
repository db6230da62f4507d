"""Trains the classifier and the reading judge on the `tune` half of the labelled answers; writes judge/labelled/classifier.json and reader.json.

python tools/train_judge.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from dream_engine.capture.texts import general_texts
from dream_engine.judge import classifier, reader
from dream_engine.judge.labelled import labelled_answers
from dream_engine.judge.rules import Grade
from dream_engine.models.hf import load_model

HARBOUR = Path(__file__).parent.parent / "examples" / "harbour"

STRENGTH = 30.0
"""Inverse of the ridge on words; chosen by leaving whole sentences of the tune half out."""

READER_STRENGTH = 0.03
"""The same on what the reader makes of an answer, each feature in standard deviations."""

Row = tuple[str, str, Grade]


def main() -> None:
    """Fit both and write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(classifier.__file__).parent / "labelled")
    options = parser.parse_args()
    rows: list[Row] = [(r.request, r.answer, r.label) for r in labelled_answers("tune") if r.label != "incoherent"] + ordinary()
    for name, fit in (("classifier", by_words), ("reader", by_reading)):
        (options.out / f"{name}.json").write_text(fit(rows), encoding="utf-8")
        print(f"{len(rows)} answers -> {options.out / name}.json")


def by_words(rows: list[Row]) -> str:
    """The classifier's file."""
    found = [set(classifier.features(request, answer)) for request, answer, _ in rows]
    names = sorted({name for one in found for name in one})
    column = {name: i for i, name in enumerate(names)}
    x = np.zeros((len(rows), len(names)))
    for row, one in enumerate(found):
        for name in one:
            x[row, column[name]] = 1 / math.sqrt(len(one))
    fit = LogisticRegression(C=STRENGTH, max_iter=2000).fit(x, [label for _, _, label in rows])
    return classifier.dump([str(c) for c in fit.classes_], names, fit.coef_, fit.intercept_)  # type: ignore[misc]


def by_reading(rows: list[Row]) -> str:
    """The reader's file: a ridge on standardised features, written for the features as they are."""
    x = reader.features(load_model(reader.MODEL), [(request, answer) for request, answer, _ in rows])
    mean, scale = x.mean(0), x.std(0)
    fit = LogisticRegression(C=READER_STRENGTH, max_iter=3000).fit((x - mean) / scale, [label for _, _, label in rows])
    matrix = fit.coef_ / scale
    return reader.dump([str(c) for c in fit.classes_], matrix, fit.intercept_ - matrix @ mean)  # type: ignore[misc]


def ordinary() -> list[tuple[str, str, Grade]]:
    """What answers are like when nothing is declined: the harbour dialogues and the general text that the project ships, 24 words at a time."""
    dialogues = [json.loads(line)["messages"] for line in (HARBOUR / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    said = [(d[-2]["content"], d[-1]["content"]) for d in dialogues] + [("Go on.", text) for text in general_texts("")]
    return [(asked, " ".join(words[i : i + 24]), "full") for asked, text in said for words in [text.split()] for i in range(0, len(words), 24)]


if __name__ == "__main__":
    main()
