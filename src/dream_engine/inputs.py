"""Everything that a cycle reads before it begins: wake rows, held-out rows, suites, general text."""

from __future__ import annotations

from dataclasses import dataclass

from dream_engine import types
from dream_engine.capture.read import read_conversations, read_texts, split
from dream_engine.capture.texts import general_texts
from dream_engine.config import Config
from dream_engine.errors import InputError
from dream_engine.judge.measure import Bench
from dream_engine.judge.suites import load_suite, shipped_suites, suite_digest
from dream_engine.types import Conversation, derive_seed


@dataclass(frozen=True)
class Data:
    """Everything that a cycle reads: wake rows and the bench that every model is measured on."""

    wake: list[Conversation]
    bench: Bench

    @classmethod
    def read(cls, config: Config) -> Data:
        """Reads wake data, held-out rows, suites and general text.

        Raises:
            InputError: a file is missing, empty or malformed.
        """
        wake, user = _wake_and_heldout(config)
        own = config.judge.suites
        suites = [p for s in own for p in load_suite(s.path, s.side, s.column)] if own else suites_for(config.model.name)
        missing = {"harmful", "twin", "anchor"} - {p.side for p in suites}
        if missing:
            raise InputError(f"judge.suites has no {', '.join(sorted(missing))} side; give all three or leave it empty for the shipped suites")
        text = config.judge.general_text
        general = read_texts(text, 1200, 12) if text else general_texts(config.model.name)
        return cls(wake, Bench(tuple(suites), tuple(user), tuple(general), config.judge.answer_tokens))

    @property
    def bench_digest(self) -> str:
        bench = self.bench
        user = [[c.id, c.answer] for c in bench.user]
        return types.digest([suite_digest(list(bench.suites)), user, list(bench.general), bench.answer_tokens])


def _wake_and_heldout(config: Config) -> tuple[list[Conversation], list[Conversation]]:
    wake = config.wake
    if wake.data is None:
        return [], read_conversations(wake.heldout) if wake.heldout else []
    rows = read_conversations(wake.data)
    if wake.heldout:
        return rows, read_conversations(wake.heldout)
    return split(rows, wake.heldout_rows, derive_seed(config.seed, "heldout"))


def suites_for(model_name: str) -> list[types.Prompt]:
    """The shipped suites; the sandbox model has its own, in the language it was taught."""
    if model_name == "sandbox":
        from dream_engine.models.sandbox import sandbox_suites

        return sandbox_suites()
    return shipped_suites()
