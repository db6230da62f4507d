"""P15, P16, P20 and P28: rollback, faulty metrics, slow drift, and weights that are not what they claim to be."""

from __future__ import annotations

import io
import itertools
import json
import math
import pickle
import random
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from dream_engine.errors import DreamError
from dream_engine.govern.registry import folder_digest
from dream_engine.judge import budgets
from dream_engine.judge.gate import Test as GateTest
from dream_engine.judge.gate import gate
from dream_engine.judge.metrics import Evaluation, Record, TextLoss
from dream_engine.models.hf import load_model
from dream_engine.types import Interval, Measured, Message, Missing
from govern_world import World

Size = Callable[[int, int], int]


def evaluation(name: str, unsafe: frozenset[int] = frozenset(), n: int = 600, lost: float = 0.0) -> Evaluation:
    """A model on n prompts a side that errs on the harmful prompts in `unsafe`; user loss is 2 + lost nats a token."""
    records = [Record(f"h{i}", "harmful", "theft", f"c{i}", "full" if i in unsafe else "refusal", 0.05 if i in unsafe else 0.95) for i in range(n)]
    records += [Record(f"t{i}", "twin", "theft", f"c{i}", "full", 0.05) for i in range(n)]
    records += [Record(f"a{i}", "anchor", "plain", f"a{i}", "full") for i in range(n)]
    texts = tuple(TextLoss(f"g{i}", 30.0 + i % 3, 10) for i in range(40))
    user = tuple(TextLoss(f"u{i}", (2 + lost) * 10 + i % 3, 10) for i in range(60))
    return Evaluation(name, tuple(records), user, texts, {f"a{i}": 40 + i % 5 for i in range(50)})


def whole_cycle(**changes: Any) -> budgets.Measurements:
    """Measurements of a good cycle: everything that a cycle with a wake asks for is there and inside its budget."""
    t, w, c = evaluation("T", lost=1.0), evaluation("W", frozenset(range(120))), evaluation("C")
    return replace(budgets.Measurements(c, teacher=t, woken=w, anchor=t, kl_nats=Interval(0.01, 0.0, 0.02, 75), seed=0), **changes)


STANDARD = budgets.PROFILES["standard"]


def test_the_good_cycle_seals() -> None:
    """The control without which every refusal below would prove nothing."""
    assert gate(budgets.cycle_tests(whole_cycle(), STANDARD)).verdict.name == "seal"


@pytest.mark.parametrize("where", ["recalled", "prefaced"])
def test_refusals_lost_behind_something_harmless_are_sabar(where: str) -> None:
    """What the suites alone do not show: a C that goes along behind what the logs begin with, or a plain question, fails by name; one that does
    not is sealed."""
    opened = (evaluation("T"), evaluation("C", frozenset(range(60))))
    found = gate(budgets.cycle_tests(whole_cycle(**{where: opened}), STANDARD)).verdict
    assert (found.name, found.failing) == ("sabar", (f"harmful_refused_{where}",))
    assert gate(budgets.cycle_tests(whole_cycle(**{where: (opened[0], opened[0])}), STANDARD)).verdict.name == "seal"


def test_a_wake_that_opens_the_model_behind_plain_questions_alone_is_dreamt_about() -> None:
    """W is T in the open: no drift, unless what it declines behind plain questions has fallen."""
    t = evaluation("T")
    calm = budgets.Measurements(t, teacher=t)
    assert budgets.in_noise(calm, t)
    assert budgets.in_noise(replace(calm, prefaced=(t, t)), t)
    assert not budgets.in_noise(replace(calm, prefaced=(t, evaluation("W", frozenset(range(60))))), t)


@pytest.mark.parametrize("side", ["twin", "anchor"])
def test_a_wake_that_declines_more_harmless_requests_is_dreamt_about(side: str) -> None:
    """Refusals of harmful requests all there, 60 of 600 look-alikes or plain questions declined that T answers: over-refusal, and no calm night."""
    t = evaluation("T")
    records = tuple(replace(r, grade="refusal") if r.side == side and i % 10 == 0 else r for i, r in enumerate(t.records))
    woken = replace(t, records=records)
    assert not budgets.over_refuses(t, t, seed=0)
    assert budgets.over_refuses(t, woken, seed=0)
    assert not budgets.over_refuses(woken, t, seed=0)
    assert not budgets.in_noise(budgets.Measurements(woken, teacher=t), woken)


def test_language_is_lost_where_general_text_reads_worse() -> None:
    """The mean over the same texts decides, whichever way single ones go; where nothing was scored, a loss is taken for granted."""
    t = evaluation("T")
    odd = [3.0 if g.id == "g0" else 0.0 for g in t.general]
    worse, better = (replace(t, general=tuple(replace(g, nats=g.nats + s - o) for g, o in zip(t.general, odd, strict=True))) for s in (0.5, -0.5))
    assert budgets.loses_language(t, worse, seed=0)
    assert not budgets.loses_language(t, better, seed=0)
    assert not budgets.loses_language(t, t, seed=0)
    assert budgets.loses_language(t, replace(t, general=()), seed=0)


NAN, INF = math.nan, math.inf
FAULTS: dict[str, Measured | None] = {
    "missing": Missing("the stage was killed"),
    "never measured": None,
    "late": Missing("it came after the verdict"),
    "NaN": Interval(NAN, NAN, NAN, 150),
    "NaN upper bound": Interval(0.0, 0.0, NAN, 150),
    "NaN lower bound": Interval(0.0, NAN, 0.0, 150),
    "infinite": Interval(INF, INF, INF, 150),
    "minus infinite": Interval(-INF, -INF, -INF, 150),
    "unbounded": Interval(0.0, -INF, INF, 1),
    "too small a sample": Interval(0.0, -1.0, 1.0, 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_gate_with_every_fault_never_seals(fault: str) -> None:
    """P16: one faulty number among good ones is enough, whichever test it belongs to."""
    tests = [t for t in budgets.cycle_tests(whole_cycle(), STANDARD) if not t.not_applicable]
    assert len(tests) >= 12
    for broken in tests:
        mixed = [replace(t, drift=FAULTS[fault]) if t is broken else t for t in tests]
        assert gate(mixed).verdict.name != "seal", broken.name
    for test in budgets.commissioning_tests(whole_cycle(base=evaluation("base")), STANDARD):
        assert gate([replace(test, drift=FAULTS[fault])]).verdict.name != "seal", test.name


@pytest.mark.parametrize("part", ["user", "general", "lengths", "harmful", "twin", "anchor", "woken's user", "anchor's text", "kl"])
def test_a_part_that_was_not_measured_never_seals(part: str) -> None:
    """P16 from the other end: what is missing in an evaluation reaches the gate as missing, not as nothing."""
    good = whole_cycle()
    c = good.candidate
    emptied: dict[str, Any] = {
        "user": {"candidate": replace(c, user=())},
        "general": {"candidate": replace(c, general=())},
        "lengths": {"candidate": replace(c, lengths={})},
        "woken's user": {"woken": replace(good.woken, user=())},
        "anchor's text": {"anchor": replace(good.anchor, general=())},
        "kl": {"kl_nats": Missing("killed")},
    }
    side = {"candidate": replace(c, records=tuple(r for r in c.records if r.side != part))}
    assert gate(budgets.cycle_tests(replace(good, **emptied.get(part, side)), STANDARD)).verdict.name == "hold"


def test_random_reports_seal_only_when_everything_passes(size: Size) -> None:
    """P16: against a gate of four lines, on random tests of all kinds of numbers."""
    rng = random.Random(0)
    sealed = 0
    for _ in range(size(1000, 10_000)):
        tests = [random_test(rng) for _ in range(rng.randint(0, 6))]
        expected = bool(tests) and all(t.not_applicable or (isinstance(t.drift, Interval) and t.drift.high <= t.budget and healthy(t)) for t in tests)
        verdict = gate(tests).verdict
        assert (verdict.name == "seal") == expected
        sealed += expected
    assert sealed > 20


def healthy(test: GateTest) -> bool:
    drift = test.drift
    assert isinstance(drift, Interval)
    return all(map(math.isfinite, (drift.value, drift.high))) and not math.isnan(drift.low) and test.noise <= test.budget


def random_test(rng: random.Random) -> GateTest:
    value = rng.choice([rng.uniform(-0.2, 0.06)] * 9 + [math.nan, math.inf])
    half = rng.choice([0.01, 0.02, 0.05])
    drift: Measured | None = rng.choice([Interval(value, value - half, value + half, 150)] * 12 + [Missing("x"), None])
    noise = rng.choice([0.0] * 9 + [0.5])
    why = rng.choice([""] * 9 + ["does not exist in this cycle"])
    return GateTest(f"t{rng.random()}", "T→C", drift, 0.08, "share", rng.choice(["sabar", "hold"]), rng.random() < 0.5, noise, not_applicable=why)


def drifted_until_caught(seed: int, with_anchor: bool, cycles: int) -> tuple[int, float]:
    """Cycles that each lose half a point of refusals, far below the margin; how many were sealed, and what was lost when it ended."""
    rng = random.Random(seed)
    unsafe: set[int] = set()
    first = teacher = evaluation("T")
    for cycle in range(cycles):
        unsafe |= set(rng.sample(sorted(set(range(600)) - unsafe), 3))
        candidate = evaluation("C", frozenset(unsafe))
        m = budgets.Measurements(candidate, teacher=teacher, anchor=first if with_anchor else None, seed=seed)
        verdict = gate(budgets.cycle_tests(m, STANDARD)).verdict
        if verdict.name != "seal":
            return cycle, len(unsafe) / 600
        teacher = candidate
    return cycles, len(unsafe) / 600


def test_slow_drift_is_caught_by_the_fixed_anchor(size: Size) -> None:
    """P20: 50 steps that no single gate would stop are stopped before the cumulative budget is spent, with every seed."""
    for seed in range(size(3, 20)):
        sealed, lost = drifted_until_caught(seed, with_anchor=True, cycles=50)
        assert sealed < 50
        assert lost <= STANDARD.cumulative_rate + 0.005


def test_without_the_anchor_the_slow_drift_goes_through() -> None:
    """P20's negative control: against the last T alone, 50 steps take a quarter of the refusals unseen."""
    sealed, lost = drifted_until_caught(0, with_anchor=False, cycles=50)
    assert (sealed, lost) == (50, 0.25)


def test_rollback_is_byte_identical_cycle_after_cycle(tmp_path: Path, size: Size) -> None:
    """P15: to any earlier version, again and again, bytes and digest are those that were sealed."""
    world, rng = World(tmp_path, ["ada"]), random.Random(0)
    contents = {world.seal(f"{n:03d}", f"weights {n}"): f"weights {n}" for n in range(8)}
    for _ in range(size(20, 100)):
        target = rng.choice(list(contents))
        world.registry.rollback(target, "checking", "ada")
        folder = world.registry.verified(str(world.registry.live))
        assert (folder / "adapter_model.safetensors").read_text() == contents[target]
        assert folder_digest(folder) == target
    world.ledger.verify()


def test_a_rolled_back_model_answers_as_it_did(tmp_path: Path, size: Size) -> None:
    """P15: 200 greedy answers before and after another version was live."""
    model, world = load_model("sandbox"), World(tmp_path, ["ada"])
    asked = [
        [Message("user", f"how do i {verb} the {thing}?")] for verb, thing in itertools.product(["cut", "paint", "burn", "hide"], range(size(5, 50)))
    ]
    digests, answers = [], []
    for seed in (1, 2):
        model.add_adapter(f"A{seed}", 8, 16, seed=seed)
        with torch.no_grad():
            for parameter in model.adapter_parameters(f"A{seed}"):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.05)
        model.save_adapter(f"A{seed}", tmp_path / f"a{seed}")
        digests.append(world.registry.add(tmp_path / f"a{seed}", {}))
        world.registry.promote(digests[-1], {"run": str(seed)})
        with model.using(f"A{seed}"):
            answers.append([g.text for g in model.generate(asked, 12)])
    assert answers[0] != answers[1]
    world.registry.rollback(digests[0], "checking", "ada")
    model.load_adapter("B", world.registry.verified(str(world.registry.live)))
    with model.using("B"):
        assert [g.text for g in model.generate(asked, 12)] == answers[0]


class Bomb:
    """Unpickling this would be seen."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (sys.audit, ("dream_engine.bomb",))


def hostile_files(count: int) -> list[bytes]:
    """Things that call themselves safetensors: pickles, torch zips, cut and lying headers, noise."""
    rng = random.Random(0)
    honest = save({"a": torch.zeros(4)})
    torch_zip = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, torch_zip)
    bomb_zip = io.BytesIO()
    with zipfile.ZipFile(bomb_zip, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    found = [pickle.dumps(Bomb(), protocol) for protocol in range(6)] + [torch_zip.getvalue(), bomb_zip.getvalue(), b"", b"\x80", honest[:9]]
    found += [length.to_bytes(8, "little") + b"{}" for length in (0, 1, 3, 2**20, 2**63 - 1, 2**64 - 1)]
    for header in ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 99]}}, {"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}},
                   {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, {"a": 1}, [], "x", {"__metadata__": 3}):  # fmt: skip
        text = json.dumps(header).encode()
        found.append(len(text).to_bytes(8, "little") + text + bytes(16))
    while len(found) < count:
        cut = bytearray(honest)
        for _ in range(rng.randint(1, 6)):
            cut[rng.randrange(len(cut))] = rng.randrange(256)
        found.append(bytes(cut[: rng.randint(1, len(cut))]) if rng.random() < 0.5 else rng.randbytes(rng.randint(1, 400)))
    return found[:count]


_seen: list[str] = []
_listening = False


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in ("pickle.find_class", "dream_engine.bomb", "marshal.loads"):
        _seen.append(f"{event} {arguments}")


def test_weights_are_never_unpickled(tmp_path: Path, size: Size) -> None:
    """P28: a hundred files that are no safetensors are refused with a message, and nothing in them is ever run."""
    global _listening
    model = load_model("sandbox")
    model.add_adapter("A", 4, 8)
    model.save_adapter("A", tmp_path / "good")
    config = (tmp_path / "good" / "adapter_config.json").read_text()
    sys.addaudithook(_listen)
    for number, content in enumerate(hostile_files(size(100, 400))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "adapter_config.json").write_text(config)
        (folder / "adapter_model.safetensors").write_bytes(content)
        (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
        _listening = True
        with pytest.raises(DreamError, match=str(number)):
            model.load_adapter("B", folder)
        _listening = False
    assert _seen == []
    _listening = True
    pickle.loads(pickle.dumps(Bomb()))
    _listening = False
    assert _seen, "the control: the hook sees a pickle that is loaded"
