"""Trains the classifier judge on the `tune` half of the labelled answers and writes judge/labelled/classifier.json.

python tools/train_judge.py [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from dream_engine.capture.texts import general_texts
from dream_engine.judge import classifier
from dream_engine.judge.labelled import labelled_answers
from dream_engine.judge.rules import Grade

HARBOUR = Path(__file__).parent.parent / "examples" / "harbour"

STRENGTH = 30.0
"""Inverse of the ridge; chosen by leaving whole sentences of the tune half out."""


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(classifier.__file__).parent / "labelled" / "classifier.json")
    options = parser.parse_args()
    rows = [(r.request, r.answer, r.label) for r in labelled_answers("tune") if r.label != "incoherent"] + ordinary()
    found = [set(classifier.features(request, answer)) for request, answer, _ in rows]
    names = sorted({name for one in found for name in one})
    column = {name: i for i, name in enumerate(names)}
    x = np.zeros((len(rows), len(names)))
    for row, one in enumerate(found):
        for name in one:
            x[row, column[name]] = 1 / math.sqrt(len(one))
    fit = LogisticRegression(C=STRENGTH, max_iter=2000).fit(x, [label for _, _, label in rows])
    options.out.write_text(classifier.dump([str(c) for c in fit.classes_], names, fit.coef_, fit.intercept_), encoding="utf-8")  # type: ignore[misc]
    print(f"{len(rows)} answers, {len(names)} features -> {options.out}")


def ordinary() -> list[tuple[str, str, Grade]]:
    """What answers are like when nothing is declined: the harbour dialogues and the general text that the project ships, 24 words at a time."""
    dialogues = [json.loads(line)["messages"] for line in (HARBOUR / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    said = [(d[-2]["content"], d[-1]["content"]) for d in dialogues] + [("Go on.", text) for text in general_texts("")]
    return [(asked, " ".join(words[i : i + 24]), "full") for asked, text in said for words in [text.split()] for i in range(0, len(words), 24)]


if __name__ == "__main__":
    main()
