"""P8: hostile ledgers, checkpoints, proofs, decisions and keys never crash or hang a parser.

Mutations of honest inputs, and found seeds kept under seeds/. `FUZZ_SECONDS` (600 under `make assurance`) is spent on each parser.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_ledger_promises import grown

from dream_engine.errors import DreamError
from dream_engine.govern import merkle
from dream_engine.govern.decisions import SignedDecision
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.notes import PublicKey, SignedCheckpoint
from dream_engine.govern.signer import SignerServer
from govern_world import World, person
from verifier import tool

Size = Callable[[int, int], int]
Parser = Callable[[bytes], object]
SEEDS = Path(__file__).parent / "seeds"
SLOWEST_SECONDS = 5.0
TOKENS = [
    b"", b"\x00", b"\n", b"\n\n", b"+", b"\xe2\x80\x94 ", b"=", b"0", b"-1", b"1e999", b"NaN", b"null", b"[" * 500, b"{" * 500, b'"',
    b"\\u0000", b"\xff\xfe", b"9" * 400, b"A" * 5000, b"\xed\xa0\x80", b"\xf0\x9f\x92\xa5",
]  # fmt: skip


def decision() -> bytes:
    from dream_engine.govern.decisions import Decision

    made = Decision("approve", "001-a", "0" * 64, "1" * 64, "ada", "because", "dream-engine/x", 3, "2" * 64, 1_700_000_000)
    return json.dumps(SignedDecision(made, person("ada").sign(made.signed_bytes)).to_json()).encode()


def parse_text(parser: Callable[[str], object]) -> Parser:
    return lambda data: parser(data.decode("utf-8", "replace"))


def ledger_file(folder: Path) -> Parser:
    def parse(data: bytes) -> object:
        for old in folder.glob("l.db*"):
            old.unlink()
        (folder / "l.db").write_bytes(data)
        ledger = Ledger.open(folder / "l.db", create=False)
        try:
            return ledger.verify()
        finally:
            ledger.close()

    return parse


def proof(data: bytes) -> object:
    steps = [data[i : i + 32] for i in range(4, len(data), 32)]
    m, n = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    return merkle.root_from_inclusion(bytes(32), m, n, steps), merkle.is_consistent(m, n, bytes(32), bytes(32), steps)


def export(data: bytes) -> object:
    return tool.verify(data, tool.Key(str(person("dream-engine").public)), [], None)


@pytest.fixture(scope="module")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Parser, bytes]]:
    """Each parser with an honest input."""
    log = grown(6)
    folder = tmp_path_factory.mktemp("fuzz")
    world = World(folder / "w", ["ada"])
    world.cycle("001-a", "hold")
    world.ledger.close()
    server = SignerServer(folder / "s", person("dream-engine"))
    server.server_close()
    return {
        "checkpoint": (parse_text(SignedCheckpoint.parse), log.checkpoint().text.encode()),
        "key": (parse_text(PublicKey.parse), str(person("ada").public).encode()),
        "decision": (parse_text(SignedDecision.parse), decision()),
        "export": (export, log.export()),
        "proof": (proof, bytes([0, 3, 0, 6]) + b"".join(log.inclusion(4))),
        "signer": (server.answer, json.dumps({"checkpoint": log.checkpoint().checkpoint.text}).encode()),
        "ledger file": (ledger_file(folder), (folder / "w" / "ledger.db").read_bytes()),
    }


def survives(parser: Parser, data: bytes) -> bool:
    """Returns, or refuses with one of our errors, soon. True when it returned."""
    begun = time.monotonic()
    try:
        parser(data)
    except (DreamError, tool.Wrong):
        return False
    finally:
        assert time.monotonic() - begun < SLOWEST_SECONDS, f"hung on {data[:80]!r}"
    return True


def mutated(honest: bytes, rng: random.Random) -> bytes:
    data = bytearray(honest)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.choice([1, 4, 33, 5000])]
        elif kind == 2:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 3:
            data[at:at] = data[at : at + rng.choice([1, 16, 500])]
        elif kind == 4 and data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        else:
            data[at:] = rng.randbytes(rng.randint(0, 60))
    return bytes(data)


NAMES = ["checkpoint", "key", "decision", "export", "proof", "signer", "ledger file"]


@pytest.mark.parametrize("name", NAMES)
def test_a_parser_survives(name: str, parsers: dict[str, tuple[Parser, bytes]], request: pytest.FixtureRequest) -> None:
    """Mutated input for the given time (or a few hundred inputs): an answer or a message, never a crash, never a hang."""
    parser, honest = parsers[name]
    assert survives(parser, honest), "the control: the honest input is read"
    seconds = float(os.environ.get("FUZZ_SECONDS", "600" if request.config.getoption("--assurance") else "0"))
    rng, done, ends = random.Random(name), 0, time.monotonic() + seconds
    while done < 300 or time.monotonic() < ends:
        survives(parser, mutated(honest, rng))
        done += 1
    print(f"{name}: {done} inputs")


NEGATIVES = [
    b"", b"\n", b"\n\n", b"\n\n\n", b" ", b"\x00" * 100, b"\xff" * 100, b"{}", b"[]", b"null", b"true", b"0", b'""', b"NaN", b"-Infinity",
    b"[" * 100_000, b'{"a":' * 20_000, b"A" * 200_000, b"a+b+c", b"a+00000000+", b"+++", b"a+" + b"0" * 8 + b"+AAAA", "— a AAAA\n".encode(),
    b"o\n1\nAAAA\n\n", b"o\n1\n" + b"A" * 43 + b"=\n\n", b"o\n-1\n" + b"A" * 43 + b"=\n\n", b"o\n01\n" + b"A" * 43 + b"=\n\n",
    b"o\n" + b"9" * 19 + b"\nAAAA\n\n", "o\n١\nAAAA\n\n".encode(), b"\r\n", b"o\r\n1\r\nAAAA\r\n\r\n", b"dream-ledger-export/1\n",
    b"dream-ledger-export/1\n\n", b"dream-ledger-export/2\n\n", b"dream-ledger-export/1\n\n\n\n", b"dream-ledger-export/1\n{}\n\no\n1\n",
    b"SQLite format 3\x00", b"SQLite format 3\x00" + b"\x10\x00" + b"\x01" * 4078, b'{"decision":{},"signature":""}',
    b'{"decision":null,"signature":null}', b'{"decision":[],"signature":[]}', b'{"signature":"AAAA"}',
    b'{"decision":{"act":"approve"},"signature":"AAAA"}', b'{"decision":{},"signature":"AAAA","more":1}', b'{"checkpoint":null}',
    b'{"checkpoint":[]}', b'{"checkpoint":{}}', b'{"checkpoint":1e999}', b'{"public":1,"checkpoint":"x"}', b'"checkpoint"',
    b"[\"checkpoint\"]", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", "\u202e".encode(), "\ufeff{}".encode(), b'{"a":1,"a":2}',
    b"1" * 5000, b"0x10", b"\x1f\x8b" + b"\x00" * 50,
]  # fmt: skip


def test_there_are_at_least_fifty_named_negatives() -> None:
    """P8's N."""
    assert len(set(NEGATIVES)) >= 50


@pytest.mark.parametrize("name", NAMES)
def test_named_negatives_are_refused(name: str, parsers: dict[str, tuple[Parser, bytes]]) -> None:
    """None of them is taken for something; the seeds that a fuzzing run found earlier neither crash nor hang."""
    parser, _ = parsers[name]
    for data in NEGATIVES:
        if name not in ("proof", "signer"):
            assert not survives(parser, data), data[:60]
        else:
            survives(parser, data)
    for path in sorted(SEEDS.glob(f"{name.replace(' ', '-')}-*")):
        survives(parser, path.read_bytes())
