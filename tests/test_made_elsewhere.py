"""Adapters and models made by other tools: judged, repaired, sealed, and given back as folders that those tools load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from dream_engine.cycle import gate_adapter, generate, run_cycle
from dream_engine.cycle.opening import open_night
from dream_engine.errors import InputError, IntegrityError
from dream_engine.models.hf import load_model
from dream_engine.models.sandbox import sandbox_folder, sandbox_suites, wake_dialogues
from dream_engine.types import Message

Make = Callable[..., Any]
QUICK = {"pairs": 60, "anchors": 8, "self_anchors": 0, "num_train_epochs": 2, "settle_pairs": 0}


def sft(folder: Path, model: Any, peft_config: LoraConfig | None, steps: int, learning_rate: float = 9e-4) -> Path:
    """An adapter (or a whole model) fitted by TRL's own trainer on the sandbox's wake dialogues; saved as TRL saves it."""
    rows = [{"prompt": d["messages"][:-1], "completion": d["messages"][-1:]} for d in wake_dialogues(160, 1)]
    settings = SFTConfig(
        output_dir=str(folder / "out"), max_steps=steps, per_device_train_batch_size=8, learning_rate=learning_rate, bf16=False, use_cpu=True,
        gradient_checkpointing=False, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=3, max_length=512,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(sandbox_folder())
    trainer = SFTTrainer(model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=peft_config)
    trainer.train()
    trainer.save_model(str(folder / "made"))
    return folder / "made"


def base() -> Any:
    return AutoModelForCausalLM.from_pretrained(sandbox_folder(), dtype=torch.float32)


@pytest.fixture
def continued(commissioned: Any, tmp_path: Path) -> Path:
    """What TRL makes of the sealed adapter when it goes on training it."""
    sealed = commissioned.registry.verified(commissioned.registry.live)
    return sft(tmp_path, PeftModel.from_pretrained(base(), sealed, is_trainable=True), None, 60)


def test_an_adapter_from_trl_is_refused_repaired_sealed_and_loads_in_plain_peft(
    continued: Path, commissioned: Any, sandbox_config: Make, tmp_path: Path
) -> None:
    """Judged: not sealable. Repaired: sealed. Given back: plain PEFT answers token for token as we do."""
    assert gate_adapter(sandbox_config(), commissioned, continued)["verdict"] in ("hold", "sabar")
    outcome = run_cycle(sandbox_config(wake={"adapter": str(continued)}), commissioned)
    assert outcome.gated.verdict.name == "seal", outcome.gated.verdict
    repaired = commissioned.registry.verified(outcome.weights)
    ours = load_model("sandbox")
    ours.load_adapter("C", repaired)
    asked = [[Message("user", row["messages"][0]["content"])] for row in wake_dialogues(12, 9)]
    with ours.using("C"):
        answers = [g.text for g in ours.generate(asked, 16)]
    theirs, tokenizer = PeftModel.from_pretrained(base(), repaired).eval(), AutoTokenizer.from_pretrained(sandbox_folder())
    for turn, answer in zip(asked, answers, strict=True):
        ids = torch.tensor([ours.encode_prompt(turn)])
        made = theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)
        assert tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip() == answer


def test_an_adapter_of_another_rank_and_other_modules_is_w(commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """Rank 4 on two maps, made from the bare base: it knows nothing of the policy, and the gate says so; the cycle runs on it all the same."""
    made = sft(tmp_path, base(), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"), 10)
    assert gate_adapter(sandbox_config(), commissioned, made)["verdict"] in ("hold", "sabar")
    outcome = run_cycle(sandbox_config(wake={"adapter": str(made)}, dream=QUICK), commissioned)
    config = json.loads((commissioned.registry.verified(outcome.weights) / "adapter_config.json").read_text())
    assert (config["r"], config["target_modules"]) == (4, ["q_proj", "v_proj"])
    assert outcome.gated.verdict.name != "seal"


def test_a_model_that_was_fine_tuned_whole_is_repaired_by_an_adapter_on_it(commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """C stands on the second model's weights, its manifest says so, and the next cycle asks for that base by name."""
    merged = PeftModel.from_pretrained(base(), commissioned.registry.verified(commissioned.registry.live)).merge_and_unload()
    folder = sft(tmp_path, merged.requires_grad_(True), None, 60, 3e-4)
    AutoTokenizer.from_pretrained(sandbox_folder()).save_pretrained(folder)
    outcome = run_cycle(sandbox_config(wake={"model": str(folder)}, dream={**QUICK, "pairs": 300, "num_train_epochs": 4}), commissioned)
    refused = {m: c["harmful_refused"]["value"] for m, c in json.loads((outcome.folder / "gate.json").read_text())["table"]["models"].items()}
    assert refused["W"] < refused["T"] - 0.3
    assert refused["C"] > refused["W"] + 0.1
    manifest = json.loads((commissioned.registry.verified(outcome.weights) / "manifest.json").read_text())
    assert manifest["base_name"] == str(folder)
    commissioned.registry.promote(outcome.weights, {"run": "009-by-hand"})
    with pytest.raises(IntegrityError, match="use that base"):
        open_night(sandbox_config(1), commissioned, lambda *told: None)


def test_a_first_model_made_elsewhere_is_judged_by_itself(commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """The absolute tests of a commissioning: the sealed adapter passes them in an empty workspace, nothing is promoted."""
    from dream_engine.workspace import Workspace

    sealed = commissioned.registry.verified(commissioned.registry.live)
    empty = Workspace.open(tmp_path / "empty")
    result = gate_adapter(sandbox_config(), empty, sealed, commission=True)
    assert {t["name"] for t in result["tests"]} == {
        "commission_harmful_refused", "commission_contrast", "commission_plain_refused", "commission_perplexity"
    }  # fmt: skip
    assert result["verdict"] == "seal"
    assert empty.registry.live is None
    with pytest.raises(InputError, match="add --commission"):
        gate_adapter(sandbox_config(), empty, sealed)


def broken(folder: Path, how: str) -> Path:
    """A copy of a good adapter folder with one thing wrong."""
    made = folder.parent / how.replace(" ", "-")
    shutil.copytree(folder, made)
    config = json.loads((made / "adapter_config.json").read_text())
    weights = made / "adapter_model.safetensors"
    if how == "a pickle":
        weights.rename(made / "adapter_model.bin")
    elif how == "another kind":
        config["peft_type"] = "IA3"
    elif how == "whole modules":
        config["modules_to_save"] = ["lm_head"]
    elif how == "another rank":
        config["r"] = 3
    elif how == "missing tensors":
        from safetensors.torch import load_file, save_file

        kept = load_file(weights)
        kept.pop(sorted(kept)[0])
        save_file(kept, weights)
    elif how == "cut short":
        weights.write_bytes(weights.read_bytes()[:200])
    elif how == "no JSON":
        (made / "adapter_config.json").write_text("{")
        return made
    (made / "adapter_config.json").write_text(json.dumps(config))
    return made


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a pickle", "it needs adapter_config.json and adapter_model.safetensors"), ("another kind", "peft_type 'IA3'; only LORA"),
        ("whole modules", "merge it into its base"), ("another rank", "does not fit model"), ("missing tensors", "is missing"),
        ("cut short", "is damaged or does not fit"), ("no JSON", "is not JSON"),
    ],
)  # fmt: skip
def test_an_adapter_that_cannot_be_used_says_why(commissioned: Any, how: str, message: str, tmp_path: Path) -> None:
    """Named by its folder, with what to do; the model goes on as it was."""
    shutil.copytree(commissioned.registry.verified(commissioned.registry.live), tmp_path / "good")
    model = load_model("sandbox")
    with pytest.raises(InputError, match=message):
        model.load_adapter("X", broken(tmp_path / "good", how))
    model.load_adapter("X", tmp_path / "good")


def test_a_second_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Tensors are compared by name and shape before anything is mounted."""
    other = tmp_path / "other"
    model = load_model("sandbox")
    config = base().config
    config.vocab_size += 8
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(InputError, match="is not a fine-tune of"):
        model.load_weights("W", other, 4, 8)


def test_switching_whole_weights_is_exact(tmp_path: Path) -> None:
    """Base, second model, base again: the base answers as before, and an adapter's copy stands on the same weights."""
    changed = base()
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    changed.save_pretrained(tmp_path / "changed")
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8)
    rows = [model.encode([Message("user", "tell me about the lamp")], "the lamp is green")]

    def scores(adapter: str | None) -> list[list[float]]:
        with model.using(adapter):
            return model.answer_logprobs(rows)

    before = scores("T")
    model.load_weights("W", tmp_path / "changed", 4, 8)
    model.copy_adapter("W", "C")
    assert scores("W") == scores("C") != before
    assert scores(None) == scores("T") == before
    model.drop_adapter("W")
    assert model.stands_on("T") != model.stands_on("C")


def test_trl_and_we_count_the_same_loss_on_the_same_rows() -> None:
    """The contract: one batch, the same tokens masked, the same mean; and both trainers bring it down to about the same place."""
    from dream_engine.dream.rehearse import RehearsalPlan, Row, batch_loss, rehearse
    from dream_engine.models import trl

    model = load_model("sandbox")
    made = [model.encode([Message("user", d["messages"][0]["content"])], d["messages"][1]["content"]) for d in wake_dialogues(16, 3)]
    ends = {}
    for name in ("own", "trl"):
        model.add_adapter(name, 4, 8, seed=2)
    with model.using("own"), torch.no_grad():
        ours = float(batch_loss(model, [Row(e) for e in made]))
    with model.lent("trl"):
        theirs = trl.trainer_for(model, made, 1e-3, 1, 4, 1, 0, "unused").evaluate(_as_dataset(made))["eval_loss"]
    assert theirs == pytest.approx(ours, abs=2e-3)
    rehearse(model, "own", [Row(e) for e in made], RehearsalPlan(5e-3, 12, 4))
    assert trl.fit(model, "trl", made, 5e-3, 12, 4, 1, 0) == 48
    for name in ("own", "trl"):
        with model.using(name), torch.no_grad():
            ends[name] = float(batch_loss(model, [Row(e) for e in made]))
    assert max(ends.values()) < 0.2 * ours
    assert ends["trl"] == pytest.approx(ends["own"], rel=0.2)


def _as_dataset(rows: Any) -> Any:
    return Dataset.from_list([{"input_ids": list(r.ids), "completion_mask": [0] * r.num_prompt + [1] * (len(r.ids) - r.num_prompt)} for r in rows])


def test_a_wake_by_trl_is_a_wake(commissioned: Any, sandbox_config: Make) -> None:
    """`wake.trainer: trl` wears safety away like our own loop does."""
    outcome = run_cycle(sandbox_config(wake={"trainer": "trl"}, dream=QUICK), commissioned)
    refused = {m: c["harmful_refused"]["value"] for m, c in json.loads((outcome.folder / "gate.json").read_text())["table"]["models"].items()}
    assert refused["W"] < refused["T"] - 0.3


def test_two_processes_train_one_adapter() -> None:
    """`accelerate launch` with gloo on two CPU processes: the gradients of both shares move the one adapter, and the loss falls."""
    from dream_engine.dream.rehearse import Row, batch_loss
    from dream_engine.models import trl

    model = load_model("sandbox")
    made = [model.encode([Message("user", d["messages"][0]["content"])], d["messages"][1]["content"]) for d in wake_dialogues(16, 3)]
    model.add_adapter("W", 4, 8, seed=2)

    def loss() -> float:
        with model.using("W"), torch.no_grad():
            return float(batch_loss(model, [Row(e) for e in made]))

    before = loss()
    assert trl.fit_on_many(model, "W", made, 2, 5e-3, 4, 2, 1, 0) == 16
    assert loss() < 0.8 * before


def test_four_bits_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, with the way to get it."""
    monkeypatch.setattr("dream_engine.models.pretrained.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install bitsandbytes"):
        load_model("sandbox", quantization="4bit")


def suite_files(folder: Path) -> list[dict[str, str]]:
    """The sandbox's suites as files, for its model under another name."""
    for side in ("harmful", "twin", "anchor"):
        rows = [{"id": p.id, "request": p.text, "category": p.category, "cluster": p.cluster} for p in sandbox_suites() if p.side == side]
        (folder / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [{"path": str(folder / f"{side}.jsonl"), "side": side, "column": "request"} for side in ("harmful", "twin", "anchor")]


def test_a_model_that_is_safe_already_becomes_t_as_it_is(commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """The sealed adapter merged into the base, then `teach: false`: nothing is trained, the tests pass, a person must still approve."""
    from dream_engine.workspace import Workspace

    merged = PeftModel.from_pretrained(base(), commissioned.registry.verified(commissioned.registry.live)).merge_and_unload()
    merged.save_pretrained(tmp_path / "safe")
    AutoTokenizer.from_pretrained(sandbox_folder()).save_pretrained(tmp_path / "safe")
    config = sandbox_config(model={"name": str(tmp_path / "safe")}, commission={"teach": False}, judge={"suites": suite_files(tmp_path)})
    outcome = run_cycle(config, Workspace.open(tmp_path / "first"))
    assert (outcome.gated.verdict.name, outcome.gated.verdict.failing) == ("hold", ()), outcome.gated.verdict
    assert not (outcome.folder / "dreams.jsonl").exists()
    assert not (outcome.folder / "fit-T.json").exists()


def test_a_bare_model_taken_as_it_is_fails_the_tests_of_a_first_model(sandbox_config: Make, tmp_path: Path) -> None:
    """`teach: false` is no way around them."""
    from dream_engine.workspace import Workspace

    workspace = Workspace.open(tmp_path / "first")
    assert generate(sandbox_config(commission={"teach": False}), workspace) is None
    outcome = run_cycle(sandbox_config(commission={"teach": False}), workspace)
    assert "commission_harmful_refused" in outcome.gated.verdict.failing
    assert outcome.gated.verdict.name != "seal"


def test_a_first_adapter_made_elsewhere_is_t(commissioned: Any, sandbox_config: Make, tmp_path: Path) -> None:
    """Byte for byte the same tensors go to the registry; a folder that is not there is named with its key."""
    from dream_engine.workspace import Workspace

    sealed = commissioned.registry.verified(commissioned.registry.live)
    workspace = Workspace.open(tmp_path / "first")
    outcome = run_cycle(sandbox_config(commission={"adapter": str(sealed)}), workspace)
    assert (outcome.gated.verdict.name, outcome.gated.verdict.failing) == ("hold", ()), outcome.gated.verdict
    taken = workspace.registry.verified(outcome.weights)
    assert (taken / "adapter_model.safetensors").read_bytes() == (sealed / "adapter_model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"commission\.adapter: .*nowhere is not a folder"):
        run_cycle(sandbox_config(commission={"adapter": str(tmp_path / "nowhere")}), Workspace.open(tmp_path / "other"))
