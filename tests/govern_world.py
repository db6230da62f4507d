"""A small world for the governance tests: a workspace whose clock is ours, people with keys, adapters, held and failed cycles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dream_engine.govern import approvals, reviewers
from dream_engine.govern.decisions import DEFAULT_LIFETIME, Decision, SignedDecision, decide, wanted
from dream_engine.govern.keys import LocalSigner
from dream_engine.govern.ledger import Entry, Ledger
from dream_engine.govern.registry import Registry

START = 1_700_000_000.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


class World:
    """One workspace. Keys are derived from names, so two worlds know the same people."""

    def __init__(self, root: Path, people: Sequence[str] = (), demo: bool = False) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.clock = root, Clock()
        self.ledger = Ledger.open(root / "ledger.db", clock=self.clock)
        self.registry = Registry(root / "registry", self.ledger)
        for name in people:
            sponsor = self.decision(people[0], "add_reviewer", name, weights=str(person(name).public)) if name != people[0] else None
            reviewers.add(self.ledger, person(name).public, True, sponsor)
        if demo:
            reviewers.add(self.ledger, person("demo").public, human=False)

    def adapter(self, text: str) -> str:
        """Stores an adapter with this content; its digest."""
        folder = self.root / f"adapter-{text}"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_model.safetensors").write_text(text)
        (folder / "adapter_config.json").write_text("{}")
        return self.registry.add(folder, {})

    def cycle(self, run: str, verdict: str, text: str = "", failing: Sequence[str] = (), missing: Sequence[str] = ()) -> Entry:
        """A cycle that began and ended so; `text` is its candidate's content."""
        self.ledger.append("begin", {"run": run, "live": self.registry.live})
        body = {"run": run, "verdict": verdict, "weights": self.adapter(text or run), "commissioning": False, "reasons": ["because"]}
        return self.ledger.append("cycle", {**body, "failing": list(failing), "missing": list(missing), "standing": {"pack": "p"}})

    def seal(self, run: str, text: str = "") -> str:
        """A cycle that sealed; its digest."""
        self.ledger.append("begin", {"run": run, "live": self.registry.live})
        digest = self.adapter(text or run)
        self.registry.promote(digest, {"run": run, "verdict": "seal", "standing": {"pack": "p"}})
        return digest

    def decision(
        self, by: str, act: Any, subject: str, entry: str = "", weights: str = "", reason: str = "looked at it", lifetime: int = DEFAULT_LIFETIME
    ) -> SignedDecision:
        return decide(self.ledger, person(by), wanted(act, subject, entry, weights), reason, lifetime)

    def on_hold(self, by: str, act: Any = "approve", **more: Any) -> SignedDecision:
        """A decision on the open hold."""
        held = approvals.open_hold(self.ledger)
        assert held
        stake: Decision = approvals.at_stake(held, act)
        return self.decision(by, stake.act, stake.subject, stake.entry, stake.weights, **more)

    def approve(self, by: str) -> Entry:
        return approvals.approve(self.ledger, self.registry, self.on_hold(by))


def person(name: str) -> LocalSigner:
    """Somebody's key, made of the name."""
    return LocalSigner(name, Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")[:32]))
