"""Where a job's processes run, and what they are to be given there."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.config.suggest import did_you_mean

RUNNERS = {
    "local": "engine.jobs.local_runner:LocalRunner",
    "ray": "engine.jobs.ray_runner:RayRunner",
    "slurm": "engine.jobs.slurm_runner:SlurmRunner",
}
LOCAL = "local"


class Resources(BaseModel):
    """What a job needs of a machine, and whose. A cluster sets `gpus` and `cpus` aside, in all, on one of its machines.

    `processes` is the number of ranks of a training, or of actors that share the scoring of many clips.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: str = LOCAL
    processes: int = Field(1, ge=1, le=1024)
    gpus: float = Field(0.0, ge=0, le=1024)
    cpus: float = Field(1.0, ge=0, le=4096)

    @field_validator("runner")
    @classmethod
    def _known(cls, runner: str) -> str:
        if runner not in RUNNERS:
            raise ValueError(f"unknown runner '{runner}': {did_you_mean(runner, RUNNERS)}")
        return runner

    @property
    def is_local(self) -> bool:
        return self.runner == LOCAL
