"""Job specs, the configs of all kinds, and the job as it is stored in the database."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import AwareDatetime, Field, TypeAdapter, model_validator

from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from engine.execution.process_runner import Handle
from engine.execution.resources import Resources
from engine.process_identity import ProcessIdentity
from engine.request import PROMPT_LIMIT, GenerationRequest, SweepAxis
from rewards.models import FrozenModel

Status = Literal["queued", "running", "stopping", "done", "failed", "cancelled", "lost"]
STATUSES: tuple[Status, ...] = get_args(Status)
ACTIVE: tuple[Status, ...] = ("running", "stopping")
UNFINISHED: tuple[Status, ...] = ("queued", *ACTIVE)
ENDED: tuple[Status, ...] = ("done", "failed", "cancelled", "lost")
TRAIN = "train"  # the kind of job that trains a run
REQUEST_LIMIT = 1000  # in one job

Priority = Literal["high", "normal", "low"]
PRIORITIES: dict[Priority, int] = {"high": 1, "normal": 0, "low": -1}  # as the queue orders them


class JobSpec(FrozenModel):
    """A request for background work; `config` is checked by its kind (`engine.jobs.kinds`).

    Without a `priority` the kind chooses: "high" for interactive work.
    """

    kind: str
    config: dict[str, Any]
    resources: Resources = Resources()
    priority: Priority | None = None

    @classmethod
    def generate(
        cls,
        requests: Sequence[GenerationRequest],
        mix: str | None = None,
        axes: Sequence[SweepAxis] = (),
        *,
        preview: bool = False,
        campaign: str = "",
    ) -> Self:
        """Return the spec to generate clips, and to score them by `mix` unless it is None.

        `axes` are the settings that the requests differ in, for a sweep. With `preview`, the page shows the clips while
        they are denoised. `campaign` is the title of the campaign that the clips are for.
        """
        config = GenerateConfig(requests=tuple(requests), mix=mix, axes=tuple(axes), preview=preview, campaign=campaign)
        return cls(kind="generate", config=config.model_dump(mode="json"))

    @classmethod
    def score(cls, clip_ids: Sequence[str], mix: str) -> Self:
        """Return the spec to score clips of the library."""
        return cls(kind="score", config=ScoreConfig(clip_ids=tuple(clip_ids), mix=mix).model_dump(mode="json"))

    @classmethod
    def score_file(cls, path: Path | str, prompt: str, mix: str) -> Self:
        """Return the spec to import and score a video."""
        config = ScoreConfig(path=_whole(path), prompt=prompt, mix=mix)
        return cls(kind="score", config=config.model_dump(mode="json"))

    @classmethod
    def score_folder(cls, folder: Path | str, prompt: str, mix: str, where: Resources | None = None) -> Self:
        """Return the spec to import and score all videos of a folder."""
        config = ScoreFolderConfig(folder=_whole(folder), prompt=prompt, mix=mix)
        return cls(kind="score_folder", config=config.model_dump(mode="json"), resources=where or Resources())

    @classmethod
    def keyframes(cls, request: GenerationRequest, mix: str | None = None, *, preview: bool = False) -> Self:
        """Return the spec to draw a clip's keyframes for review; `mix` scores the later clip."""
        config = KeyframesConfig(request=request, mix=mix, preview=preview)
        return cls(kind="keyframes", config=config.model_dump(mode="json"))

    @classmethod
    def train(cls, run: str, where: Resources | None = None) -> Self:
        """Return the spec to train or resume a run."""
        config = TrainConfig(run=run).model_dump(mode="json")
        return cls(kind=TRAIN, config=config, resources=where or Resources())

    @classmethod
    def evaluate(cls, run: str) -> Self:
        """Return the spec to evaluate a run on its preset's own test prompts."""
        return cls(kind="evaluate", config=EvaluateConfig(run=run).model_dump(mode="json"))

    @classmethod
    def preflight(cls, preset: TrainPreset, adapter: str | None = None) -> Self:
        """Return the spec of the preflight checks of a preset."""
        return cls(kind="preflight", config=PreflightConfig(preset=preset, adapter=adapter).model_dump(mode="json"))

    @classmethod
    def overlays(cls, clip_id: str, mix: str) -> Self:
        """Return the spec to draw the overlays of a mix's rewards for a clip."""
        return cls(kind="overlays", config=OverlaysConfig(clip_id=clip_id, mix=mix).model_dump(mode="json"))


class GenerateConfig(FrozenModel):
    """A "generate" job: make the clips of `requests`, then score each by `mix` (None: do not score).

    The requests of a sweep are listed row by row: `axes` are those of its columns and, with two, of its rows. With
    `preview`, previews are written while the clips are denoised (`engine.generation.previews`). `campaign` is the title
    of the labelling campaign that the clips are for, "" for none.
    """

    requests: tuple[GenerationRequest, ...] = Field(min_length=1, max_length=REQUEST_LIMIT)
    mix: str | None = None
    axes: tuple[SweepAxis, ...] = Field((), max_length=2)
    preview: bool = False
    campaign: str = ""

    @model_validator(mode="after")
    def _fills_grid(self) -> Self:
        cells = math.prod(len(axis.values) for axis in self.axes)
        if self.axes and cells != len(self.requests):
            raise ValueError(f"the axes have {cells} cells, but there are {len(self.requests)} requests")
        return self


class KeyframesConfig(FrozenModel):
    """A "keyframes" job: draw the keyframes of `request`, whose mode is "keyframes".

    `mix` scores the later clip; `preview` is that of `GenerateConfig`.
    """

    request: GenerationRequest
    mix: str | None = None
    preview: bool = False

    @model_validator(mode="after")
    def _has_keyframes(self) -> Self:
        if self.request.mode != "keyframes":
            raise ValueError(f"the request's mode must be 'keyframes', but is '{self.request.mode}'")
        return self


class ScoreConfig(FrozenModel):
    """A "score" job: score clips of the library, `clip_ids`, or import and score a video file, `path`.

    `path` is absolute.
    """

    clip_ids: tuple[str, ...] = ()
    path: Path | None = None
    prompt: str = Field(default="", max_length=PROMPT_LIMIT)
    mix: str

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.clip_ids) == bool(self.path):
            raise ValueError("give either clip_ids or a path")
        return self


class ScoreFolderConfig(FrozenModel):
    """A "score_folder" job: import and score every video of a folder (absolute), by name.

    The prompt of a video is a text file of its name in the folder (`ball.mp4`, `ball.txt`), else `prompt`.
    """

    folder: Path
    prompt: str = Field(default="", max_length=PROMPT_LIMIT)
    mix: str


class OverlaysConfig(FrozenModel):
    """An "overlays" job: draw the evidence of a mix's rewards (flow, edges, faces) over a clip."""

    clip_id: str
    mix: str


class PreflightConfig(FrozenModel):
    """A "preflight" job: the checks before a run of `preset` starts; nothing is trained or kept."""

    preset: TrainPreset
    adapter: str | None = None
    """The initial adapter of the run."""


class TrainConfig(FrozenModel):
    """A "train" job: train a run of the workspace, from its start or its last checkpoint to its end."""

    run: str


class JudgeConfig(FrozenModel):
    """A "judge" job: the reward `judge` votes on the pairs of a campaign that lack its vote.

    Its votes from before `replace_before` are replaced, each when its pair is judged again.
    """

    campaign: str
    judge: str
    replace_before: AwareDatetime | None = None


class EvaluateConfig(FrozenModel):
    """An "evaluate" job: compare a run's adapter with the base model on fixed prompts and seeds.

    A student is compared with its teacher. `prompts` (a file of `presets/prompts`) and `mix` default to those of the
    run's preset.
    """

    run: str
    prompts: str | None = None
    num_prompts: int = Field(16, ge=2)
    takes: int = Field(2, ge=1)
    mix: str | None = None


class CurriculumConfig(FrozenModel):
    """A "curriculum" job: run a curriculum of the workspace, from its current state to its end."""

    curriculum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Progress of a job: `step` of `of` in `phase`.

    `eta_s` is the time left in the phase in seconds, None while unknown. `handle` identifies the process that does the
    job, when it is not the worker itself.
    """

    phase: str
    step: int = 0
    of: int = 0
    eta_s: float | None = None
    handle: Handle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as stored in the database.

    `position` is its place in the queue from 1, None when it is not queued. `exit_code` is 0 for "done", 1 for
    "failed", None otherwise. `error` is one sentence, `worker` the process that runs or ran it, `heartbeat_s` its last
    heartbeat on the monotonic clock of that worker's host. `environment` is the environment in which it was submitted
    (`engine.hardware.job_environment`).
    """

    id: str
    kind: str
    status: Status
    config: dict[str, Any]
    resources: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    progress: JobProgress | None = None
    error: str | None = None
    exit_code: int | None = None
    position: int | None = None
    priority: Priority = "normal"
    worker: ProcessIdentity | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    heartbeat_at: datetime | None = None
    heartbeat_s: float | None = None
    environment: dict[str, str] | None = None

    @property
    def pid(self) -> int | None:
        return self.worker.pid if self.worker else None

    @property
    def is_over(self) -> bool:
        return self.status in ENDED

    @property
    def reason(self) -> str:
        """Why the job ended badly; "" if it was cancelled on request."""
        return self.error if self.error and self.error != cancelled(self.id) else ""

    def to_dict(self) -> dict[str, Any]:
        """Return the job as JSON types, with times in ISO 8601."""
        return JOB.dump_python(self, mode="json") | {"pid": self.pid}


def cancelled(job_id: str) -> str:
    """Return the error of a job that was cancelled on request."""
    return f"Job {job_id} was cancelled."


def _whole(path: Path | str) -> Path:
    """Return the absolute path. Raises ConfigError for an invalid one: with a NUL, or a loop of links."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{str(path)[:200]!r} is not a readable path: {error}.") from error


JOB = TypeAdapter(Job)
