"""Maintenance jobs: later samples of a run, downloads of weights, and an inspection of the machine."""

import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Generic, TypeVar

from engine.config import model_downloads as downloads
from engine.config.presets import load_model_preset
from engine.errors import ConfigError, DailiesError, JobError
from engine.families.lora import activate_adapter
from engine.hub.download import Progress
from engine.jobs.context import JobContext
from engine.jobs.handlers.device_questions import ask
from engine.jobs.kinds import JobSteps
from engine.jobs.maintenance_configs import InspectConfig, ModelConfig, SamplesConfig, WeightsConfig
from engine.jobs.spec import JobProgress
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from engine.storage.images import load_picture
from engine.training.data.prompt_embeddings import PromptEmbeddings
from rewards.errors import RewardError
from rewards.weights import catalog

POLL_S = 0.2
T = TypeVar("T")


def make_samples(config: SamplesConfig, context: JobContext) -> JobSteps:
    """Make a sample set with the run's current weights, as its own process would make it.

    Result: `run` and `step`.
    """
    run = Run.find(context.store.workspace, config.run)
    kept, preset = RunSamples(run), run.preset()
    requests = kept.requests()
    if not requests:
        raise ConfigError(f"The run {run.id} makes no samples: its sample_clips is 0, or it has not begun.")
    weights, step = run.adapter_weights()
    if context.model.key != preset.model:
        yield JobProgress(phase="load")
    family = context.model.open(preset.model)
    from engine.training.evaluation.sample_sets import SampleSets, preserve_training_state

    load = partial(load_picture, run.workspace)
    activate_adapter(family.network, run.id, weights)
    sampling = SampleSets(run, requests, preset)
    yield JobProgress(phase="samples")
    with preserve_training_state(family.network):
        clips = sampling.make(family, PromptEmbeddings(family, requests[0].fps, load=load))
    yield JobProgress(phase="score")
    sampling.keep(step, clips)
    return {"run": run.id, "step": step}


def fetch_weights(config: WeightsConfig, context: JobContext) -> JobSteps:
    """Download the weights of a network.

    A cancelled download stops after the current chunk. Result: `key` and `path`.
    """
    path = yield from _download(
        config.key, lambda progress: catalog.resolve(config.key, allow_download=True, progress=progress)
    )
    return {"key": config.key, "path": str(path)}


def fetch_model(config: ModelConfig, context: JobContext) -> JobSteps:
    """Download a model, or resume its download, and verify every file.

    A cancelled download stops after the current chunk and keeps what arrived. Result: `key` and `folders`.
    """
    preset = load_model_preset(config.key)
    folders = yield from _download(config.key, lambda progress: downloads.fetch_model(preset, progress))
    return {"key": config.key, "folders": [str(folder) for folder in folders]}


def _download(name: str, fetch: "Callable[[Progress], T]") -> Generator[JobProgress, None, T]:
    """Run `fetch` in a thread; yield its progress in whole MB and return its result. Raises JobError."""
    fetching = _Fetching(name, fetch)
    fetching.start()
    try:
        while fetching.is_alive():
            yield JobProgress(phase="download", step=fetching.done, of=fetching.of)
            fetching.join(POLL_S)
    finally:
        fetching.unwanted = True
    if fetching.problem:
        raise JobError(fetching.problem)
    if not fetching.results:
        raise JobError(f"The download of {name} stopped without an error message; see the worker's log.")
    return fetching.results[0]


class _Unwanted(RewardError):
    """The download was cancelled."""


class _Fetching(threading.Thread, Generic[T]):
    """A download with its progress in whole MB; it stops between two chunks when it is cancelled."""

    def __init__(self, name: str, fetch: "Callable[[Progress], T]") -> None:
        super().__init__(name=f"download-{name}", daemon=True)
        self._fetch = fetch
        self.done, self.of, self.unwanted = 0, 0, False
        self.results: list[T] = []
        self.problem = ""

    def run(self) -> None:
        try:
            self.results.append(self._fetch(self._tell))
        except (DailiesError, OSError) as error:
            self.problem = str(error)

    def _tell(self, done: int, total: int) -> None:
        if self.unwanted:
            raise _Unwanted("The download was cancelled.")
        self.done, self.of = round(done / 1e6), round(total / 1e6)


def inspect(config: InspectConfig, context: JobContext) -> JobSteps:
    """Inspect this machine with PyTorch, each question in a separate process, so that a crash is a result.

    Result: `found`, the answer by question, or {"problem": sentence}.
    """
    context.model.release()
    answers = {}
    for position, question in enumerate(config.questions):
        progress = JobProgress(phase="inspect", step=position, of=len(config.questions))
        answers[question] = yield from ask(question, context.store.workspace, progress)
    return {"found": answers}
