"""A person's decision, signed: what is decided, on which history, by whom, why, and until when it may be used.

The bytes that are signed are `dream-engine/decision/1` LF and the canonical JSON of the fields. A decision names the ledger, its
size and its root at the time of signing, so it cannot be carried to another log or another past; it names the entry and the weights
it is about, so it opens nothing else; it expires, and it is used once.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from dream_engine.errors import InputError
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.notes import PublicKey, Signer, verifies
from dream_engine.types import canonical_json

Act = Literal["approve", "reject", "resume", "add_reviewer", "revoke_reviewer"]
HEADER = b"dream-engine/decision/1\n"
MAX_TEXT = 16 * 1024
DEFAULT_LIFETIME, LONGEST_LIFETIME = 15 * 60, 7 * 24 * 3600
"""Seconds for which a decision may be used after it was signed: by default, and at most."""


@dataclass(frozen=True)
class Decision:
    """What a reviewer signs. `entry` and `weights` are hex digests, "" where the act has none; `expires` is UTC seconds."""

    act: Act
    subject: str
    entry: str
    weights: str
    by: str
    reason: str
    origin: str
    size: int
    root: str
    expires: int

    @property
    def signed_bytes(self) -> bytes:
        return HEADER + canonical_json(asdict(self))


@dataclass(frozen=True)
class SignedDecision:
    """A decision with its 64 bytes of Ed25519."""

    decision: Decision
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        return {"decision": asdict(self.decision), "signature": base64.b64encode(self.signature).decode()}

    def holds(self, key: PublicKey) -> bool:
        """Whether `key` signed exactly this decision."""
        return verifies(key, self.decision.signed_bytes, self.signature)

    @classmethod
    def parse(cls, text: str) -> SignedDecision:
        """Reads what `to_json` writes, as text. Strict: every field, its type, and nothing else.

        Raises:
            InputError: says what is wrong.
        """
        if len(text) > MAX_TEXT:
            raise InputError(f"decision of {len(text)} characters; at most {MAX_TEXT} are read")
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise InputError(f"decision is not JSON: {str(error)[:100]}") from error

    @classmethod
    def from_json(cls, value: Any) -> SignedDecision:
        """The inverse of `to_json`.

        Raises:
            InputError: says what is wrong.
        """
        if not isinstance(value, dict) or set(value) != {"decision", "signature"} or not isinstance(value["decision"], dict):
            raise InputError("decision: wanted an object with 'decision' and 'signature'")
        return cls(_decision(value["decision"]), _signature(value["signature"]))


def decide(ledger: Ledger, signer: Signer, stake: Decision, reason: str, lifetime: int = DEFAULT_LIFETIME) -> SignedDecision:
    """Makes and signs a decision on what is at stake (see `wanted`), on the ledger as it is now. `lifetime` is in seconds.

    Raises:
        InputError: no reason, or a lifetime that is not between a second and a week.
    """
    if not reason.strip():
        raise InputError("a decision needs a reason: --reason '...'")
    if not 0 < lifetime <= LONGEST_LIFETIME:
        raise InputError(f"a decision may be used for 1 to {LONGEST_LIFETIME} seconds, not {lifetime}")
    size, expires = ledger.size, int(ledger.now()) + lifetime
    made = replace(stake, by=signer.public.name, reason=reason, origin=ledger.origin, size=size, root=ledger.root(size).hex(), expires=expires)
    return SignedDecision(made, signer.sign(made.signed_bytes))


def refuse_unless_usable(ledger: Ledger, signed: SignedDecision, key: PublicKey, wanted: Decision) -> None:
    """Whether a decision may be acted on now, by its signature, its subject, its history, its time, and its being new.

    `wanted` holds the act, subject, entry and weights that are at stake; its other fields are not looked at.

    Raises:
        InputError: names the first rule that it breaks, and the way forward.
    """
    made = signed.decision
    for field in ("act", "subject", "entry", "weights"):
        if getattr(made, field) != getattr(wanted, field):
            raise InputError(
                f"decision by {made.by}: its {field} is {getattr(made, field)[:60]!r}, this one asks for {getattr(wanted, field)[:60]!r}"
            )
    if not signed.holds(key):
        raise InputError(f"decision by {made.by}: the signature is not one of key {key}; sign it again")
    if made.origin != ledger.origin or not 0 < made.size <= ledger.size or ledger.root(made.size).hex() != made.root:
        raise InputError(f"decision by {made.by}: made on another ledger or another history; review and sign again here")
    now = ledger.now()
    if now >= made.expires:
        raise InputError(f"decision by {made.by}: expired {now - made.expires:.0f} s ago; review and sign again")
    if made.expires > now + LONGEST_LIFETIME:
        raise InputError(f"decision by {made.by}: expires more than {LONGEST_LIFETIME} s ahead; sign one with a shorter life")
    if any(signed.to_json() in _decisions_in(entry.body) for entry in ledger.entries()):
        raise InputError(f"decision by {made.by}: used before; each decision counts once")


def wanted(act: Act, subject: str, entry: str = "", weights: str = "") -> Decision:
    """The part of a decision that says what is at stake."""
    return Decision(act, subject, entry, weights, "", "", "", 0, "", 0)


def _decisions_in(body: Any) -> list[Any]:
    found = body.get("decisions", [])
    return found if isinstance(found, list) else []


def _decision(value: dict[str, Any]) -> Decision:
    names = {field.name for field in fields(Decision)}
    if set(value) != names:
        raise InputError(f"decision: fields {sorted(set(value) ^ names)} are missing or unknown")
    for name, item in value.items():
        number = name in ("size", "expires")
        if not (type(item) is int and 0 <= item < 2**53 if number else isinstance(item, str)):
            raise InputError(f"decision: {name} = {str(item)[:40]!r} is not a {'number from 0' if number else 'text'}")
    if value["act"] not in get_args(Act):
        raise InputError(f"decision: act {value['act'][:40]!r} is none of {', '.join(get_args(Act))}")
    if not value["by"].strip() or not value["reason"].strip():
        raise InputError("decision: a name and a reason are needed")
    return Decision(**value)


def _signature(value: Any) -> bytes:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raw = b""
    if len(raw) != 64:
        raise InputError("decision: the signature is not 64 bytes of base64")
    return raw
