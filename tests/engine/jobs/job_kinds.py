"""Small real kinds of jobs for the tests. A worker finds them with `--kinds job_kinds:KINDS`."""

import math
import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from engine.errors import JobError
from engine.execution.process_runner import monitored, open_runner
from engine.jobs.context import JobContext
from engine.jobs.kinds import JobKind, JobSteps
from engine.jobs.spec import JobProgress

DEADLINE_S = 120


class Steps(BaseModel):
    """Take `steps` steps, each after the file `hold` is gone; say each in the file `diary`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = 3
    hold: Path | None = None
    diary: Path | None = None


class Command(BaseModel):
    """Run `argv` in a process of its own, which fills `folder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: tuple[str, ...]
    folder: Path


class Trouble(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: bool


def take_steps(config: Steps, context: JobContext) -> JobSteps:
    for step in range(config.steps):
        if config.diary:
            with config.diary.open("a") as diary:
                diary.write(f"{step}\n")
        yield JobProgress(phase="step", step=step, of=config.steps)
        deadline = time.monotonic() + DEADLINE_S
        while config.hold and config.hold.exists() and time.monotonic() < deadline:
            yield JobProgress(phase="step", step=step, of=config.steps)
            time.sleep(0.01)
    return {"steps": config.steps}


def fail(config: Trouble, context: JobContext) -> JobSteps:
    yield JobProgress(phase="begin")
    if config.expected:
        raise JobError("The spoon is bent: straighten it.")
    return {"quotient": 1 // int(config.expected)}


def give_unusual(config: Steps, context: JobContext) -> JobSteps:
    """A result of a type that JSON lacks."""
    yield JobProgress(phase="begin")
    return {"odd": {config.steps}}


def measure_nothing(config: Steps, context: JobContext) -> JobSteps:
    """As an evaluation does whose reward fits no clip."""
    yield JobProgress(phase="begin")
    return {"mean": math.nan, "of": [0, math.inf]}


def watch(config: Command, context: JobContext) -> JobSteps:
    """As a training does: go on with the process that another worker watched, or start one."""
    runner = open_runner("local")
    handle = context.handle or runner.submit(
        config.argv, env=context.visible, cwd=config.folder, resources=context.resources, run_dir=config.folder
    )
    with monitored(runner, handle):
        while not (now := runner.poll(handle)).is_over:
            yield JobProgress(phase="train", handle=handle)
            time.sleep(0.02)
    yield JobProgress(phase="train", handle=handle)
    return {"exit_code": now.exit_code}


class Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str


def tell_environment(config: Named, context: JobContext) -> JobSteps:
    """A variable as the worker has it."""
    yield JobProgress(phase="look")
    return {"value": os.environ.get(config.name)}


KINDS = {
    "environment": JobKind(key="environment", config=Named, handler="job_kinds:tell_environment"),
    "steps": JobKind(key="steps", config=Steps, handler="job_kinds:take_steps"),
    "fail": JobKind(key="fail", config=Trouble, handler="job_kinds:fail"),
    "unusual": JobKind(key="unusual", config=Steps, handler="job_kinds:give_unusual"),
    "measure": JobKind(key="measure", config=Steps, handler="job_kinds:measure_nothing"),
    "small": JobKind(
        key="small", config=Steps, handler="job_kinds:take_steps", share=0.25, is_interactive=lambda config: True
    ),
    "aside": JobKind(key="aside", config=Steps, handler="job_kinds:take_steps", share=1.0, monitored=True),
    "watch": JobKind(key="watch", config=Command, handler="job_kinds:watch", share=1.0, monitored=True),
}
