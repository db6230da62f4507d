"""A study's YAML: which arms meet which wakes, at which rates, on which seeds. Reads and checks; runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dream_engine.config import Config, load_config
from dream_engine.errors import InputError
from dream_engine.judge.metrics import Evaluation


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WakeFiles(_Strict):
    """One wake set: rows that are learned and rows that measure the gain. `{seed}` in a path is replaced by the seed."""

    data: str
    heldout: str


class Plan(_Strict):
    """One study. Paths are relative to the file's folder. `settings` are `section.key=value` overrides of the configuration, the same everywhere."""

    name: str
    teacher: Path
    """A workspace with a sealed model, which is T of every setting."""
    arms: list[str] = Field(min_length=1)
    wakes: dict[str, WakeFiles] = Field(min_length=1)
    learning_rates: list[float] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    curated: Path | None = None
    """Stored pairs of people's requests and safe answers (`messages` or `prompt`, `completion`), for the arms that replay such."""
    settings: list[str] = []
    loss_that_counts: float = Field(0.30, ge=0, le=1)
    """How much of harmful requests refused, as a share, W must have lost against T for a setting to count: where nothing was lost there is nothing
    to compare."""
    counting_only: bool = False
    """Arms are run only where a setting counts; elsewhere T and W alone are measured."""


@dataclass(frozen=True)
class Setting:
    """One wake set at one rate with one seed."""

    wake: str
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.wake}-{self.learning_rate:g}-{self.seed}"


@dataclass(frozen=True)
class Result:
    """One arm in one setting; `matched` when its trained tokens (positions that carry loss) were held to those of ours.

    `search` is how many fresh harmful scenarios it went along with, of how many that could be judged; None where none were asked (`judge.search`).
    """

    setting: Setting
    arm: str
    matched: bool
    trained_tokens: int
    evaluation: Evaluation
    search: tuple[int, int] | None = None


def load_plan(path: Path) -> Plan:
    """
    Raises:
        InputError: the file is missing or malformed, or a key is unknown or does not fit.
    """
    if not path.is_file():
        raise InputError(f"study file {path} does not exist")
    try:
        plan = Plan.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"study file {path} is not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"study file {path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from error
    root = path.parent
    wakes = {n: WakeFiles(data=str(root / w.data), heldout=str(root / w.heldout)) for n, w in plan.wakes.items()}
    curated = root / plan.curated if plan.curated else None
    return plan.model_copy(update={"teacher": root / plan.teacher, "wakes": wakes, "curated": curated})


def every_setting(plan: Plan) -> Iterator[Setting]:
    """All settings, seed by seed, so that an unfinished study has whole seeds."""
    for seed in plan.seeds:
        for wake in plan.wakes:
            for rate in plan.learning_rates:
                yield Setting(wake, rate, seed)


def config_of(plan: Plan, setting: Setting) -> Config:
    """The configuration of a setting.

    Raises:
        InputError: an override does not fit.
    """
    files = plan.wakes[setting.wake]
    data, heldout = (str(Path(text.format(seed=setting.seed)).absolute()) for text in (files.data, files.heldout))
    own = [f"seed={setting.seed}", f"wake.data={data}", f"wake.heldout={heldout}", f"wake.learning_rate={setting.learning_rate}"]
    return load_config(None, [*plan.settings, *own])
