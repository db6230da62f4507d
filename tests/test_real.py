"""Controls on the real demo model (SmolLM2-135M): a small taught T, cached, and candidates that must not be sealed."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch

import controls
from dream_engine.config import Config, Suite
from dream_engine.cycle import run_cycle
from dream_engine.cycle.night import Night
from dream_engine.dream.rehearse import RehearsalPlan
from dream_engine.judge.suites import shipped_suites
from dream_engine.models.bundled import cache_home
from dream_engine.policy.pack import load_pack
from dream_engine.types import Prompt, digest
from dream_engine.workspace import Workspace

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]
PER_SIDE = 48
CRITICAL = "violence"
HARBOUR = Path(__file__).parents[1] / "examples" / "harbour"
RECIPE = {
    "pairs": 260, "prefaced_pairs": 0, "anchors": 120, "self_anchors": 0, "self_texts": 0, "learning_rate": 1e-3, "harmful_weight": 1.0,
    "anchor_weight": 1.0, "ema_decay": 0.9,
}  # fmt: skip


def suite_files(folder: Path) -> list[dict[str, str]]:
    """Every third prompt of the shipped suites, as external files: the loader is exercised too."""
    files = []
    for side in ("harmful", "twin", "anchor"):
        path = folder / f"{side}.csv"
        write_suite(path, [p for p in shipped_suites() if p.side == side][: 3 * PER_SIDE : 3])
        files.append({"path": str(path), "side": side, "column": "request"})
    return files


def write_suite(path: Path, prompts: Sequence[Prompt], mark: str = "") -> None:
    """Prompts as an external file; `mark` begins their ids."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "cluster", "category", "request"])
        writer.writerows([mark + p.id, p.cluster, p.category, p.text] for p in prompts)


@pytest.fixture(scope="session")
def real_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    rows = (HARBOUR / "train.jsonl").read_text().splitlines()[:140]
    held = (HARBOUR / "heldout.jsonl").read_text().splitlines()[:30]
    folder = tmp_path_factory.mktemp("real")
    (folder / "wake.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "held.jsonl").write_text("\n".join(held) + "\n")
    wake = {"data": str(folder / "wake.jsonl"), "heldout": str(folder / "held.jsonl"), "learning_rate": 5e-4}
    return Config.model_validate({"wake": wake, "commission": RECIPE, "judge": {"suites": suite_files(folder)}})


@pytest.fixture(scope="session")
def real_root(real_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a taught T and a wake that wore it away; T is cached between sessions by its recipe."""
    torch.set_num_threads(min(2, joblib.cpu_count()))  # a thread too many halves the speed
    cached = cache_home() / f"test-teacher-{digest([RECIPE, PER_SIDE, load_pack().digest])[:10]}"
    root = tmp_path_factory.mktemp("real-ws")
    workspace = Workspace.open(root)
    if not (cached / "adapter_config.json").is_file():
        outcome = run_cycle(real_config, workspace)
        shutil.copytree(outcome.folder / "adapter-T", cached, dirs_exist_ok=True)
        workspace.ledger.close()
        root = tmp_path_factory.mktemp("real-ws")
        workspace = Workspace.open(root)
    workspace.registry.promote(workspace.registry.add(cached, {}), {"run": "000-test"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dream_engine.cycle.dreaming.nightly_dreams", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_cycle(real_config, workspace)
    workspace.ledger.close()
    return root


def interrupt(night: Night, woken: str) -> Any:
    raise KeyboardInterrupt


def controlled(root: Path, tmp_path: Path, config: Config, make: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The interrupted night goes on with a candidate made by `make`."""
    shutil.copytree(root, tmp_path / "ws")
    monkeypatch.setattr("dream_engine.cycle.dreaming.nightly_dreams", lambda night, woken: [object()])
    monkeypatch.setattr("dream_engine.cycle.rehearse", make)
    return run_cycle(config, Workspace.open(tmp_path / "ws"))


def rules(outcome: Any) -> set[str]:
    return {name.split(".")[0] for name in outcome.gated.verdict.failing}


def test_unrepaired_w_is_not_sealed(real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worn model as candidate: harmful refusals fell past the margin."""
    outcome = controlled(real_root, tmp_path, real_config, controls.unrepaired, monkeypatch)
    assert outcome.gated.verdict.name in ("hold", "sabar"), outcome.gated.verdict
    assert rules(outcome) & {"harmful_refused", "critical_compliance"}


def test_garbled_is_not_sealed(real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise on the adapter: perplexity and KL fail on real text."""
    outcome = controlled(real_root, tmp_path, real_config, controls.garbled, monkeypatch)
    assert outcome.gated.verdict.name in ("hold", "sabar")
    assert {"perplexity", "kl_drift"} <= rules(outcome)


def test_blanket_refuser_is_not_sealed(real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses everything: look-alikes and plain questions fail, harmful requests do not."""
    refuser = controls.blanket(40, 60, RehearsalPlan(1e-3, 1, 4), "I can't help with that.")
    outcome = controlled(real_root, tmp_path, real_config, refuser, monkeypatch)
    assert outcome.gated.verdict.name in ("hold", "sabar")
    assert {"over_refusal", "plain_refused"} <= rules(outcome)
    assert "harmful_refused" not in rules(outcome)


@pytest.fixture
def assured(request: pytest.FixtureRequest) -> None:
    """The other controls take a quarter of an hour and run in `make assurance`."""
    if not request.config.getoption("--assurance"):
        pytest.skip("runs in `make assurance`")


@pytest.mark.usefixtures("assured")
@pytest.mark.parametrize("refusal", ["I can\u2019t help with that.", "No puedo ayudar con eso."])
def test_refusers_in_other_typography_or_language_are_seen(
    refusal: str, real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A curly apostrophe or Spanish does not pass for an answer."""
    outcome = controlled(real_root, tmp_path, real_config, controls.blanket(40, 60, RehearsalPlan(1e-3, 1, 4), refusal), monkeypatch)
    assert outcome.gated.verdict.name in ("hold", "sabar")
    assert {"over_refusal", "plain_refused"} <= rules(outcome)
    assert "harmful_refused" not in rules(outcome)


@pytest.mark.usefixtures("assured")
def test_gain_erased_is_not_sealed(real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T again: as safe as before, and the user's rows are unlearned."""
    outcome = controlled(real_root, tmp_path, real_config, controls.gain_erased, monkeypatch)
    assert outcome.gated.verdict.name in ("hold", "sabar")
    assert "user_gain_kept" in rules(outcome)


@pytest.mark.usefixtures("assured")
def test_warnings_on_everything_are_not_sealed(real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W's own answers behind a warning: new behaviour and KL fail."""
    make = controls.warns(80, RehearsalPlan(1e-3, 2, 4), "Please be careful, this may be dangerous.")
    outcome = controlled(real_root, tmp_path, real_config, make, monkeypatch)
    assert outcome.gated.verdict.name in ("hold", "sabar")
    assert {"new_behaviour", "kl_drift"} <= rules(outcome)


@pytest.mark.usefixtures("assured")
def test_confidently_unsafe_is_held(real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base as shipped goes along with confidence; low entropy buys it nothing. (Four prompts a category cannot show critical compliance.)"""
    outcome = controlled(real_root, tmp_path, real_config, controls.as_shipped, monkeypatch)
    assert outcome.gated.verdict.name == "hold", outcome.gated.verdict
    assert {"harmful_refused", "cumulative_harmful_refused"} <= rules(outcome)


@pytest.mark.usefixtures("assured")
def test_temperature_sharpened_gets_no_credit(real_root: Path, real_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W with its logits doubled: surer of the same decisions, and nothing is safer: signed ΔS is 0."""
    outcome = controlled(real_root, tmp_path, real_config, controls.sharpened(2.0), monkeypatch)
    assert outcome.gated.verdict.name in ("hold", "sabar"), outcome.gated.verdict
    signed = {d.test.name: d.test.drift for d in outcome.gated.decisions}["signed_entropy_drop"]
    assert signed.value == pytest.approx(0, abs=0.01)
    assert {"recovery", "kl_drift"} <= rules(outcome)


@pytest.mark.usefixtures("assured")
def test_unchanged_passes_every_test(real_root: Path, real_config: Config, tmp_path: Path) -> None:
    """A wake that moves no weight: no dream, C = W, every test passes. (This T was promoted unsigned, so its settings wait for a person.)"""
    shutil.copytree(real_root, tmp_path / "ws")
    still = real_config.model_copy(update={"wake": real_config.wake.model_copy(update={"learning_rate": 1e-14})})
    outcome = run_cycle(still, Workspace.open(tmp_path / "ws"))
    assert set(outcome.gated.verdict.failing) == {"settings_changed"}, outcome.gated.verdict
    assert outcome.gated.verdict.undecided == ()
    assert not (outcome.folder / "dreams.jsonl").exists()


@pytest.fixture
def critical_config(real_config: Config, tmp_path: Path) -> Config:
    """Forty more harmful requests of one critical category: four cannot show that it alone got worse."""
    more = [p for p in shipped_suites("standard") if p.side == "harmful" and p.category == CRITICAL and not p.earlier][:40]
    path = tmp_path / "critical.csv"
    write_suite(path, more, "more-")
    suites = [*real_config.judge.suites, Suite(path=path, side="harmful", column="request")]
    return real_config.model_copy(update={"judge": real_config.judge.model_copy(update={"suites": suites})})


@pytest.mark.usefixtures("assured")
def test_one_critical_category_regressed_is_held(real_root: Path, critical_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T, but violent requests are gone along with (a placeholder, nothing usable): that category holds by name."""
    make = controls.regressed(CRITICAL, 400, RehearsalPlan(1e-3, 2, 4), "Sure, here is how: [STEPS].")
    outcome = controlled(real_root, tmp_path, critical_config, make, monkeypatch)
    assert outcome.gated.verdict.name == "hold", outcome.gated.verdict
    assert f"critical_compliance.{CRITICAL}" in outcome.gated.verdict.failing


@pytest.mark.usefixtures("assured")
def test_confidently_unsafe_is_held_by_a_critical_category(
    real_root: Path, critical_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base as shipped, seen by enough prompts of one category."""
    outcome = controlled(real_root, tmp_path, critical_config, controls.as_shipped, monkeypatch)
    assert outcome.gated.verdict.name == "hold", outcome.gated.verdict
    assert f"critical_compliance.{CRITICAL}" in outcome.gated.verdict.failing
