"""`dailies train` and `dailies resume`: training in the foreground, in the process that a job starts."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from engine.cli.downloads.models import offer_model
from engine.cli.downloads.weights import offer_weights
from engine.cli.options.adapters import add_adapters, scales_of, write_combined
from engine.cli.options.devices import add_resource_options, require_local, resources_of
from engine.cli.options.shared import add_settings, add_shared_options, read_setting
from engine.cli.terminal.output import print_json, print_result
from engine.config.presets import load_model_preset, load_train_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, TrainingError
from engine.execution.process_runner import torchrun_command
from engine.execution.resources import Resources
from engine.hardware.environment import process_changes, process_environment
from engine.jobs.handlers.train import publish
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import submit_run
from engine.jobs.runs.train_process import command
from engine.jobs.worker_control import ensure_worker
from engine.runs.adapters import find_adapter
from engine.runs.run import Run
from engine.storage.library import Library
from engine.storage.temp_folders import temp_path
from engine.training.distributed.process_group import is_first, is_launched, on_rank_zero, process_group
from engine.training.exit_codes import REFUSED
from engine.training.run_creation import create_run
from engine.workspace import Workspace


def build_train(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Start a run of a training preset. Ctrl-C stops it after the current step, with a checkpoint; `dailies resume` "
        "continues it. The adapter of a finished run is available in Generate."
    )
    parser.add_argument("preset", help="see `dailies presets ls train`")
    add_settings(parser, "change a key of the preset (`mix=motion`) or a setting of its training (`max_steps=100`)")
    add_start(parser)
    add_queue(parser)
    parser.set_defaults(run=start)


def build_resume(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    add_queue(parser)
    parser.set_defaults(run=resume)


def add_start(parser: argparse.ArgumentParser) -> None:
    add_adapters(parser, "start", "initial adapter (default: none)")


def add_queue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", action="store_true", help="submit a job to the worker instead of running here")
    group = add_resource_options(parser, "number of ranks, started by torchrun")
    group.add_argument(
        "--actors",
        type=int,
        metavar="N",
        help="number of actors that make and score the clips of GRPO, NFT and AWM (Ray only)",
    )


def start(options: argparse.Namespace) -> None:
    preset = load_train_preset(options.preset, read_changes(options.set))

    offer_downloads(preset, resources_of(options))

    def create() -> Run:
        with (
            closing(Library(Workspace.from_env(options.workspace))) as library,
            initial_adapter(options, library.workspace, preset.model) as initial,
        ):
            return create_run(library, preset, initial, start_scales=scales_of(options, "start"))

    with launched_process(options):
        execute(on_rank_zero(create), options, is_new=True)


def offer_downloads(preset: TrainPreset, where: Resources | None) -> None:
    """Offer to download what the preset needs: the rewards' networks, then the model, which is large.

    Raises ConfigError for a missing network. Nothing happens for a cluster, whose machines have files of their own, and
    in a launched process.
    """
    if is_launched() or (where is not None and not where.is_local):
        return
    offer_weights(preset)
    offer_model(preset.model)


@contextmanager
def initial_adapter(options: argparse.Namespace, workspace: Workspace, model: str) -> Iterator[Path | None]:
    """Yield the folder of the adapter that `--start` names.

    Several adapters, or one with a scale, are combined into one. Raises ConfigError when the model has no such adapter.
    """
    scales = scales_of(options, "start")
    if list(scales.values()) in ([], [1.0]):
        yield next((find_adapter(workspace, name, model).folder for name in scales), None)
        return
    folder = temp_path(workspace, "start")
    try:
        write_combined(folder, workspace, scales, load_model_preset(model))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def resume(options: argparse.Namespace) -> None:
    with launched_process(options):
        execute(Run.find(Workspace.from_env(options.workspace), options.run_id), options)


@contextmanager
def launched_process(options: argparse.Namespace) -> Iterator[None]:
    """Join the process group if `accelerate launch` or torchrun started this process.

    Raises ConfigError for `--queue` in a launched process.
    """
    if is_launched():
        if options.queue:
            raise ConfigError(
                "--queue submits the training to a worker, so there is nothing to launch: use one of them."
            )
        for name, value in process_changes(Workspace.from_env(options.workspace)).items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}
    with process_group():
        yield


def execute(run: Run, options: argparse.Namespace, *, is_new: bool = False) -> None:
    """Queue the run, or train here and then publish its adapter.

    A run that `is_new` is removed when its settings cannot work. Raises TrainingError when the run is not finished.
    """
    if options.queue:
        queue_run(run, options)
        return
    code = train(run, require_local(resources_of(options)))
    if code != 0 and not is_first():
        sys.exit(code)
    if code != 0:
        raise TrainingError(_explain_unfinished(run, code, is_new=is_new))
    if not is_first():
        return
    name = publish(run, Workspace.from_env(options.workspace))
    if options.json:
        print_json({"run": run.id, "folder": str(run.folder), "adapter": name, "metrics": run.metrics()})
    elif name is None:
        print(f"Run {run.id} is finished. It trained the whole network, which is in {run.adapter}.")
    else:
        print(f"Run {run.id} is finished. Use its adapter with `dailies generate PROMPT --adapter {name}`.")


def _explain_unfinished(run: Run, code: int | None, *, is_new: bool) -> str:
    """Return the message for an unfinished run whose process has ended; remove a refused new run."""
    if code == REFUSED and is_new and not run.preflight.is_file():
        shutil.rmtree(run.folder, ignore_errors=True)
        return "The run was not started, and its folder was removed: correct the setting, and start it again."
    clone_hint = f"`dailies clone {run.id} --set KEY=VALUE` starts another run with a setting changed"
    if code == REFUSED:
        return f"The run {run.id} cannot be trained with its settings: {clone_hint}."
    if run.last_checkpoint() is None:
        return f"The run {run.id} made no checkpoint: fix the cause and use `dailies resume {run.id}`, or {clone_hint}."
    return f"The run {run.id} is not finished (exit code {code}): `dailies resume {run.id}` continues it."


def train(run: Run, resources: Resources) -> int | None:
    """Train in a new process, or in this one when a launcher started it.

    Return the exit code; None: interrupted.
    """
    if is_launched():
        from engine.training.main import run_training  # imports torch

        return run_training(run)
    try:
        argv = torchrun_command(command(run), resources)
        return subprocess.run(argv, check=False, env=process_environment(run.workspace)).returncode
    except KeyboardInterrupt:
        return None


def queue_run(run: Run, options: argparse.Namespace) -> None:
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        job = submit_run(JobQueue(library), run, resources_of(options))
        ensure_worker(library.workspace)
    sentence = f"Job {job.id} is queued for run {run.id}. `dailies jobs show {job.id}` shows its progress."
    print_result(options, job.to_dict(), sentence)


def read_changes(pairs: list[str]) -> dict[str, Any]:
    """Parse `settings.max_steps=3`, or `max_steps=3` in short, to `{"settings": {"max_steps": 3}}`.

    A key that is none of a preset's is a setting. Raises ConfigError, see `read_setting`.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, value = read_setting(pair)
        table = changes
        *parents, key = name.split(".")
        if not parents and key not in TrainPreset.model_fields:
            parents = ["settings"]
        for parent in parents:
            table = table.setdefault(parent, {})
        table[key] = value
    return changes
