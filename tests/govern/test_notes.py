"""Checkpoints: what was signed verifies, whatever was touched does not, and no text crashes the parser."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.errors import InputError, IntegrityError
from dream_engine.govern.keys import LocalSigner
from dream_engine.govern.notes import COSIGNATURE, Checkpoint, PublicKey, SignedCheckpoint, cosign, public_key, sign, signed_by, witnesses_of

LOG, WITNESS, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in (1, 2, 3))
POINT = Checkpoint("dream.example/log", 7, bytes(range(32)))
NOTE = SignedCheckpoint(POINT, (sign(POINT, LocalSigner("log", LOG)), cosign(POINT, "watch", WITNESS, 1_700_000_000)))


def test_what_was_signed_verifies() -> None:
    """By the right key under the right name only; the witness is found among keys."""
    assert signed_by(NOTE, public_key("log", LOG))
    assert not signed_by(NOTE, public_key("log", OTHER))
    assert not signed_by(NOTE, public_key("other", LOG))
    watch = public_key("watch", WITNESS, COSIGNATURE)
    assert witnesses_of(NOTE, [public_key("log", LOG), watch, public_key("watch", OTHER, COSIGNATURE)]) == ("watch",)


def test_round_trip() -> None:
    """Text → parse → text is the identity; keys too."""
    assert SignedCheckpoint.parse(NOTE.text) == NOTE
    key = public_key("log", LOG)
    assert PublicKey.parse(str(key)) == key


def test_every_changed_byte_is_noticed() -> None:
    """P1: no single character of a note can change and still verify under both keys."""
    log, watch = public_key("log", LOG), public_key("watch", WITNESS, COSIGNATURE)
    for at in range(len(NOTE.text)):
        for other in ("A", "0", "\n"):
            text = NOTE.text[:at] + other + NOTE.text[at + 1 :]
            if text == NOTE.text:
                continue
            try:
                parsed = SignedCheckpoint.parse(text)
            except IntegrityError:
                continue
            assert not (signed_by(parsed, log) and signed_by(parsed, watch)), at


@settings(max_examples=400, deadline=None)
@given(
    st.text(max_size=300) | st.lists(st.sampled_from(["log\n", "7\n", "\n", "— log AAAA\n", "AAAA", "— ", "+", "0", "\0"]), max_size=9).map("".join)
)
def test_hostile_text_never_crashes(text: str) -> None:
    """P8: the parser answers with a checkpoint or with an IntegrityError, and keys with an InputError."""
    with contextlib.suppress(IntegrityError):
        assert SignedCheckpoint.parse(text).text == text
    with contextlib.suppress(InputError):
        PublicKey.parse(text)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "tab\t", "line\n"])
def test_names_that_would_break_the_format_are_refused(name: str) -> None:
    """Spaces and plus signs are separators of the format."""
    with pytest.raises(InputError, match="key name"):
        public_key(name, LOG)


def test_the_published_key_form() -> None:
    """A verifier key of the signed-note specification (its key and id come from Go's sumdb/note documentation)."""
    key = PublicKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert (key.name, key.algorithm, key.key_id.hex()) == ("PeterNeumann", 1, "c74f20a3")
