"""Jobs about the machine: weights fetched with progress or refused, and questions that each get their own process."""

import itertools
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from engine.errors import ConfigError, JobError
from engine.jobs.context import JobContext
from engine.jobs.handlers import device_questions
from engine.jobs.kinds import KINDS, JobSteps, kind_of
from engine.jobs.maintenance_configs import inspect_job, samples_job, weights_job
from engine.jobs.spec import JobProgress
from engine.storage.library import Library
from rewards.errors import RewardUnavailable
from rewards.weights import catalog


@pytest.fixture
def start(store: Library) -> Callable[..., JobSteps]:
    """`start(spec)`: the job's handler, ready to be drained."""
    return lambda spec: kind_of(spec.kind, KINDS).start(spec.config, JobContext(store=store))


def drain(steps: JobSteps) -> tuple[list[tuple[str, int, int]], dict[str, object]]:
    seen = []
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return seen, end.value
        seen.append((progress.phase, progress.step, progress.of))


def test_weights_are_fetched_and_progress_is_told(
    start: Callable[..., JobSteps], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = threading.Event()

    def resolve(key: str, *, allow_download: bool, progress: Callable[[int, int], None]) -> Path:
        progress(10_000_000, 20_000_000)
        assert told.wait(60)
        return tmp_path / key

    monkeypatch.setattr(catalog, "resolve", resolve)
    steps = start(weights_job("alexnet"))
    assert any(one.step == 10 and one.of == 20 for one in itertools.islice(steps, 20))
    told.set()
    assert drain(steps)[1] == {"key": "alexnet", "path": str(tmp_path / "alexnet")}


def test_a_download_that_fails_or_is_not_wanted_any_more(
    start: Callable[..., JobSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str, **_: object) -> Path:
        raise RewardUnavailable("The host does not answer.")

    monkeypatch.setattr(catalog, "resolve", fail)
    with pytest.raises(JobError, match="does not answer"):
        drain(start(weights_job("alexnet")))

    ended = threading.Event()

    def endless(key: str, *, progress: Callable[[int, int], None], **_: object) -> Path:
        try:
            while True:
                progress(1, 2)
        finally:
            ended.set()

    monkeypatch.setattr(catalog, "resolve", endless)
    steps = start(weights_job("alexnet"))
    next(steps)
    steps.close()
    assert ended.wait(60)


def test_weights_that_nobody_can_fetch_are_refused_at_once() -> None:
    by_hand = next(key for key, one in catalog.WEIGHTS.items() if not one.source.downloadable)
    for key, message in ((by_hand, "cannot be downloaded"), ("alexnett", "Did you mean 'alexnet'")):
        with pytest.raises(ConfigError, match=message):
            kind_of("weights", KINDS).validate(weights_job(key).config)


def test_what_pytorch_finds(start: Callable[..., JobSteps], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_DEVICE", "cpu")
    seen, result = drain(start(inspect_job("devices")))
    assert set(seen) == {("inspect", 0, 1)}
    assert result["found"]["devices"]["devices"][0]["torch_version"]  # type: ignore[index]


def test_a_probe_that_fails_is_an_answer(store: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_DEVICE", "cuda:99")
    ask = partial(device_questions.ask, "attention", store.workspace, JobProgress(phase="inspect"))
    assert "DAILIES_DEVICE=cuda:99" in str(drain(ask())[1]["problem"])
    monkeypatch.setattr(device_questions, "PROBE_S", 0.01)
    assert "did not finish within" in str(drain(ask())[1]["problem"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_download_that_fails_unforeseen_fails_the_job(
    start: Callable[..., JobSteps], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("the hub answered nonsense")

    monkeypatch.setattr(catalog, "resolve", broken)
    with pytest.raises(JobError, match="stopped without an error message"):
        drain(start(weights_job(next(key for key, one in catalog.WEIGHTS.items() if one.source.downloadable))))


def test_samples_of_a_run_that_has_none(start: Callable[..., JobSteps]) -> None:
    with pytest.raises(ConfigError, match="There is no run 'gone'"):
        drain(start(samples_job("gone")))
