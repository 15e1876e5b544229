"""Metrics for other tools, such as TensorBoard, Weights & Biases and MLflow: the setting `report_to`.

The callbacks are those of transformers. Trackio's is not offered: it publishes to the hub. Each run is copied to the
workspace's Trackio store without it, see `engine.training.trackio_mirror`.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.integrations import get_available_reporting_integrations, get_reporting_integration_callbacks
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, TensorBoardCallback

from engine.errors import SettingsError
from engine.runs.run import Run
from rewards.errors import did_you_mean

PROJECT = "dailies"
PROJECT_VARIABLES = (
    "WANDB_PROJECT",
    "MLFLOW_EXPERIMENT_NAME",
    "COMET_PROJECT_NAME",
    "CLEARML_PROJECT",
    "SWANLAB_PROJECT",
)
TOOLS = tuple(sorted(INTEGRATION_TO_CALLBACK.keys() - {"trackio"}))


def reporting_tools(report_to: str | Sequence[str] | None) -> list[str]:
    """Return the tools of a value of `report_to`, none for "none".

    Raises SettingsError for an unknown tool, and for one that is not installed.
    """
    names = [report_to] if isinstance(report_to, str) else list(report_to or ())
    if names == ["none"]:
        return []
    installed = get_available_reporting_integrations()
    for name in names:
        if name == "trackio":
            raise SettingsError("report_to = 'trackio' is not needed: each run is in the workspace's Trackio store.")
        if name not in TOOLS:
            raise SettingsError(f"report_to names the unknown tool {name!r}. {did_you_mean(name, TOOLS)}")
        if name not in installed:
            package = "tensorboardX" if name == "tensorboard" else name
            raise SettingsError(f"report_to names '{name}', which is not installed: `pip install {package}`.")
    return names


def name_run(trainer: Trainer, run: Run) -> None:
    """Set the project and the folders of a run for the trainer's tools.

    Environment variables that the user has set are kept. TensorBoard's folder is set at its callback, because a process
    may build the trainers of several runs.
    """
    for variable in PROJECT_VARIABLES:
        os.environ.setdefault(variable, PROJECT)
    os.environ.setdefault("WANDB_DIR", str(run.workspace.root))
    for callback in trainer.callback_handler.callbacks:
        wrapped = callback.callback if isinstance(callback, WithoutModel) else None
        if isinstance(wrapped, TensorBoardCallback) and wrapped.logging_dir is None:
            wrapped.logging_dir = str(run.workspace.tensorboard / run.id)


def add_reports(trainer: Trainer, tools: Sequence[str]) -> None:
    """Add the callbacks of the tools to a trainer that has none."""
    for callback in get_reporting_integration_callbacks(list(tools)):
        trainer.add_callback(WithoutModel(callback()))


class WithoutModel(TrainerCallback):
    """Passes each event to a callback without the model, whose configuration is not a transformers one."""

    def __init__(self, callback: TrainerCallback) -> None:
        self.callback = callback


def _event(name: str) -> Callable[..., Any]:
    def pass_on(self: WithoutModel, *args: Any, **named: Any) -> Any:
        return getattr(self.callback, name)(*args, **{**named, "model": None})

    return pass_on


for _name in (name for name in dir(TrainerCallback) if name.startswith("on_")):
    setattr(WithoutModel, _name, _event(_name))
