"""Where a job's processes run, and what they are to be given there."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import ConfigError
from engine.suggestions import validation_message

RunnerKey = Literal["local", "ray", "slurm"]
RUNNERS: Mapping[RunnerKey, str] = {
    "local": "engine.execution.local:LocalRunner",
    "ray": "engine.execution.ray_jobs:RayRunner",
    "slurm": "engine.execution.slurm:SlurmRunner",
}
LOCAL: RunnerKey = "local"


class Resources(BaseModel):
    """What a job needs of a machine, and whose. `processes` are the ranks of a training, which run on one machine, or
    the actors that share the scoring of many clips; a cluster sets `gpus` and `cpus` aside for each of them. `actors`
    make and score the clips of an online training, each with as much as a process; 0: it makes them itself.

    `address` is the cluster's: that of the environment where the job is filed, unless it is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: RunnerKey = LOCAL
    processes: int = Field(1, ge=1, le=1024)
    gpus: float = Field(0.0, ge=0, le=1024)
    cpus: float = Field(1.0, ge=0, le=4096)
    actors: int = Field(0, ge=0, le=1024)
    address: str = ""

    @property
    def is_local(self) -> bool:
        return self.runner == LOCAL


def read_resources(given: Mapping[str, Any]) -> Resources:
    """Raises ConfigError in one sentence."""
    try:
        return Resources(**given)
    except ValidationError as error:
        raise ConfigError(validation_message(error, "What a job needs", Resources.model_fields)) from error
