"""The command line as a user meets it: clear messages, the right exit codes, no traceback, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dream_engine.commands.shared import prepare_torch
from dream_engine.govern.merkle import root_from_inclusion
from dream_engine.govern.notes import SignedCheckpoint, public_key
from dream_engine.govern.sabar import stop
from dream_engine.govern.store import exclusive
from dream_engine.workspace import Workspace
from govern_world import World

Call = Callable[..., tuple[int, str, str]]


def sandbox_yaml(path: Path, make: Callable[..., Any], **sections: Any) -> str:
    path.write_text(yaml.safe_dump(json.loads(make(**sections).model_dump_json())))
    return str(path)


def test_init_writes_every_default_and_never_overwrites(dream: Call) -> None:
    """The file it writes is read back without complaint; a second time it refuses."""
    assert dream("init")[0] == 0
    assert "learning_rate" in Path("dream.yaml").read_text()
    code, _, err = dream("init")
    assert (code, "exists already" in err) == (2, True)


def test_validate_reports_and_exits_by_what_it_found(dream: Call) -> None:
    """Complete: 0. Incomplete: 2 and each gap named."""
    assert dream("validate")[0] == 0
    code, out, _ = dream("validate", "sandbox", "--json")
    assert code == 2
    assert len(json.loads(out)["problems"]) >= 3


def test_two_runs_at_once(dream: Call, tmp_path: Path) -> None:
    """The second says who holds the workspace: exit 75."""
    Path(".dream").mkdir()
    with exclusive(tmp_path / ".dream" / "lock"):
        code, _, err = dream("run")
    assert (code, "held by process" in err) == (75, True)


def test_commands_without_a_workspace(dream: Call) -> None:
    """Reading what is not there makes nothing and says what to do (exit 5: no ledger)."""
    for command in (["status"], ["ledger", "verify"], ["report"], ["rollback", "abc", "--by", "me", "--reason", "x"]):
        code, _, err = dream(*command)
        assert code == 5, (command, err)
        assert "dream run" in err
    assert not Path(".dream").exists()


def test_a_full_disk_is_exit_74(dream: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError from anywhere becomes one line."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dream_engine.files.os.replace", full)
    code, _, err = dream("init")
    assert (code, "No space left" in err) == (74, True)


def test_the_whole_way_through(dream: Call, sandbox_config: Callable[..., Any], tmp_path: Path) -> None:
    """run (hold, 4) → approve → run (seal, 0) → status, ledger, report, rollback; a tampered ledger is exit 5."""
    config = sandbox_yaml(tmp_path / "dream.yaml", sandbox_config)
    code, out, err = dream("run", "-c", config)
    assert code == 4, err
    assert "888_HOLD" in out
    run = json.loads(dream("status", "--json")[1])["held"]
    assert dream("run", "-c", config)[0] == 4
    code, _, err = dream("approve", run, "--by", "Ada", "--reason", "looked at the page")
    assert (code, "dream keys new" in err) == (2, True)
    assert dream("keys", "new", "Ada")[0] == 0
    assert dream("approve", run, "--by", "Ada", "--reason", "looked at the page")[0] == 0
    code, out, err = dream("run", "-c", config, "--no-store-answers")
    assert code == 0, out + err
    for word in ("T", "W", "C", "look-alikes refused", "ΔS signed", "Peace²", "SEAL", "report:"):
        assert word in out
    state = json.loads(dream("status", "--json")[1])
    assert state["live"] != state["anchor"]
    assert '"answer"' not in "".join(p.read_text() for p in Path(".dream").rglob("eval/*.jsonl") if "002" in str(p))
    assert dream("ledger", "verify", "--head", state["head"])[0] == 0
    assert dream("ledger", "verify", "--head", "f" * 64)[0] == 5
    assert "promote" in dream("ledger", "show")[1]
    assert Path(dream("report")[1].strip()).is_file()
    assert dream("rollback", state["anchor"][:12], "--by", "Ada", "--reason", "trying it")[0] == 0
    assert json.loads(dream("status", "--json")[1])["live"] == state["anchor"]
    assert dream("report", "nothing")[0] == 2


def test_the_ledger_leaves_the_house(dream: Call, tmp_path: Path) -> None:
    """key → verify at L1 → witness → verify at L2 → proof → export; a key that is not ours, an entry that is not there, nonsense."""
    ledger = Workspace.open(Path(".dream")).ledger
    for number in range(3):
        ledger.append("note", {"number": number})
    ledger.close()
    key = dream("ledger", "key")[1].strip()
    assert "level L1" in dream("ledger", "verify", "--key", key)[1]
    code, out, err = dream("witness", "sign", "--folder", str(tmp_path / "watch"), "--key", key)
    assert code == 0, err
    watch = out.split("witness key ")[1].strip()
    assert "level L2" in dream("ledger", "verify", "--key", key, "--witness", watch)[1]
    proof = json.loads(dream("ledger", "proof", "2")[1])
    root = root_from_inclusion(bytes.fromhex(proof["leaf"]), 1, proof["size"], [bytes.fromhex(step) for step in proof["path"]])
    assert root == SignedCheckpoint.parse(proof["checkpoint"]).checkpoint.root
    assert dream("ledger", "export", "log.txt")[0] == 0
    assert Path("log.txt").read_text().startswith("dream-ledger-export/1\n")
    stranger = str(public_key("dream-engine", Ed25519PrivateKey.generate()))
    assert dream("ledger", "verify", "--key", stranger)[0] == 5
    assert dream("ledger", "verify", "--key", "nonsense")[0] == 2
    assert dream("ledger", "proof", "9")[0] == 2


def test_two_people_decide_and_one_signs_elsewhere(dream: Call) -> None:
    """keys new, review, sign to a file, approve with it, a second person; then log, revoke, list."""
    world = World(Path(".dream"))
    assert dream("keys", "new", "ada")[0] == 0
    code, _, err = dream("keys", "new", "bo")
    assert (code, "--sponsor" in err) == (2, True)
    assert dream("keys", "new", "bo", "--sponsor", "ada")[0] == 0
    held = world.cycle("001-a", "hold", failing=["critical_compliance.violence"])
    code, out, err = dream("review", "cycle", "001-a")
    assert (code, "signatures needed: 2" in out) == (0, True), err
    code, _, err = dream("sign", "001-a", "perhaps", "--out", "d.json", "--by", "ada", "--reason", "fine")
    assert (code, "neither" in err) == (2, True)
    assert dream("sign", "001-a", "approve", "--out", "d.json", "--by", "ada", "--reason", "fine")[0] == 0
    assert "1 more person" in dream("approve", "001-a", "--signed", "d.json")[1]
    code, _, err = dream("approve", "001-a", "--signed", "d.json")
    assert (code, "used before" in err) == (2, True)
    assert "is live" in dream("approve", "001-a", "--by", "bo", "--reason", "fine too")[1]
    assert json.loads(dream("log", "--json")[1])["by"] == ["ada", "bo"]
    assert dream("log", "--at", "2001-01-01")[0] == 2
    assert dream("log", "--at", "yesterday")[0] == 2
    assert dream("keys", "revoke", "bo", "--by", "ada", "--reason", "left")[0] == 0
    assert [r["name"] for r in json.loads(dream("keys", "list", "--json")[1])] == ["ada"]
    assert dream("ledger", "verify")[0] == 0
    assert world.registry.live == held.body["weights"]


def test_people_rate_answers_and_the_gate_says_what_follows(dream: Call) -> None:
    """--to writes blinded pairs, --from judges them (1: C is rated a point lower), writes `ratings.json` and a ledger entry; wrong use is exit 2."""
    world = World(Path(".dream"))
    world.seal("002-b")
    assert "no measured answers of W" in dream("review", "answers", "002-b", "--to", "form.csv")[2]
    folder = Path(".dream/runs/002-b/eval")
    folder.mkdir(parents=True)
    for model in "WC":
        rows = [{"id": f"p{i}", "side": "anchor", "text": f"question {i}", "answer": f"{model} says {i}"} for i in range(12)]
        (folder / f"{model}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"model": model}]))
    assert dream("review", "answers", "002-b")[0] == dream("review", "answers", "002-b", "--from", "nowhere.csv")[0] == 2
    whole = (folder / "C.jsonl").read_text()
    (folder / "C.jsonl").write_text(whole.replace("C says", "W says", 3))
    assert "holds 9 plain requests" in dream("review", "answers", "002-b", "--to", "form.csv")[2]
    (folder / "C.jsonl").write_text(whole[:-20])
    code, _, err = dream("review", "answers", "002-b", "--to", "form.csv")
    assert (code, "is damaged" in err) == (5, True), err
    (folder / "C.jsonl").write_text(whole)
    assert "wrote 12 pairs" in dream("review", "answers", "002-b", "--to", "form.csv")[1]
    code, out, _ = dream("review", "answers", "002-b", "--from", "form.csv")
    assert (code, "0 pairs are rated, 10 are needed" in out) == (4, True)
    lines = Path("form.csv").read_text().splitlines()
    filled = [line[:-1] + ("3,4" if "W says" in line else "3,3") for line in lines[1:]]
    Path("form.csv").write_text("\n".join([lines[0], *filled]))
    code, out, err = dream("review", "answers", "002-b", "--from", "form.csv")
    assert code == 1, err
    assert "rated_usefulness" in out
    assert json.loads(Path(".dream/runs/002-b/ratings.json").read_text())["failing"] == ["rated_usefulness"]
    assert dream("ledger", "verify")[0] == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"decision": {}, "signature": ""}', "x" * 20_000, '{"decision": 1, "signature": 2}', "[" * 9000])
def test_a_decision_file_that_is_none_is_exit_2(dream: Call, text: str) -> None:
    """P8 in small: no nonsense in a decision file gets further than a message."""
    World(Path(".dream"), ["ada"]).cycle("001-a", "hold")
    Path("d.json").write_text(text)
    code, _, err = dream("approve", "001-a", "--signed", "d.json")
    assert (code, "decision" in err) == (2, True), err


def test_sabar_from_stop_to_resume(dream: Call) -> None:
    """status → adjust → too early (1) → resume; collect keeps what is needed; a promotion past the gate is exit 5."""
    world = World(Path(".dream"))
    assert dream("keys", "new", "ada")[0] == 0
    world.seal("001-a")
    world.cycle("002-b", "sabar", failing=["kl_drift"])
    stop(world.ledger, world.registry, 0.0)
    assert "cooling after kl_drift" in dream("sabar", "status")[1]
    assert dream("run", "--set", "model.name=sandbox", "--set", "policy.pack=sandbox")[0] == 1
    assert dream("sabar", "resume", "--by", "ada", "--reason", "read it")[0] == 1
    assert "dream.learning_rate times 0.5" in dream("sabar", "adjust")[1]
    assert json.loads(dream("sabar", "status", "--json")[1])["open"]["state"] == "adjusting"
    assert dream("sabar", "resume", "--by", "eve", "--reason", "read it")[0] == 2
    assert dream("sabar", "resume", "--by", "ada", "--reason", "read it")[0] == 0
    assert dream("sabar", "resume", "--by", "ada", "--reason", "again")[0] == 2
    assert "no SABAR is open" in dream("sabar", "status")[1]
    assert "would remove 1" in dream("collect", "--dry-run")[1]
    held = world.cycle("003-c", "hold")
    world.registry.promote(str(held.body["weights"]), {"run": "003-c", "by": ["ada"]})
    code, _, err = dream("ledger", "verify")
    assert (code, "without the signatures" in err) == (5, True)


def test_doctor_finds_what_is_missing(dream: Call) -> None:
    """A missing data file fails its own line only."""
    code, out, _ = dream("doctor", "--set", "wake.data=nowhere.jsonl", "--set", "model.name=sandbox")
    assert code == 2
    assert "FAIL  data" in out
    assert "ok    model" in out


@pytest.mark.parametrize(("capabilities", "said"), [({"avx512_bf16": False, "avx2": True}, True), ({"avx512_bf16": True}, False)])
def test_doctor_says_where_a_processor_is_slow(capabilities: dict[str, bool], said: bool, dream: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without bfloat16 products costs hours on a real model: doctor says so there, and nowhere else."""
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    _, out, _ = dream("doctor", "--set", "model.name=smollm2-135m", "--set", "model.device=cpu")
    assert ("does not multiply bfloat16" in out) == said
    assert "does not multiply" not in dream("doctor", "--set", "model.name=sandbox", "--set", "model.device=cpu")[1]


def test_power_answers_both_ways(dream: Call) -> None:
    """A number of prompts gives a margin, a margin a number; one of the two is needed."""
    code, out, _ = dream("power", "--n", "150", "--json")
    assert code == 0
    assert json.loads(out)["margin"] == pytest.approx(0.0908, abs=1e-3)
    assert "495 prompts" in dream("power", "--margin", "0.05")[1]
    for wrong in ((), ("--n", "150", "--margin", "0.05"), ("--margin", "0"), ("--n", "150", "--flips", "2")):
        assert dream("power", *wrong)[0] == 2


@pytest.mark.parametrize(("cores", "asked", "used"), [(3, 0, 3), (64, 0, 8), (3, 1, 1), (3, 16, 16)])
def test_threads_are_the_cores_unless_a_number_is_asked_for(cores: int, asked: int, used: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight at most by ourselves; what a person asks for is what they get."""
    found: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", found.append)
    monkeypatch.setattr("joblib.cpu_count", lambda only_physical_cores: cores if only_physical_cores else 2 * cores)
    prepare_torch(asked)
    assert found == [used]
