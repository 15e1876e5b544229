"""The kinds of jobs, listed by hand: how a config is read and checked before it is queued, and what runs it.

A worker for other kinds takes another table (`python -m engine.jobs.worker --kinds module:TABLE`).
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from engine.config.model_availability import check_available
from engine.config.presets import load_model_preset, load_preset
from engine.errors import ConfigError, JobError
from engine.execution.process_runner import resolve_resources
from engine.execution.resources import Resources
from engine.generation.validation import check_request
from engine.import_object import import_object
from engine.jobs.maintenance_configs import InspectConfig, SamplesConfig, WeightsConfig, check_weights
from engine.jobs.spec import (
    TRAIN,
    CurriculumConfig,
    EvaluateConfig,
    GenerateConfig,
    JobProgress,
    KeyframesConfig,
    OverlaysConfig,
    PreflightConfig,
    ScoreConfig,
    ScoreFolderConfig,
    TrainConfig,
)
from engine.suggestions import did_you_mean, validation_message
from engine.video.reader import VIDEO_SUFFIXES, videos_in

if TYPE_CHECKING:
    from engine.jobs.context import JobContext

JobSteps = Generator[JobProgress, None, dict[str, Any]]
"""A running handler: yields where it is, returns the job's result; closing it cancels the job."""
Handler = Callable[[Any, "JobContext"], JobSteps]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    """`config` is the schema, `check` refuses with a ConfigError what cannot work, `handler` is "module:function".

    `elsewhere` says that the handler heeds its context's resources: that it can have the work done by a cluster.
    `aside`: the work is done by a process of its own, which the worker only watches. `share` is what it holds of a
    device unless the job says it (0: it needs none), see engine.jobs.device_leases. `quick` tells of a config whether
    somebody
    is likely to sit and wait for it: it then goes before what takes long.
    """

    key: str
    config: type[BaseModel]
    handler: str
    check: Callable[[Any], None] = lambda config: None
    elsewhere: bool = False
    aside: bool = False
    share: float = 0.0
    quick: Callable[[Any], bool] = lambda config: False

    def read(self, config: Mapping[str, Any]) -> BaseModel:
        """The checked config. Raises ConfigError in one sentence."""
        try:
            checked = self.config(**config)
        except ValidationError as error:
            raise ConfigError(validation_message(error, f"The '{self.key}' job", self.config.model_fields)) from error
        self.check(checked)
        return checked

    def place(self, resources: Resources) -> Resources:
        """What a job of this kind is given. Raises ConfigError when it cannot be done there."""
        if not (resources.is_local or self.elsewhere):
            raise ConfigError(
                f"A '{self.key}' job is done on this machine only, but was to run by '{resources.runner}'."
            )
        return resolve_resources(resources)

    def start(self, config: Mapping[str, Any], context: "JobContext") -> JobSteps:
        """The handler, ready to be drained."""
        handler = cast(Handler, import_object(self.handler))
        return handler(self.read(config), context)


Kinds = Mapping[str, JobKind]


def kind_of(key: str, kinds: Kinds) -> JobKind:
    """Raises JobError ("did you mean") when there is no such kind."""
    if key not in kinds:
        raise JobError(f"Unknown kind of job '{key}'. {did_you_mean(key, kinds)}")
    return kinds[key]


def load_kinds(path: str) -> Kinds:
    """The table at "module:NAME"."""
    return cast(Kinds, import_object(path))


def check_generate(config: GenerateConfig) -> None:
    """An adapter belongs to a workspace: page and command line look for it before they file, the handler in the end."""
    for request in config.requests:
        check_request(request, adapters=[request.adapter] if request.adapter else [])
    for model in sorted({request.model for request in config.requests}):
        check_available(load_model_preset(model))
    if config.mix is not None:
        load_preset("rewards", config.mix)


def check_keyframes(config: KeyframesConfig) -> None:
    check_generate(GenerateConfig(requests=(config.request,), mix=config.mix))


def check_score(config: ScoreConfig) -> None:
    load_preset("rewards", config.mix)
    if config.path is not None and not config.path.is_file():
        raise ConfigError(f"There is no file {config.path} to score.")


def check_score_folder(config: ScoreFolderConfig) -> None:
    load_preset("rewards", config.mix)
    if not config.folder.is_dir():
        raise ConfigError(f"There is no folder {config.folder} to score.")
    if not videos_in(config.folder):
        raise ConfigError(f"The folder {config.folder} holds no video: {', '.join(VIDEO_SUFFIXES)} are read.")


def check_preflight(config: PreflightConfig) -> None:
    check_available(load_model_preset(config.preset.model))


def check_overlays(config: OverlaysConfig) -> None:
    load_preset("rewards", config.mix)


def always(config: object) -> bool:
    return True


def few_clips(config: GenerateConfig | ScoreConfig) -> bool:
    clips = config.requests if isinstance(config, GenerateConfig) else config.clip_ids
    return len(clips) <= FEW


# Shares of a device are a choice, not measured: clips and rewards beside three quarters of something else, a training
# alone, unless it is given a share when it is filed.
FEW = 16  # clips that somebody waits for; a campaign's come by the hundred
SMALL, WHOLE = 0.25, 1.0

KINDS: Kinds = {
    kind.key: kind
    for kind in (
        JobKind(
            key="generate",
            config=GenerateConfig,
            handler="engine.jobs.handlers.generate:generate_clips",
            check=check_generate,
            share=SMALL,
            quick=few_clips,
        ),
        JobKind(
            key="keyframes",
            config=KeyframesConfig,
            handler="engine.jobs.handlers.keyframes:draw_keyframes",
            check=check_keyframes,
            share=SMALL,
            quick=always,
        ),
        JobKind(
            key="evaluate", config=EvaluateConfig, handler="engine.jobs.handlers.evaluate:evaluate_run", share=WHOLE
        ),
        JobKind(
            key="curriculum",
            config=CurriculumConfig,
            handler="engine.jobs.handlers.curriculum:run_curriculum",
            share=WHOLE,
        ),
        JobKind(
            key=TRAIN,
            config=TrainConfig,
            handler="engine.jobs.handlers.train:train",
            elsewhere=True,
            aside=True,
            share=WHOLE,
        ),
        JobKind(
            key="preflight",
            config=PreflightConfig,
            handler="engine.jobs.handlers.preflight:run_preflight",
            check=check_preflight,
            share=WHOLE,
            quick=always,
        ),
        JobKind(
            key="score",
            config=ScoreConfig,
            handler="engine.jobs.handlers.score:score_clips",
            check=check_score,
            share=SMALL,
            quick=few_clips,
        ),
        JobKind(
            key="score_folder",
            config=ScoreFolderConfig,
            handler="engine.jobs.handlers.score:score_folder",
            check=check_score_folder,
            elsewhere=True,
            share=SMALL,
        ),
        JobKind(
            key="overlays",
            config=OverlaysConfig,
            handler="engine.jobs.handlers.score:make_overlays",
            check=check_overlays,
            share=SMALL,
            quick=always,
        ),
        JobKind(
            key="samples",
            config=SamplesConfig,
            handler="engine.jobs.handlers.maintenance:make_samples",
            share=SMALL,
            quick=always,
        ),
        JobKind(
            key="weights",
            config=WeightsConfig,
            handler="engine.jobs.handlers.maintenance:fetch_weights",
            check=check_weights,
            aside=True,
            quick=always,
        ),
        JobKind(
            key="inspect",
            config=InspectConfig,
            handler="engine.jobs.handlers.maintenance:inspect",
            share=SMALL,
            quick=always,
        ),
    )
}
