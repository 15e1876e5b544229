"""Configs of maintenance jobs, see `engine.jobs.handlers.maintenance`.

Imports no torch.
"""

from typing import Literal

from pydantic import Field

from engine.config.model_availability import model_state, needed_sources
from engine.config.presets import load_model_preset
from engine.errors import ConfigError
from engine.hub.permission import is_forbidden
from engine.jobs.spec import JobSpec
from rewards.errors import RewardError
from rewards.models import FrozenModel
from rewards.weights.catalog import find_weights

Question = Literal["devices", "attention", "convolutions"]
MODEL = "model"  # the kind of a download
QUESTIONS: tuple[Question, ...] = ("devices", "attention", "convolutions")


class SamplesConfig(FrozenModel):
    """A "samples" job: make a run's samples with its current weights."""

    run: str


class WeightsConfig(FrozenModel):
    """A "weights" job: download one network of the rewards, by its key in `rewards.weights.catalog`."""

    key: str


class ModelConfig(FrozenModel):
    """A "model" job: download a model, or resume its download, by the key of its preset.

    An access token is never part of it: the worker uses that of the hub's client (HF_TOKEN, or its stored one).
    """

    key: str


class InspectConfig(FrozenModel):
    """An "inspect" job: the devices and features that PyTorch finds on this machine."""

    questions: tuple[Question, ...] = Field(QUESTIONS, min_length=1)


def samples_job(run: str) -> JobSpec:
    return JobSpec(kind="samples", config=SamplesConfig(run=run).model_dump(mode="json"))


def weights_job(key: str) -> JobSpec:
    return JobSpec(kind="weights", config=WeightsConfig(key=key).model_dump(mode="json"))


def model_job(key: str) -> JobSpec:
    return JobSpec(kind=MODEL, config=ModelConfig(key=key).model_dump(mode="json"))


def inspect_job(*questions: Question) -> JobSpec:
    """Return the job for the given questions, or for all without arguments."""
    return JobSpec(kind="inspect", config=InspectConfig(questions=questions or QUESTIONS).model_dump(mode="json"))


def check_model(config: ModelConfig) -> None:
    """Raise ConfigError for an unknown model, one in a local folder, or where downloads are forbidden."""
    preset = load_model_preset(config.key)
    state = model_state(preset)
    if state.status == "incompatible":
        raise ConfigError(state.reason)
    if is_forbidden() and state.status != "installed":
        raise ConfigError(state.reason)
    local = [one.source for one in needed_sources(preset) if one.on_hub is None and not one.is_installed]
    if local:
        raise ConfigError(f"'{local[0]}' is a path, not a hub id: put the weights there, or correct the preset.")


def check_weights(config: WeightsConfig) -> None:
    """Raise ConfigError for unknown weights, or those that cannot be downloaded."""
    try:
        source = find_weights(config.key).source
    except RewardError as error:
        raise ConfigError(str(error)) from error
    if not source.downloadable:
        raise ConfigError(f"The weights '{config.key}' cannot be downloaded: {source.description}.")
