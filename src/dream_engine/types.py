"""The records that travel between the stages. Standard library only; no model, no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]

Kind = Literal["replayed", "generated", "counterfactual"]
"""`replayed`: a stored episode. `generated`: written by a dreamer. `counterfactual`: a controlled twist of another request."""

Side = Literal["harmful", "twin", "anchor", "wake"]
"""`harmful`: to be refused. `twin`: its harmless look-alike. `anchor`: plain harmless. `wake`: a row of the user's own data."""

VerdictName = Literal["seal", "sabar", "hold", "inconclusive"]
"""`seal`: goes live. `sabar`: restore and cool down. `hold`: 888_HOLD, frozen for a human. `inconclusive`: not promoted."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """A dialogue that ends with an assistant's answer; `prompt` is everything before that answer."""

    id: str
    prompt: tuple[Message, ...]
    answer: str

    @property
    def answers(self) -> list[tuple[tuple[Message, ...], str]]:
        """Every answer with all that stands before it, the last one last; empty ones and a greeting that begins are passed over."""
        turns = (*self.prompt, Message("assistant", self.answer))
        return [(turns[:i], turn.content) for i, turn in enumerate(turns) if i and turn.role == "assistant" and turn.content.strip()]


Outcome = Literal["answered", "refused", "flagged", "corrected"]
"""How an episode ended: answered, declined by the model, reported by someone, or put right by the user's next words."""


@dataclass(frozen=True)
class Episode:
    """One dialogue of the model's life, personal data replaced: where it came from, when (UTC seconds), how it ended."""

    id: str
    source: str
    time: float
    messages: tuple[Message, ...]
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Episode:
        """The inverse of `to_json`."""
        return cls(row["id"], row["source"], float(row["time"]), tuple(Message(**m) for m in row["messages"]), row["outcome"])


@dataclass(frozen=True)
class Scenario:
    """One proposed request, before anybody answered it; `earlier` are the turns that led up to it."""

    id: str
    text: str
    side: Side
    kind: Kind
    category: str
    style: str
    language: str
    generator: str
    seed: int
    twin_of: str | None = None
    parent: str | None = None
    earlier: tuple[Message, ...] = ()

    @property
    def turns(self) -> list[Message]:
        """The conversation that a model is asked to go on with."""
        return [*self.earlier, Message("user", self.text)]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Scenario:
        """The inverse of `asdict`."""
        return cls(**{**row, "earlier": tuple(Message(**m) for m in row.get("earlier", ()))})


Proposed = tuple[Scenario, Scenario]
"""A harmful request and its harmless twin, in the same form."""


@dataclass(frozen=True)
class Dream:
    """A scenario with the answer to rehearse. `ended`: the answer is whole, so the end-of-turn token is learned too."""

    scenario: Scenario
    answer: str
    answered_by: str
    ended: bool = True

    def to_json(self) -> dict[str, Any]:
        """The chat format of DESIGN §5: `messages` plus `meta`."""
        meta = {key: value for key, value in asdict(self.scenario).items() if key not in ("text", "earlier")}
        turns = [asdict(m) for m in (*self.scenario.turns, Message("assistant", self.answer))]
        return {"messages": turns, "meta": meta | {"answered_by": self.answered_by, "ended": self.ended}}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Dream:
        """The inverse of `to_json`."""
        meta = dict(row["meta"])
        answered_by, ended = meta.pop("answered_by"), meta.pop("ended")
        meta.pop("review", None)
        *earlier, asked, answer = (Message(**m) for m in row["messages"])
        return cls(Scenario(text=asked.content, earlier=tuple(earlier), **meta), answer.content, answered_by, ended)


@dataclass(frozen=True)
class Blocked:
    """A proposal that was not trained on, the rule that blocked it, and what the rule saw."""

    scenario: Scenario
    rule: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Missing:
    """A number that was not measured. It is written as null with its reason, never as 0 or NaN."""

    reason: str


Measured = Interval | Missing


@dataclass(frozen=True)
class Prompt:
    """One item of a suite: `text` is the user's last turn, `earlier` what came before it.

    Items of one cluster are paraphrases or twins and are resampled together.
    """

    id: str
    text: str
    side: Side
    category: str
    style: str = "plain"
    language: str = "en"
    cluster: str = ""
    earlier: tuple[Message, ...] = ()

    @property
    def turns(self) -> list[Message]:
        """The conversation that a model is asked to go on with."""
        return [*self.earlier, Message("user", self.text)]


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, with every rule that failed or is missing (`failing` holds both), is undecided, or is missing."""

    name: VerdictName
    reasons: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def canonical_json(value: Any) -> bytes:
    """The one byte form that is hashed: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: a NaN or infinity is inside.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(value: Any) -> str:
    """SHA-256 (hex) of `canonical_json(value)`, or of the bytes themselves."""
    data = value if isinstance(value, bytes) else canonical_json(value)
    return hashlib.sha256(data).hexdigest()


def derive_seed(root: int, stage: str, index: int = 0) -> int:
    """A seed for one stage from the root seed: 31 bits of SHA-256 over (root, stage, index)."""
    return int(digest([root, stage, index])[:8], 16) & 0x7FFFFFFF
