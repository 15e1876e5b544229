"""The "preflight" job: all checks before a run may start, in a separate process."""

import shutil
import sys
from dataclasses import asdict

from pydantic import TypeAdapter

from engine.errors import JobError
from engine.execution.child import run_child
from engine.hardware.environment import process_environment
from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import JobProgress, PreflightConfig
from engine.labelling.run_dataset import freeze_pairs, write_frozen_pairs
from engine.runs.adapters import find_adapter
from engine.runs.run import Run
from engine.runs.run_inputs import set_adapters
from engine.storage.temp_folders import temp_path
from engine.training.preflight.preflight_check import PreflightCheck
from engine.workspace import Workspace

CHECKS = TypeAdapter(list[PreflightCheck])


def run_preflight(config: PreflightConfig, context: JobContext) -> JobSteps:
    """Check a preset. Result: `verdicts`, a list of {name, level, sentence}.

    Raises JobError when the preset cannot be built, ConfigError when the votes of its campaign give no pair.
    """
    workspace = context.store.workspace
    context.model.release()
    frozen = freeze_pairs(context.store, config.preset)
    run = Run(temp_path(workspace, "preflight"))
    run.folder.mkdir(parents=True)
    try:
        start = find_adapter(workspace, config.adapter, config.preset.model).folder if config.adapter else None
        run.replace_preset(set_adapters(run, config.preset, start))
        write_frozen_pairs(context.store, run, frozen)
        yield from _wait(run, workspace)
        return {"verdicts": [asdict(check) for check in read_verdicts(run)]}
    finally:
        shutil.rmtree(run.folder, ignore_errors=True)


def read_verdicts(run: Run) -> list[PreflightCheck]:
    """Return the results of a run's checks; [] before they are made.

    Raises JobError when the file is damaged.
    """
    if not run.preflight.is_file():
        return []
    try:
        return CHECKS.validate_json(run.preflight.read_bytes())
    except ValueError as error:
        raise JobError(f"{run.preflight} is damaged: {str(error).splitlines()[0]}") from error


def _wait(run: Run, workspace: Workspace) -> JobSteps:
    command = [sys.executable, "-m", "engine.training.preflight", str(run.folder)]
    with run.log.open("ab") as log:
        code = yield from run_child(
            command, JobProgress(phase="preflight"), env=process_environment(workspace), stdout=log, stderr=log
        )
    if code != 0:
        raise JobError(f"The preset was not checked: {run.last_line()}")
    return {}
