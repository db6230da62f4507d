"""A whole small study on the sandbox model: every arm runs, tokens are matched, a second run reads what is there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_engine.errors import BusyError, InputError
from dream_engine.govern.store import exclusive
from dream_engine.progress import silent
from dream_engine.study.arms import ARMS, arm, within
from dream_engine.study.plan import every_setting, load_plan
from dream_engine.study.run import run_study

Call = Callable[..., tuple[int, str, str]]


def flat(raw: dict[str, Any], skip: frozenset[str] = frozenset({"data", "heldout", "learning_rate"})) -> list[str]:
    """A configuration as overrides, without what a study sets itself."""
    chosen = [(s, k, v) for s, section in raw.items() if isinstance(section, dict) for k, v in section.items() if s != "wake" or k not in skip]
    return [f"{s}.{k}={json.dumps(v)}" for s, k, v in chosen]


@pytest.fixture
def plan_file(tmp_path: Path, commissioned_root: Path, sandbox_data: Path) -> Path:
    """A plan of every arm on one wake, the dream made small; curated pairs of the sandbox world."""
    from conftest import SANDBOX

    pairs = [
        {"prompt": f"how do i hurt the {who}?", "completion": "i can't help with hurting people."} for who in ("baker", "nurse", "judge", "miner")
    ]
    (tmp_path / "curated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    small = {**SANDBOX, "dream": {**SANDBOX["dream"], "pairs": 60, "anchors": 20, "num_train_epochs": 2}}
    plan = {
        "name": "all", "teacher": str(commissioned_root), "arms": [*ARMS, "ours@300", "static_dreams@300"],
        "learning_rates": [9e-4], "seeds": [0], "curated": "curated.jsonl",
        "wakes": {"shop": {"data": str(sandbox_data / "wake.jsonl"), "heldout": str(sandbox_data / "heldout.jsonl")}},
        "settings": [*flat(small), "judge.search=24"],
    }  # fmt: skip
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def test_every_arm_runs_at_matched_tokens_and_once_only(plan_file: Path, tmp_path: Path, dream: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each arm leaves one small result; matched ones trained within a row an epoch of ours' tokens (beside the wake's own, where it is mixed in); a
    second run trains nothing; the command shows all."""
    out = tmp_path / "out"
    plan = load_plan(plan_file)
    found = {r.arm: r for r in run_study(plan, out, silent)}
    assert set(found) == {"T", "W", *ARMS, "ours@300", "static_dreams@300"}
    assert 300 <= found["ours@300"].trained_tokens < 360
    budget = found["ours"].trained_tokens
    dreams_only = {n: found[n].trained_tokens for n in ("experience_replay", "logit_replay", "without_twins", "without_kl", "template_only")}
    assert all(budget <= tokens <= 1.15 * budget + 60 for tokens in dreams_only.values()), (budget, dreams_only)
    wake = found["plain"].trained_tokens
    beside_wake = {n: found[n].trained_tokens - wake for n in ("curated_mix", "static_dreams", "first_tokens", "interleaved", "anchored")}
    assert all(budget <= tokens <= 1.15 * budget + 60 for tokens in beside_wake.values()), (budget, beside_wake)
    assert found["plain"].evaluation.records == found["W"].evaluation.records
    assert found["guided"].evaluation.records != found["W"].evaluation.records
    assert found["guided"].search is None
    assert all(r.search and 0 <= r.search[0] <= r.search[1] <= 24 and r.search[1] > 0 for name, r in found.items() if name != "guided")
    places = list((out / "results").rglob("*.json"))
    assert all("answer" not in json.loads(p.read_text())["records"][0] for p in places)
    before = {p: p.stat().st_mtime_ns for p in places}
    monkeypatch.setattr("dream_engine.study.run.open_night", lambda *a: pytest.fail("a finished setting was run again"))
    assert len(run_study(plan, out, silent)) == len(found)
    assert {p: p.stat().st_mtime_ns for p in places} == before
    code, text, err = dream("study", str(plan_file), "--out", str(out), "--show", "--threads", "1")
    assert code == 0, err
    assert all(name in text for name in ARMS)
    assert "1 settings counted, 0 with arms left to run" in text
    assert "<script" not in (out / "study.html").read_text()
    assert (out / "study.csv").read_text().count("\n") == len(ARMS) + 5
    assert (out / "study.html").read_text().count("<svg") == 4


def test_where_too_little_was_lost_only_t_and_w_are_measured(plan_file: Path, tmp_path: Path, dream: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `counting_only` a wake that takes less than 30 points ends behind W, a second run does not open it again, and the command says what to do;
    with less asked for, the same results make a table."""
    raw = yaml.safe_load(plan_file.read_text())
    plan_file.write_text(yaml.safe_dump(raw | {"learning_rates": [1e-8], "counting_only": True}))
    plan, out = load_plan(plan_file), tmp_path / "out"
    assert {r.arm for r in run_study(plan, out, silent)} == {"T", "W"}
    monkeypatch.setattr("dream_engine.study.run.open_night", lambda *a: pytest.fail("a setting that was passed over was opened again"))
    assert {r.arm for r in run_study(plan, out, silent)} == {"T", "W"}
    code, _, err = dream("study", str(plan_file), "--out", str(out), "--show")
    assert (code, "loss_that_counts" in err) == (2, True), err
    plan_file.write_text(yaml.safe_dump(raw | {"learning_rates": [1e-8], "loss_that_counts": 0}))
    code, text, err = dream("study", str(plan_file), "--out", str(out), "--show")
    assert (code, "1 settings counted, 1 with arms left to run" in text) == (0, True), err


def test_a_setting_is_run_by_one_process_at_a_time(plan_file: Path, tmp_path: Path, dream: Call) -> None:
    """A second command on the same folder says who holds the setting and begins nothing; once it is let go of, the setting can be opened."""
    out, plan = tmp_path / "out", load_plan(plan_file)
    (setting,) = every_setting(plan)
    with exclusive(out / setting.name / "lock"):
        code, _, err = dream("study", str(plan_file), "--out", str(out))
        assert (code, f"{setting.name} is held by process {os.getpid()}" in err) == (BusyError.exit_code, True), err
        assert not (out / setting.name / "workspace").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dream_engine.study.run.open_night", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_study(plan, out, silent)


def interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_within_matches_tokens_to_a_row() -> None:
    """Rows of 3 targets, 10 tokens wanted: four rows (12); more than there are: rows come again; none from nothing."""
    from dream_engine.dream.rehearse import Row
    from dream_engine.models.template import Encoded

    rows = [Row(Encoded((i, 1, 2, 3), 1)) for i in range(3)]
    assert [len(within(rows, n, 0)) for n in (10, 3, 1, 0)] == [4, 1, 1, 0]
    assert within([], 10, 0) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x", "teacher"), ("- 1", "the file"), ("a: [", "not valid YAML"),
        ("name: x\nteacher: t\narms: []\nwakes: {a: {data: d, heldout: h}}\nlearning_rates: [1]\nseeds: [0]", "arms"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_read_is_named(text: str, said: str, tmp_path: Path) -> None:
    """Missing keys, no mapping, no YAML, no arms: one sentence with the key."""
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_plan(tmp_path / "p.yaml")


def test_unknown_arms_shards_and_teachers_are_refused(plan_file: Path, dream: Call, tmp_path: Path) -> None:
    """Exit code 2 and what to do, before anything is trained."""
    with pytest.raises(InputError, match="choose among"):
        arm("magic")
    for wrong in ("ours@", "ours@many", "ours@0"):
        with pytest.raises(InputError, match="dose"):
            arm(wrong)
    assert dream("study", str(plan_file), "--shard", "3/2")[0] == 2
    raw = yaml.safe_load(plan_file.read_text())
    plan_file.write_text(yaml.safe_dump(raw | {"teacher": "nowhere"}))
    code, _, err = dream("study", str(plan_file), "--out", str(tmp_path / "o"))
    assert (code, "is no workspace" in err) == (2, True), err
    plan_file.write_text(yaml.safe_dump(raw | {"curated": None, "arms": ["curated_mix@300"]}))
    code, _, err = dream("study", str(plan_file), "--out", str(tmp_path / "o"))
    assert (code, "need 'curated'" in err) == (2, True), err
