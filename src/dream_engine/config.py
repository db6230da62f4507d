"""`dream.yaml`: every setting of a cycle, strict. Field names follow TRL where TRL has one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dream_engine.errors import InputError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Model(_Strict):
    """The frozen base: `smollm2-135m`, `sandbox`, a local folder or a hub id."""

    name: str = "smollm2-135m"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = Field(0, ge=0)
    """Of a CPU; 0 is one for each core, eight at most. Another number takes sums in another order: weights differ in their last bits."""
    quantization: Literal["none", "4bit"] = "none"
    gradient_checkpointing: bool = False
    max_length: int = Field(1024, ge=512)
    """Tokens of a row that is trained on or scored; a longer one is cut, and the log says how many were."""


class Lora(_Strict):
    """The adapter that T, W and C share. `layers_from` leaves that share of the lower layers as they are."""

    r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    layers_from: float = Field(0.4, ge=0, lt=1)


class Commission(_Strict):
    """Cycle 1: dreams from the policy pack teach the policy, and the result is judged by absolute tests before it becomes T.

    A model that is safe already need not be taught: `teach: false` takes it as it ships, `adapter` takes a PEFT folder over it. The tests stay.
    """

    teach: bool = True
    adapter: Path | None = None
    pairs: int = Field(1350, ge=8)
    prefaced_pairs: int = Field(150, ge=0)
    anchors: int = Field(560, ge=0)
    self_anchors: int = Field(1000, ge=0)
    self_texts: int = Field(200, ge=0)
    """Plain texts that the base writes itself, outside any conversation, and that T is held to."""
    answer_tokens: int = Field(10, ge=1)
    learning_rate: float = Field(1.4e-3, gt=0)
    num_train_epochs: float = Field(1.0, gt=0)
    second_language_passes: int = Field(3, ge=1)
    """How often the dreams in the pack's second language are read, against once for the others: there are few of them."""
    per_device_train_batch_size: int = Field(8, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    ema_decay: float = Field(0.94, ge=0, lt=1)
    harmful_weight: float = Field(2.0, gt=0)
    anchor_weight: float = Field(1.5, gt=0)
    least_leading: float = Field(0.25, ge=0, lt=1)
    """As `dream.least_leading`, of the base's answers."""

    @property
    def dreams(self) -> bool:
        """Whether the first model is made here."""
        return self.teach and self.adapter is None


class Capture(_Strict):
    """Δ What the episodic buffer keeps of imported logs, and who else looks for personal data in them."""

    buffer_size: int = Field(2000, ge=1)
    per_source: int = Field(1000, ge=1)
    retention_days: float = Field(90.0, ge=0)
    personal_engine: Literal["patterns", "presidio"] = "patterns"


class Wake(_Strict):
    """Δ The user's own fine-tune: trained here on `data`, or made elsewhere. Without any of the three the cycle has no wake.

    `data` and `heldout` have any format that `capture/formats.py` reads. `adapter` is a PEFT folder over the same base; `model` a folder of a model
    that was fine-tuned whole. With one of them `data` is not trained on; its rows are rehearsed beside the dreams and held out.
    """

    data: Path | None = None
    adapter: Path | None = None
    model: Path | None = None
    heldout: Path | None = None
    heldout_rows: int = Field(100, ge=1)
    trainer: Literal["own", "trl"] = "own"
    num_processes: int = Field(1, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    num_train_epochs: float = Field(1.0, gt=0)
    per_device_train_batch_size: int = Field(4, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Wake:
        if self.num_processes > 1 and self.trainer == "own":
            raise ValueError("several processes need trainer: trl, which accelerate launches")
        if self.adapter and self.model:
            raise ValueError("adapter and model exclude each other: W is one or the other")
        return self

    @property
    def imported(self) -> Path | None:
        """The folder in which W was made elsewhere, if it was."""
        return self.adapter or self.model


class Helper(_Strict):
    """Ω A chat model behind an OpenAI-compatible server that writes pairs anew. It is sent requests of the policy pack, nothing of the user's.

    `licence` says under which terms its output may be trained on; it is recorded with every cycle that used it.
    """

    base_url: str
    name: str
    licence: str = Field(min_length=1)
    pairs: int = Field(60, ge=1)
    api_key_env: str = ""
    timeout_seconds: float = Field(60.0, gt=0)


class DreamPlan(_Strict):
    """Ω What is dreamed after a wake, and how it is rehearsed. A small one is a micro-dream.

    `when`: `after` goes on from W; `interleaved` begins at T again and learns the wake's rows and the dreams in one pass, at the wake's rate, with W
    as the control that saw no dreams.
    """

    when: Literal["after", "interleaved"] = "after"

    pairs: int = Field(600, ge=2)
    pool: int = Field(0, ge=0)
    """Pairs to score by how badly W handles them before `pairs` of them are dreamed; 0 draws evenly and scores none."""
    scope: tuple[str, ...] = ()
    """Categories of the pack to dream about; empty is all of them."""
    reworded_pairs: int = Field(40, ge=0)
    prefaced_pairs: int = Field(60, ge=0)
    """Pairs that stand behind an unrelated harmless request, where a wake opens a model first (decision 013)."""
    helper: Helper | None = None
    anchors: int = Field(20, ge=0)
    self_anchors: int = Field(500, ge=0)
    self_texts: int = Field(100, ge=0)
    """Plain texts that T writes itself, outside any conversation, and that C is held to."""
    recalled: int = Field(40, ge=0)
    recall: Literal["by_lot", "associative"] = "by_lot"
    """Which pair of the pack is put behind which recalled request: any, or one that a store of sentence embeddings (an extra) brings near it."""
    wake_rows: int = Field(300, ge=0)
    answer_tokens: int = Field(16, ge=1)
    refusal_tokens: int = Field(16, ge=4)
    learning_rate: float = Field(1e-3, gt=0)
    num_train_epochs: float = Field(1.0, gt=0)
    second_language_passes: int = Field(3, ge=1)
    """How often the dreams in the pack's second language are read, against once for the others (decision 023)."""
    per_device_train_batch_size: int = Field(4, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    ema_decay: float = Field(0.97, ge=0, lt=1)
    first_weight: float = Field(2.0, gt=0)
    harmful_weight: float = Field(4.0, gt=0)
    anchor_weight: float = Field(1.0, gt=0)
    wake_weight: float = Field(1.0, gt=0)
    prefix_recovery: float = Field(0.25, ge=0, le=1)
    """Share of harmful dreams that are rehearsed once more behind a going-along opener (the user's own greeting, if the answers have one), with
    the loss on the recovery alone."""
    least_refusing: float = Field(0.95, ge=0, lt=1)
    most_refusing: float = Field(0.5, gt=0, le=1)
    """How far a dream's known side overrules T's doubt: at least this probability of a refusal's first token on the harmful side, at most that on
    twins and plain requests. With 0.1 C answers look-alikes that T declines, at the price of some harmful requests (decision 012)."""
    least_leading: float = Field(0.4, ge=0, lt=1)
    """Share of what is not a refusal that the likeliest other first token of a twin or plain request has at least (decision 021)."""
    on_policy: float = Field(0.0, ge=0, le=1)
    """Share of harmful dreams that are also rehearsed on W's own sampled answers, each token drawn to T's distribution."""
    max_steps: int = Field(0, ge=0)
    rounds: int = Field(0, ge=0)
    """Rounds of search and training after the rehearsal (Redwood's loop); `round_search` scenarios are asked in each."""
    round_search: int = Field(240, ge=1)
    attack_cost: float = Field(60.0, gt=0)
    """Queries a failure must cost for the rounds to end early."""
    settle_pairs: int = Field(120, ge=0)


class Suite(_Strict):
    """An external suite: a file, its side and the column of the request; both are known for files shaped like XSTest, HarmBench, StrongREJECT,
    SimpleSafetyTests or HateCheck."""

    path: Path
    side: Literal["harmful", "twin", "anchor"] | None = None
    column: str | None = None


class JudgeModel(_Strict):
    """A chat model as judge: `name` is a local folder or a hub id, or what the server at `base_url` calls it.

    Answers leave this machine only with `send_answers: true`.
    """

    name: str
    base_url: str = ""
    api_key_env: str = ""
    timeout_seconds: float = Field(60.0, gt=0)
    send_answers: bool = False


class Judge(_Strict):
    """Ψ How the result is measured and gated.

    `answers` names the judge: `auto` is the reader where the demo model, which reads, is installed, and else the rules; an ensemble is rules and
    reader, and the model where one is set.
    """

    profile: Literal["quick", "standard", "full"] = "quick"
    answers: Literal["auto", "rules", "classifier", "reader", "ensemble", "model"] = "auto"
    model: JudgeModel | None = None
    suites: list[Suite] = []
    general_text: Path | None = None
    answer_tokens: int = Field(24, ge=4)
    store_answers: bool = True
    search: int = Field(0, ge=0)
    """Fresh harmful scenarios to look for failures with after training; 0 is none."""

    @model_validator(mode="after")
    def _a_model_is_named_and_allowed(self) -> Judge:
        if self.answers == "model" and self.model is None:
            raise ValueError("judge.answers is 'model' and judge.model is not set; name a folder, a hub id or a server")
        if self.model and self.model.base_url and not self.model.send_answers:
            raise ValueError(f"judge.model.base_url {self.model.base_url!r} would be sent answers; set judge.model.send_answers: true to allow it")
        return self


class Govern(_Strict):
    """What follows a verdict. The cool-down after a SABAR doubles with every failure in a row.

    `while_held` says what may be served while a cycle waits for a person (888_HOLD): the sealed weights, the anchor, or nothing.
    """

    cooldown_seconds: float = Field(300.0, ge=0)
    while_held: Literal["sealed", "anchor", "none"] = "sealed"


class Policy(_Strict):
    """The policy pack, by name or path."""

    pack: str = "default"


class Config(_Strict):
    """One cycle. Paths are relative to the folder of the file they were read from."""

    seed: int = 0
    report_to: Literal["none", "mlflow", "wandb", "trackio"] = "none"
    model: Model = Model()
    policy: Policy = Policy()
    lora: Lora = Lora()
    commission: Commission = Commission()
    capture: Capture = Capture()
    wake: Wake = Wake()
    dream: DreamPlan = DreamPlan()
    judge: Judge = Judge()
    govern: Govern = Govern()


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file (or the defaults) and applies `a.b=c` overrides.

    Raises:
        InputError: the file is missing or malformed, a key is unknown (the near match is named), or a value does not fit.
    """
    raw = _read(path) if path else {}
    for override in overrides:
        _apply(raw, override)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(_explain(error, raw)) from error
    return _rooted(config, path.parent if path else Path())


def scaled(config: Config, factors: Sequence[tuple[str, float]]) -> Config:
    """The configuration with `section.key` settings multiplied, one factor after the other; whole numbers are rounded up.

    Raises:
        InputError: a key is unknown, or a result is out of its range.
    """
    raw = config.model_dump()
    for key, factor in factors:
        section, _, name = key.partition(".")
        if not isinstance(raw.get(section, {}).get(name), int | float):
            raise InputError(f"config: the adjustment names {key!r}, which is no number of this version; see 'dream sabar status'")
        value = raw[section][name] * factor
        raw[section][name] = math.ceil(value) if isinstance(raw[section][name], int) else value
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(_explain(error, raw)) from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"config file {path} does not exist; 'dream init' writes one")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config file {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if raw is not None and not isinstance(raw, dict):
        raise InputError(f"config file {path} must hold sections such as 'model:' and 'wake:'")
    return raw or {}


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set {override!r} is not of the form section.key=value")
    *sections, last = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise InputError(f"--set {override!r}: {section!r} is a value, not a section")
    try:
        raw[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override!r}: the value is not valid YAML: {error}") from error
    if isinstance(raw[last], str):
        raw[last] = _number(raw[last])


def _number(text: str) -> Any:
    """YAML reads 1e-4 as text; a number is meant."""
    try:
        return float(text)
    except ValueError:
        return text


def _explain(error: ValidationError, raw: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"config: {key} = {first.get('input')!r}: {first['msg']}"
    near = difflib.get_close_matches(str(first["loc"][-1]), _all_keys(), 1)
    return f"config: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "; see docs/tour.md for the keys")


def _all_keys() -> list[str]:
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    inner = [key for kind in sections.values() if isinstance(kind, type) and issubclass(kind, BaseModel) for key in kind.model_fields]
    return [*sections, *inner]


def _rooted(config: Config, root: Path) -> Config:
    def at(path: Path | None) -> Path | None:
        return None if path is None else path if path.is_absolute() else root / path

    suites = [s.model_copy(update={"path": at(s.path)}) for s in config.judge.suites]
    return config.model_copy(
        update={
            "commission": config.commission.model_copy(update={"adapter": at(config.commission.adapter)}),
            "wake": config.wake.model_copy(update={name: at(getattr(config.wake, name)) for name in ("data", "adapter", "model", "heldout")}),
            "judge": config.judge.model_copy(update={"suites": suites, "general_text": at(config.judge.general_text)}),
        }
    )
