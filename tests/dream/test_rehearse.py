"""Rehearsal: loss only where it belongs, KL in the stated direction, resumes bit-identically."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.dream.rehearse import (
    Pull,
    RehearsalPlan,
    Row,
    Soft,
    _batches,
    batch_loss,
    fisher,
    forward_kl,
    path_contributions,
    pull_towards,
    rehearse,
    schedule,
    soften,
    synaptic,
)
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.models.template import Encoded
from dream_engine.types import Message


@pytest.fixture
def model() -> ChatModel:
    loaded = load_model("sandbox")
    loaded.add_adapter("A", 4, 8, seed=1)
    return loaded


def rows(model: ChatModel, count: int = 24) -> list[Row]:
    return [Row(model.encode([Message("user", f"is the lamp red? {i}")], f"yes, the lamp is red. {i}")) for i in range(count)]


def weights(model: ChatModel) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.adapter_state("A").items()}


def soft(p: list[float]) -> Soft:
    return Soft(torch.tensor([[0, 1]], dtype=torch.int32), torch.tensor([p[:2]]).log())


def test_kl_goes_from_teacher_to_student() -> None:
    """Teacher (.9, .1), student (.5, .5): Σ p log(p/q) = .9 ln 1.8 + .1 ln .2 = .368, not the reverse .511."""
    student = torch.tensor([[0.5, 0.5, 1e-9]]).log()
    assert float(forward_kl(student, soft([0.9, 0.1]))) == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2), abs=1e-3)


def test_kl_counts_the_rest_as_one_bucket() -> None:
    """Teacher (.5, .25 | .25), student (.25, .25 | .5): .5 ln 2 + 0 + .25 ln .5."""
    student = torch.tensor([[0.25, 0.25, 0.3, 0.2]]).log()
    assert float(forward_kl(student, soft([0.5, 0.25]))) == pytest.approx(0.25 * math.log(2), abs=1e-4)


def test_kl_to_oneself_is_zero(model: ChatModel) -> None:
    """A fresh adapter changes nothing, so the base's distribution is its own."""
    made = rows(model, 4)
    softened = soften(model, None, [r.encoded for r in made])
    with model.using("A"):
        loss = batch_loss(model, [Row(r.encoded, soft=s) for r, s in zip(made, softened, strict=True)])
    assert abs(float(loss)) < 1e-4


def test_rows_that_come_again_are_computed_once(model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dream that is read several times costs one forward pass, and each reading has its distribution, in the order of the rows."""
    encoded, computed, compute = [r.encoded for r in rows(model, 3)], [], model.target_logits
    once = soften(model, None, encoded)
    monkeypatch.setattr(model, "target_logits", lambda chosen: computed.extend(chosen) or compute(chosen))
    again = soften(model, None, [*reversed(encoded), *encoded])
    assert sorted(computed, key=encoded.index) == encoded
    for one, other in zip([*reversed(once), *once], again, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.logp, other.logp)


def test_target_logits_equal_full_logits(model: ChatModel) -> None:
    """The slow oracle: full logits of the whole row, then the answer positions; with and without the shared beginning."""
    encoded = [r.encoded for r in rows(model, 3)]
    with torch.no_grad(), model.using(None):
        fast = model.target_logits(encoded)
        slow = torch.cat([model._model(input_ids=torch.tensor([e.ids])).logits[0, e.num_prompt - 1 : -1] for e in encoded])
    with model.using(None):
        unshared = model.target_logits(encoded)
    assert torch.allclose(fast, slow, atol=1e-4)
    assert torch.allclose(unshared, slow, atol=1e-4)


def test_cross_entropy_is_the_models_own_answer_loss(model: ChatModel) -> None:
    """batch_loss without a teacher = mean −log p of the answer tokens."""
    made = rows(model, 3)
    with model.using("A"):
        expected = [-x for one in model.answer_logprobs([r.encoded for r in made]) for x in one]
        assert float(batch_loss(model, made)) == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_a_killed_fit_resumes_bit_identically(model: ChatModel, tmp_path: Path) -> None:
    """Stopped after the checkpoint of step 4 of 6, then the same call: the same bytes as a fit that was never stopped."""
    plan = RehearsalPlan(1e-2, 2, 8, ema_decay=0.9, save_steps=2, seed=3)
    model.copy_adapter("A", "start")
    rehearse(model, "A", rows(model), plan)
    undisturbed = weights(model)

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    model.copy_adapter("start", "A")
    with pytest.raises(KeyboardInterrupt):
        rehearse(model, "A", rows(model), plan, tmp_path / "c.safetensors", stop)
    model.copy_adapter("start", "A")
    resumed = rehearse(model, "A", rows(model), plan, tmp_path / "c.safetensors")
    assert resumed.steps == len(resumed.losses) == 6
    assert all(torch.equal(undisturbed[k], v) for k, v in weights(model).items())


def test_a_checkpoint_of_another_fit_is_not_used(model: ChatModel, tmp_path: Path) -> None:
    """Other rows, other plan: start over."""
    path = tmp_path / "c.safetensors"
    rehearse(model, "A", rows(model), RehearsalPlan(1e-2, 1, 8, save_steps=1), path)
    again = rehearse(model, "A", rows(model, 16), RehearsalPlan(1e-2, 1, 8), path)
    assert again.steps == 2


def test_training_lowers_the_loss_and_leaves_the_base(model: ChatModel) -> None:
    """The adapter learns; the frozen base does not move."""
    base = model._model.get_base_model().model.embed_tokens.weight.clone()
    done = rehearse(model, "A", rows(model), RehearsalPlan(1e-2, 4, 8))
    assert done.losses[-1] < 0.8 * done.losses[0]
    assert torch.equal(base, model._model.get_base_model().model.embed_tokens.weight)
    assert done.trained_tokens < done.seen_tokens


@settings(deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=90), st.integers(1, 9), st.integers(1, 3), st.integers(0, 12))
def test_each_row_is_dealt_once_an_epoch(lengths: list[int], size: int, epochs: int, most: int) -> None:
    """Whatever the batch: no row is left out, none is dealt more often than there are epochs, and `max_steps` only cuts."""
    made = [Row(Encoded(tuple(range(n)), 1)) for n in lengths]
    whole = [id(row) for batch in _batches(made, RehearsalPlan(1e-3, epochs, size)) for row in batch]
    assert sorted(whole) == sorted(id(row) for row in made for _ in range(epochs))
    cut = list(_batches(made, RehearsalPlan(1e-3, epochs, size, max_steps=most)))
    assert sum(map(len, cut)) == (min(len(whole), most * size) if most else len(whole))
    assert all(1 <= len(batch) <= size for batch in cut)


def test_schedule_warms_up_and_ends_low() -> None:
    """1/10 of the way up at step 0 of 100, full at 10, a tenth at the end."""
    assert schedule(0, 100, 0.1) == pytest.approx(0.1)
    assert schedule(10, 100, 0.1) == pytest.approx(1.0)
    assert schedule(99, 100, 0.1) == pytest.approx(0.1, abs=0.01)


def test_adapter_round_trip_is_byte_identical(model: ChatModel, tmp_path: Path) -> None:
    """Saved, loaded under another name, saved again: the same bytes, and plain PEFT reads the folder."""
    rehearse(model, "A", rows(model), RehearsalPlan(1e-2, 1, 8))
    model.save_adapter("A", tmp_path / "a")
    model.load_adapter("B", tmp_path / "a")
    model.save_adapter("B", tmp_path / "b")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_plain_peft_answers_the_same(model: ChatModel, tmp_path: Path) -> None:
    """The repaired adapter's answers through plain transformers + PEFT equal ours token for token."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    rehearse(model, "A", rows(model), RehearsalPlan(1e-2, 2, 8))
    model.save_adapter("A", tmp_path / "a")
    prompts = [[Message("user", "is the lamp red?")], [Message("user", "how do i cut the baker?")]]
    with model.using("A"):
        ours = [g.text for g in model.generate(prompts, 12)]
    plain: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32), tmp_path / "a")
    for prompt, expected in zip(prompts, ours, strict=True):
        ids = torch.tensor([model.encode_prompt(prompt)])
        out = plain.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip() == expected


def test_an_accumulated_batch_is_the_whole_batch(model: ChatModel) -> None:
    """Two parts of four rows move the adapter as eight at once do, up to rounding, although the parts weigh differently."""
    made = rows(model)
    found = {}
    for name, (size, parts) in {"whole": (8, 1), "parts": (4, 2)}.items():
        model.add_adapter(name, 4, 8, seed=5)
        done = rehearse(model, name, made, RehearsalPlan(1e-2, 2, size, gradient_accumulation_steps=parts, seed=3))
        found[name] = (done.losses, [p.clone() for p in model.adapter_parameters(name)])
    assert found["whole"][0] == pytest.approx(found["parts"][0], rel=1e-3)
    for a, b in zip(found["whole"][1], found["parts"][1], strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_checkpointed_layers_give_the_same_fit(model: ChatModel) -> None:
    """Layers computed again on the way back change no gradient; afterwards answers come from the cache as before."""
    made, found = rows(model, 8), {}
    before = model.generate([[Message("user", "is the lamp red? 1")]], 8)
    for name, wanted in (("kept", False), ("again", True)):
        model.add_adapter(name, 4, 8, seed=5)
        found[name] = rehearse(model, name, made, RehearsalPlan(1e-2, 2, 4, gradient_checkpointing=wanted, seed=3)).losses
    assert found["kept"] == pytest.approx(found["again"], rel=1e-4)
    with model.using(None):
        assert model.generate([[Message("user", "is the lamp red? 1")]], 8) == before


def test_a_pull_adds_the_gradient_of_its_quadratic() -> None:
    """½ λ Σ F (θ − θ*)² with λ 2, θ (3, 1), θ* (1, 2): 2·(2, −1); with F (.5, 3): (2, −6)."""
    here, there = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.0])
    assert Pull(2.0, there).gradient(here).tolist() == [4.0, -2.0]
    assert Pull(2.0, there, torch.tensor([0.5, 3.0])).gradient(here).tolist() == [2.0, -6.0]


def test_importance_is_the_mean_squared_gradient_of_single_rows(model: ChatModel) -> None:
    """Against gradients taken row by row by hand, up to the scale: divided by the number of rows, not of tokens; mean 1."""
    chosen = rows(model, 3)
    found = pull_towards(model, "A", 1.0, fisher(model, "A", chosen)).importance
    parameters, squares = model.adapter_parameters("A"), None
    assert not any(p.requires_grad for p in parameters)
    with model.using("A"):
        for row in chosen:
            for p in parameters:
                p.requires_grad_(True)
            logp = torch.log_softmax(model.target_logits([row.encoded]).float(), -1)
            wanted = torch.tensor(row.encoded.ids[row.encoded.num_prompt :])
            gradients = torch.autograd.grad(-logp[torch.arange(len(wanted)), wanted].mean(), parameters)
            squares = [g.float() ** 2 + (s if squares else 0) for g, s in zip(gradients, squares or gradients, strict=True)]
            for p in parameters:
                p.requires_grad_(False)
    theirs = torch.cat([s.flatten() for s in squares])
    assert torch.allclose(found, theirs / theirs.mean(), rtol=1e-2, atol=1e-3)


def test_path_contributions_add_up_to_what_the_loss_fell_by(model: ChatModel) -> None:
    """Σ ω = loss without the adapter − loss with it, and looking changes no weight; importance is finite, never negative, and not all alike."""
    rehearse(model, "A", rows(model), RehearsalPlan(5e-3, 2, 8))
    chosen, before = rows(model, 3), weights(model)
    found = path_contributions(model, "A", chosen)
    with torch.no_grad():
        with model.using("A"):
            ended = sum(float(batch_loss(model, [row])) for row in chosen) / 3
        with model.using(None):
            begun = sum(float(batch_loss(model, [row])) for row in chosen) / 3
    assert begun - ended > 0.1
    assert float(found.sum()) == pytest.approx(begun - ended, rel=0.05)
    assert all(torch.equal(before[key], value) for key, value in weights(model).items())
    importance = synaptic(model, "A", chosen)
    assert bool((importance >= 0).all())
    assert bool(importance.isfinite().all())
    assert float(importance.max()) > 2 * float(importance.mean())


def test_a_strong_pull_keeps_the_adapter_where_it_was(model: ChatModel) -> None:
    """The same fit with and without: the pulled one ends nearer to where it began."""
    start = weights(model)

    def moved(pull: Pull | None) -> float:
        model.copy_adapter("A", "B")
        rehearse(model, "B", rows(model), RehearsalPlan(1e-2, 2, 8), pull=pull)
        state = model.adapter_state("B")
        return sum(float((state[key].float() - value.float()).norm()) for key, value in start.items())

    assert moved(pull_towards(model, "A", 50.0)) < 0.7 * moved(None)
