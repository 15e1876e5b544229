"""The look at a recipe before it is trained, as a job."""

from collections.abc import Generator
from typing import Any

import pytest

from engine.config.presets import load_train_preset
from engine.data.runs import list_runs
from engine.data.store import Store
from engine.errors import ConfigError, JobError
from engine.jobs.checking import look_before
from engine.jobs.context import JobContext
from engine.jobs.spec import PreflightConfig

SMALL = {
    "num_frames": 9,
    "num_steps": 2,
    "num_generations": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
}


def drained(run: Generator[Any, None, dict[str, Any]]) -> dict[str, Any]:
    while True:
        try:
            next(run)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@pytest.fixture
def context(store: Store) -> JobContext:
    return JobContext(store=store)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_verdict_comes_back_and_nothing_is_kept(context: JobContext) -> None:
    preset = load_train_preset("mini_nft", {"settings": SMALL})
    found = drained(look_before(PreflightConfig(preset=preset), context))["verdicts"]
    assert {"memory", "frames", "rewards"} <= {row["name"] for row in found}
    memory = next(row for row in found if row["name"] == "memory")
    assert memory["level"] == "ok" and "it fits" in memory["sentence"]
    assert list_runs(context.store.workspace) == [] and list(context.store.workspace.tmp.iterdir()) == []


@pytest.mark.timeout(300)
def test_a_recipe_that_cannot_be_built_says_why(context: JobContext) -> None:
    preset = load_train_preset("mini_nft", {"settings": {"learnin_rate": 1.0}})
    with pytest.raises(JobError, match="The recipe was not checked: Unknown setting 'learnin_rate'"):
        drained(look_before(PreflightConfig(preset=preset), context))


def test_an_adapter_that_is_gone_is_named(context: JobContext) -> None:
    config = PreflightConfig(preset=load_train_preset("mini_nft"), adapter="gone")
    with pytest.raises(ConfigError, match="Unknown adapter 'gone'"):
        drained(look_before(config, context))
