"""Where a cycle's numbers go besides the ledger: MLflow, Weights & Biases or Trackio, each in its offline mode. Numbers and digests only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dream_engine.errors import InputError
from dream_engine.results import leaves

PROJECT = "dream-engine"
Sink = Callable[[str, Mapping[str, float], Mapping[str, str], Path], None]


def send(name: str, run: str, result: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> None:
    """Sends one finished cycle to the sink called `name`; `none` does nothing. Files of the sink lie in `folder`.

    Raises:
        InputError: the sink's package is not installed.
    """
    if name == "none":
        return
    settings = {key: str(value) for key, value in leaves(config)} | {"verdict": str(result["verdict"]), "weights": str(result["weights"])}
    try:
        SINKS[name](run, numbers(result), settings, folder)
    except ImportError as error:
        raise InputError(f"report_to: {name} is not installed; run: pip install 'dream-engine[{name}]' (the cycle itself is done)") from error


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Every measured value of a cycle as `C.harmful_refused`, `W_C.signed_entropy_drop`, `stability_ratio`; what was not measured is absent."""
    table = result["table"]
    columns = {**table["models"], **{pair.replace("→", "_"): rows for pair, rows in table["changes"].items()}}
    found = {f"{name}.{key}": one["value"] for name, rows in columns.items() for key, one in rows.items()}
    found |= {"gain_lost": table["gain_lost"]["value"], "stability_ratio": result["stability_ratio"]}
    return {key: float(value) for key, value in found.items() if value is not None}


def _mlflow(run: str, values: Mapping[str, float], settings: Mapping[str, str], folder: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').absolute()}")
    mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=run):
        mlflow.log_params(dict(settings))
        mlflow.log_metrics(dict(values))


def _wandb(run: str, values: Mapping[str, float], settings: Mapping[str, str], folder: Path) -> None:
    import wandb

    with wandb.init(project=PROJECT, name=run, config=dict(settings), dir=str(folder), mode="offline") as opened:
        opened.log(dict(values))


def _trackio(run: str, values: Mapping[str, float], settings: Mapping[str, str], folder: Path) -> None:
    import os

    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    import trackio

    trackio.init(project=PROJECT, name=run, config=dict(settings))
    trackio.log(dict(values))
    trackio.finish()


SINKS: Mapping[str, Sink] = {"mlflow": _mlflow, "wandb": _wandb, "trackio": _trackio}
