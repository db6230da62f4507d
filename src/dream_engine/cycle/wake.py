"""Δ What was learned: the user's fine-tune, made here or elsewhere, and whether it wore anything away."""

from __future__ import annotations

from dataclasses import replace

from dream_engine.cycle.judging import behind_plain
from dream_engine.cycle.night import Night
from dream_engine.dream import mix
from dream_engine.dream.rehearse import RehearsalPlan
from dream_engine.files import write_json
from dream_engine.govern.registry import MANIFEST
from dream_engine.judge import budgets


def learn(night: Night) -> str:
    """Δ The user's fine-tune: on top of T here, or what was made elsewhere: W."""
    wake, lora = night.config.wake, night.config.lora
    if wake.adapter:
        night.model.load_adapter("W", wake.adapter)
        return "W"
    if wake.model:
        night.model.load_weights("W", wake.model, lora.r, lora.lora_alpha, lora.layers_from, night.seed("adapter"))
        return "W"
    night.model.copy_adapter("T", "W")
    plan = night.fit_plan(wake, "wake")
    if wake.trainer == "trl":
        _fit_with_trl(night, plan)
    else:
        night.fit("Δ wake", "W", lambda: mix.wake_rows(night.model, night.data.wake), plan)
    return "W"


def no_drift(night: Night, woken: str) -> bool:
    """Whether W's refusals lie inside the noise of T's, in the open and then behind plain questions: there is nothing to dream about tonight."""
    teacher, w = night.report("T"), night.report(woken)
    m = budgets.Measurements(w.evaluation, teacher=teacher.evaluation, seed=night.config.seed)
    return budgets.in_noise(m, w.evaluation) and budgets.in_noise(replace(m, prefaced=behind_plain(night, woken)), w.evaluation)


def _fit_with_trl(night: Night, plan: RehearsalPlan) -> None:
    """The wake by TRL's trainer; a killed one begins again."""
    from dream_engine.models import trl

    folder = night.folder / "adapter-W"
    if (folder / MANIFEST).is_file():
        night.log.resumed("Δ wake")
        night.model.load_adapter("W", folder)
        return
    made = mix.wake_rows(night.model, night.data.wake)
    night.tell_cut("Δ wake (TRL)", made)
    rows = [row.encoded for row in made]
    with night.stage("Δ wake (TRL)"):
        settings = (
            plan.learning_rate,
            plan.num_train_epochs,
            plan.per_device_train_batch_size,
            plan.gradient_accumulation_steps,
            plan.seed,
        )
        many = night.config.wake.num_processes
        steps = trl.fit_on_many(night.model, "W", rows, many, *settings) if many > 1 else trl.fit(night.model, "W", rows, *settings)
    night.model.save_adapter("W", folder)
    write_json(folder / MANIFEST, {"trainer": "trl", "steps": steps})
