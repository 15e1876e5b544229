"""Resources of a job: its runner, its processes, and their devices and cores."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from engine.errors import ConfigError
from engine.suggestions import validation_message
from rewards.models import FrozenModel

RunnerKey = Literal["local", "ray", "slurm"]
RUNNERS: Mapping[RunnerKey, str] = {
    "local": "engine.execution.local:LocalRunner",
    "ray": "engine.execution.ray_jobs:RayRunner",
    "slurm": "engine.execution.slurm:SlurmRunner",
}
LOCAL: RunnerKey = "local"


class Resources(FrozenModel):
    """Resources of a job.

    `processes` are the ranks of a training, which run on one machine, or the actors that share the scoring of many
    clips; a cluster reserves `gpus` and `cpus` for each. `actors` make and score the clips of an online training, each
    with the resources of a process; 0: the training makes them itself. `address` is the cluster's; by default it comes
    from the environment of the process that submits the job.
    """

    runner: RunnerKey = LOCAL
    processes: int = Field(1, ge=1, le=1024)
    gpus: float = Field(0.0, ge=0, le=1024)
    cpus: float = Field(1.0, ge=0, le=4096)
    actors: int = Field(0, ge=0, le=1024)
    address: str = ""

    @property
    def is_local(self) -> bool:
        return self.runner == LOCAL


def read_resources(fields: Mapping[str, Any]) -> Resources:
    """Validate the fields. Raises ConfigError in one sentence."""
    try:
        return Resources(**fields)
    except ValidationError as error:
        raise ConfigError(validation_message(error, "What a job needs", Resources.model_fields)) from error
