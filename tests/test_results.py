"""What leaves: exports with cards, evaluations in other tools' formats and back, cycles compared, numbers sent to a sink."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import dream_engine
from dream_engine import bridges, sinks
from dream_engine.cycle import run_cycle
from dream_engine.errors import InputError
from dream_engine.evaluate import evaluate_answers, evaluate_model, write_evaluation
from dream_engine.export import export_adapter, export_dreams, export_merged
from dream_engine.judge import metrics
from dream_engine.models.sandbox import sandbox_folder
from dream_engine.progress import silent
from dream_engine.results import difference

Make = Callable[..., Any]
QUICK = {"pairs": 24, "anchors": 8, "self_anchors": 0, "num_train_epochs": 1, "settle_pairs": 0}


@pytest.fixture(scope="module")
def measured(sandbox_config: Make, commissioned_root: Path) -> Any:
    """The sealed sandbox model, measured once."""
    from dream_engine.workspace import Workspace

    workspace = Workspace.open(commissioned_root, create=False)
    sealed = workspace.registry.verified(str(workspace.registry.live))
    return evaluate_model(sandbox_config(), sealed, silent)


def test_an_exported_adapter_loads_in_peft_and_its_card_says_what_it_is(commissioned: Any, tmp_path: Path) -> None:
    """Weights byte for byte; base, numbers with intervals, ledger entry and limits in the card; a full folder is refused."""
    folder = export_adapter(commissioned, tmp_path / "out")
    sealed = commissioned.registry.verified(commissioned.registry.live)
    assert (folder / "adapter_model.safetensors").read_bytes() == (sealed / "adapter_model.safetensors").read_bytes()
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(sandbox_folder()), folder)
    card = (folder / "README.md").read_text()
    for part in ("library_name: peft", "harmful refused", "ledger entry", "not tamper resistance", "Peace²", "dreams: "):
        assert part in card, part
    with pytest.raises(InputError, match="not empty"):
        export_adapter(commissioned, folder)
    with pytest.raises(InputError, match="names 0 sealed versions"):
        export_adapter(commissioned, tmp_path / "other", "zz")


def test_a_merged_model_answers_like_base_and_adapter(commissioned: Any, tmp_path: Path) -> None:
    """Logits agree to rounding, and the folder is a model of its own."""
    folder = export_merged(commissioned, tmp_path / "whole")
    sealed = commissioned.registry.verified(commissioned.registry.live)
    merged = AutoModelForCausalLM.from_pretrained(folder).eval()
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(sandbox_folder()), sealed).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)("tell me about the lamp")["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, apart(ids).logits, atol=1e-3)


def test_exported_dreams_name_their_terms(commissioned: Any, tmp_path: Path) -> None:
    """One row a dream, each with the terms of whoever wrote it; the card counts them."""
    run = next(str(e.body["run"]) for e in commissioned.ledger.entries("begin"))
    source = commissioned.run_folder(run)
    assert source.is_dir()
    count = export_dreams(commissioned, run, tmp_path / "dreams")
    rows = [json.loads(line) for line in (tmp_path / "dreams" / "dreams.jsonl").read_text().splitlines()]
    assert len(rows) == count > 100
    assert all("unknown" not in row["terms"] for row in rows)
    assert "No harmful request is complied with" in (tmp_path / "dreams" / "README.md").read_text()
    with pytest.raises(InputError, match="has no dreams"):
        export_dreams(commissioned, "009-none", tmp_path / "none")


def test_lm_eval_reads_what_we_write_and_we_read_its_samples(measured: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """The package's own table is made of our results file; our samples come back to the same grades."""
    report, suites = measured
    files = write_evaluation(report, suites, "sandbox", tmp_path, "lm-eval", 0)
    results = json.loads(files[0].read_text())
    assert set(results["results"]) == {"dream_harmful", "dream_look_alikes", "dream_plain"}
    again, _ = evaluate_answers(sandbox_config(), files[0].parent)
    assert {r.id: r.grade for r in again.evaluation.records} == {r.id: r.grade for r in report.evaluation.records}
    utils = pytest.importorskip("lm_eval.utils", reason="lm-eval is not installed")
    assert "dream_harmful" in utils.make_table(results)
    names = [path.as_posix() for path in files[0].parent.iterdir()]
    assert utils.get_results_filenames(names) == [files[0].as_posix()]
    assert len(utils.get_sample_results_filenames(names)) == 3


def test_inspect_reads_what_we_write_and_we_read_its_logs(measured: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """The package reads our `.eval` back with its samples and scores; so do we."""
    log = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    report, suites = measured
    (path,) = write_evaluation(report, suites, "sandbox", tmp_path, "inspect", 0)
    read = log.read_eval_log(str(path))
    assert (read.status, len(read.samples)) == ("success", len(suites))
    again, _ = evaluate_answers(sandbox_config(), path)
    assert metrics.rate(again.evaluation, "harmful", 0) == metrics.rate(report.evaluation, "harmful", 0)


def test_a_log_in_no_format_is_named(tmp_path: Path, sandbox_config: Make) -> None:
    """No samples, a broken line, prompts that are not ours."""
    with pytest.raises(InputError, match="holds no samples"):
        evaluate_answers(sandbox_config(), tmp_path)
    bad = tmp_path / "samples_x_1.jsonl"
    bad.write_text('{"doc": {}}\n')
    with pytest.raises(InputError, match="line 1 is not a generated sample"):
        evaluate_answers(sandbox_config(), bad)
    bad.write_text('{"doc": {"text": "who are you"}, "filtered_resps": ["nobody"]}\n')
    with pytest.raises(InputError, match="none of the 1 answers belongs"):
        evaluate_answers(sandbox_config(), bad)


def test_two_cycles_are_compared(commissioned: Any, sandbox_config: Make) -> None:
    """Only settings that differ are listed; both candidates' numbers stand side by side."""
    runs = []
    for seed in (0, 1):
        outcome = run_cycle(sandbox_config(seed, dream=QUICK), _copy(commissioned, seed))
        runs.append(
            {
                "gate": json.loads((outcome.folder / "gate.json").read_text()),
                "config": json.loads((outcome.folder / "config.resolved.json").read_text()),
            }
        )
    found = difference(*runs)
    assert found["settings"] == {"seed": [0, 1]}
    assert found["verdicts"] == [run["gate"]["verdict"] for run in runs]
    assert all(one["value"] is not None for one in found["candidates"]["harmful_refused"])


def _copy(workspace: Any, number: int) -> Any:
    import shutil

    from dream_engine.workspace import Workspace

    target = workspace.root.parent / f"copy-{number}"
    shutil.copytree(workspace.root, target)
    return Workspace.open(target)


RESULT = {
    "verdict": "seal", "weights": "ab", "stability_ratio": 1.5,
    "table": {
        "models": {"C": {"harmful_refused": {"value": 0.9}, "user_nll": {"value": None, "reason": "none given"}}},
        "changes": {"W→C": {"signed_entropy_drop": {"value": 0.25}}}, "gain_lost": {"value": None, "reason": "x"},
    },
}  # fmt: skip


def test_a_sink_gets_what_was_measured_and_nothing_else() -> None:
    """What was not measured is absent, not zero."""
    assert sinks.numbers(RESULT) == {"C.harmful_refused": 0.9, "W_C.signed_entropy_drop": 0.25, "stability_ratio": 1.5}


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow"), ("wandb", "wandb"), ("trackio", "trackio")])
def test_each_sink_writes_offline_or_says_what_to_install(name: str, package: str, tmp_path: Path) -> None:
    """With the package: files in the workspace. Without: the way to get it."""
    if find_spec(package) is None:  # not imported here: Trackio reads its folder from the environment when it is
        with pytest.raises(InputError, match="pip install"):
            sinks.send(name, "001-a", RESULT, {"seed": 0}, tmp_path)
        return
    sinks.send(name, "001-a", RESULT, {"seed": 0, "model": {"name": "sandbox"}}, tmp_path)
    assert any(tmp_path.iterdir())


def test_five_names_make_a_notebook_and_import_stays_light(tmp_path: Path) -> None:
    """The example runs as it stands; importing the package loads no torch."""
    assert sorted(dream_engine.__all__) == ["Workspace", "export_adapter", "gate_adapter", "load_config", "run_cycle"]
    for name in dream_engine.__all__:
        assert getattr(dream_engine, name).__doc__
    with pytest.raises(AttributeError):
        dream_engine.nothing  # noqa: B018
    light = "import sys, dream_engine; dream_engine.load_config(None); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", light], check=False).returncode == 0


def test_bridges_name_their_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Inspect's package its logs are refused with the way to get it."""
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(InputError, match=r"dream-engine\[inspect\]"):
        bridges.read_inspect(tmp_path / "x.eval")


def test_the_notebook_example_runs(tmp_path: Path) -> None:
    """At most 30 lines; a first model is made, held for a person, and passes when it is judged by itself."""
    example = Path(__file__).parents[1] / "examples" / "notebook.py"
    assert len(example.read_text().splitlines()) <= 30
    done = subprocess.run([sys.executable, str(example), str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "hold" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "seal"
