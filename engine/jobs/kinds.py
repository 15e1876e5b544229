"""The kinds of jobs: the schema and check of each config before it is queued, and its handler.

A worker for other kinds uses another table (`python -m engine.jobs.worker --kinds module:TABLE`).
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from engine.config.model_availability import check_available
from engine.config.presets import load_model_preset, load_preset
from engine.config.reward_availability import check_rewards
from engine.errors import ConfigError, JobError
from engine.execution.process_runner import resolve_resources
from engine.execution.resources import Resources
from engine.generation.validation import check_request
from engine.jobs.maintenance_configs import (
    InspectConfig,
    ModelConfig,
    SamplesConfig,
    WeightsConfig,
    check_model,
    check_weights,
)
from engine.jobs.spec import (
    TRAIN,
    CurriculumConfig,
    EvaluateConfig,
    GenerateConfig,
    JobProgress,
    JudgeConfig,
    KeyframesConfig,
    OverlaysConfig,
    PreflightConfig,
    ScoreConfig,
    ScoreFolderConfig,
    TrainConfig,
)
from engine.labelling.judge_votes import judge_table
from engine.suggestions import validation_message
from engine.video.reader import VIDEO_SUFFIXES, videos_in
from rewards.errors import did_you_mean
from rewards.import_object import import_object

if TYPE_CHECKING:
    from engine.jobs.context import JobContext

JobSteps = Generator[JobProgress, None, dict[str, Any]]
"""A running handler: it yields progress and returns the job's result; closing it cancels the job."""
Handler = Callable[[Any, "JobContext"], JobSteps]
T = TypeVar("T")


def job_steps(steps: Generator[Any, None, T]) -> Generator[JobProgress, None, T]:
    """Yield a generator's (phase, step, of) as progress of a job; return its result."""
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return cast(T, end.value)
            yield JobProgress(phase=progress.phase, step=progress.step, of=progress.of)


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: the schema `config`, a `check` that raises ConfigError, and the `handler`.

    `handler` is "module:function". `supports_cluster`: the handler can run its work on a cluster, by its context's
    resources. `monitored`: the handler waits in a thread of its own for another process or a server. `share` is the
    default share of a device (0: none), see engine.jobs.device_leases. `is_interactive` returns True for a config
    whose job a person waits for: it gets a high priority.
    """

    key: str
    config: type[BaseModel]
    handler: str
    check: Callable[[Any], None] = lambda config: None
    _: KW_ONLY
    supports_cluster: bool = False
    monitored: bool = False
    share: float = 0.0
    is_interactive: Callable[[Any], bool] = lambda config: False

    def validate(self, config: Mapping[str, Any]) -> BaseModel:
        """Return the checked config. Raises ConfigError in one sentence."""
        try:
            checked = self.config(**config)
        except ValidationError as error:
            raise ConfigError(validation_message(error, f"The '{self.key}' job", self.config.model_fields)) from error
        self.check(checked)
        return checked

    def resolve(self, resources: Resources) -> Resources:
        """Return the resources of a job of this kind. Raises ConfigError for a runner that cannot do it."""
        if not (resources.is_local or self.supports_cluster):
            raise ConfigError(
                f"A '{self.key}' job is supported on this machine only, but was submitted for '{resources.runner}'."
            )
        return resolve_resources(resources)

    def start(self, config: Mapping[str, Any], context: "JobContext") -> JobSteps:
        """Return the handler's generator."""
        handler = cast(Handler, import_object(self.handler))
        return handler(self.validate(config), context)


Kinds = Mapping[str, JobKind]


def kind_of(key: str, kinds: Kinds) -> JobKind:
    """Return the kind of a key. Raises JobError ("did you mean") for an unknown one."""
    if key not in kinds:
        raise JobError(f"Unknown kind of job '{key}'. {did_you_mean(key, kinds)}")
    return kinds[key]


def load_kinds(path: str) -> Kinds:
    """Return the table at "module:NAME"."""
    return cast(Kinds, import_object(path))


def check_generate(config: GenerateConfig) -> None:
    """Check all but the adapter, which is in a workspace: page, command line and handler check it."""
    for request in config.requests:
        check_request(request, adapters=request.scales)
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
        raise ConfigError(f"The folder {config.folder} has no video ({', '.join(VIDEO_SUFFIXES)}).")


def check_preflight(config: PreflightConfig) -> None:
    """Check that the rewards' networks are here, which are small, and then the model. Raises ConfigError."""
    check_rewards(config.preset)
    check_available(load_model_preset(config.preset.model))


def check_judge_config(config: JudgeConfig) -> None:
    judge_table(config.judge)


def check_overlays(config: OverlaysConfig) -> None:
    load_preset("rewards", config.mix)


def always(config: object) -> bool:
    return True


def few_clips(config: GenerateConfig | ScoreConfig) -> bool:
    clips = config.requests if isinstance(config, GenerateConfig) else config.clip_ids
    return len(clips) <= MAX_INTERACTIVE_CLIPS


# Shares of a device are a choice, not measured: clips and rewards leave three quarters to other jobs; a training has
# the device alone unless its resources set a share.
MAX_INTERACTIVE_CLIPS = 16  # clips of an interactive job; a campaign has hundreds
SMALL, WHOLE = 0.25, 1.0

HANDLERS = "engine.jobs.handlers."
TABLE = (
    JobKind(
        "generate",
        GenerateConfig,
        HANDLERS + "generate:generate_clips",
        check_generate,
        share=SMALL,
        is_interactive=few_clips,
    ),
    JobKind(
        "keyframes",
        KeyframesConfig,
        HANDLERS + "keyframes:draw_keyframes",
        check_keyframes,
        share=SMALL,
        is_interactive=always,
    ),
    JobKind("evaluate", EvaluateConfig, HANDLERS + "evaluate:evaluate_run", share=WHOLE),
    JobKind("curriculum", CurriculumConfig, HANDLERS + "curriculum:run_curriculum", share=WHOLE),
    JobKind(TRAIN, TrainConfig, HANDLERS + "train:train", supports_cluster=True, monitored=True, share=WHOLE),
    JobKind(
        "preflight",
        PreflightConfig,
        HANDLERS + "preflight:run_preflight",
        check_preflight,
        share=WHOLE,
        is_interactive=always,
    ),
    JobKind("score", ScoreConfig, HANDLERS + "score:score_clips", check_score, share=SMALL, is_interactive=few_clips),
    JobKind(
        "score_folder",
        ScoreFolderConfig,
        HANDLERS + "score:score_folder",
        check_score_folder,
        supports_cluster=True,
        share=SMALL,
    ),
    JobKind(
        "overlays", OverlaysConfig, HANDLERS + "score:make_overlays", check_overlays, share=SMALL, is_interactive=always
    ),
    JobKind("judge", JudgeConfig, HANDLERS + "judge:judge_campaign", check_judge_config, monitored=True),
    JobKind("samples", SamplesConfig, HANDLERS + "maintenance:make_samples", share=SMALL, is_interactive=always),
    JobKind(
        "weights",
        WeightsConfig,
        HANDLERS + "maintenance:fetch_weights",
        check_weights,
        monitored=True,
        is_interactive=always,
    ),
    JobKind(
        "model", ModelConfig, HANDLERS + "maintenance:fetch_model", check_model, monitored=True, is_interactive=always
    ),
    JobKind("inspect", InspectConfig, HANDLERS + "maintenance:inspect", share=SMALL, is_interactive=always),
)
KINDS: Kinds = {kind.key: kind for kind in TABLE}
