"""`dailies train`, `dailies resume`, `dailies runs ls`: the same process that a job starts, in the foreground."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.cli import export
from engine.cli.device_options import add_where, read_where, refuse_elsewhere
from engine.cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.execution.resources import Resources
    from engine.runs.run import Run
    from engine.workspace import Workspace


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    train = commands.add_parser(
        "train",
        parents=[shared],
        help="train an adapter by a recipe",
        description="Start a run of a training preset. Ctrl-C ends it after its step, with a checkpoint; `dailies "
        "resume` goes on. When it is finished its adapter can be chosen in Generate.",
    )
    train.add_argument("preset", help="see `dailies presets ls train`")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the preset (`mix=motion`) or of its settings (`settings.max_steps=100`)",
    )
    add_start(train)
    add_queue(train)
    train.set_defaults(run=start)
    resume = commands.add_parser("resume", parents=[shared], help="go on with a run from its last checkpoint")
    resume.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    add_queue(resume)
    resume.set_defaults(run=go_on)
    runs = commands.add_parser("runs", help="the runs of the workspace")
    listing = runs.add_subparsers(required=True, metavar="COMMAND")
    ls = listing.add_parser("ls", parents=[shared], help="list them, the newest first")
    ls.set_defaults(run=show_runs)
    export.add_command(listing, shared)


def add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", metavar="ADAPTER", help="begin with this adapter instead of the model as it is")


def add_queue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", action="store_true", help="file a job for the worker instead of running it here")
    where = add_where(parser, "ranks, which torchrun starts")
    where.add_argument("--actors", type=int, metavar="N", help="make and score the clips of GRPO and NFT (Ray only)")


def start(options: argparse.Namespace) -> None:
    from engine.config.presets import load_train_preset
    from engine.labelling.run_dataset import create_run
    from engine.storage.library import Library
    from engine.training.distributed.process_group import on_rank_zero
    from engine.workspace import Workspace

    preset = load_train_preset(options.preset, read_changes(options.set))

    def create() -> "Run":
        store = Library(Workspace.from_env(options.workspace))
        try:
            return create_run(store, preset, start_of(options, store.workspace, preset.model))
        finally:
            store.close()

    with among_several(options):
        execute(on_rank_zero(create), options, is_new=True)


def start_of(options: argparse.Namespace, workspace: "Workspace", model: str) -> "Path | None":
    """The folder of the adapter to begin with. Raises ConfigError when the model has no such adapter."""
    from engine.runs.adapters import find_adapter

    return find_adapter(workspace, options.start, model).folder if options.start else None


def go_on(options: argparse.Namespace) -> None:
    from engine.runs.run import Run
    from engine.workspace import Workspace

    with among_several(options):
        execute(Run.find(Workspace.from_env(options.workspace), options.run_id), options)


@contextmanager
def among_several(options: argparse.Namespace) -> "Iterator[None]":
    """Under `accelerate launch` or torchrun this process is one of those that train; otherwise nothing."""
    from engine.errors import ConfigError
    from engine.hardware.environment import process_changes
    from engine.training.distributed.process_group import is_launched, process_group
    from engine.workspace import Workspace

    if is_launched():
        if options.queue:
            raise ConfigError(
                "--queue leaves the training to a worker, so there is nothing to launch: use one of them."
            )
        for name, value in process_changes(Workspace.from_env(options.workspace)).items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}
    with process_group():
        yield


def execute(run: "Run", options: argparse.Namespace, *, is_new: bool = False) -> None:
    """Queue the run, or train here and then publish its adapter. One that `is_new` is removed where its settings cannot
    work: nothing would ever come of it."""
    from engine.errors import TrainingError
    from engine.jobs.handlers.train import publish
    from engine.training.distributed.process_group import is_first
    from engine.workspace import Workspace

    if options.queue:
        queue(run, options)
        return
    code = train(run, refuse_elsewhere(read_where(options)))
    if code != 0 and not is_first():
        sys.exit(code)
    if code != 0:
        raise TrainingError(_unfinished(run, code, is_new=is_new))
    if not is_first():
        return
    name = publish(run, Workspace.from_env(options.workspace))
    if options.json:
        print_json({"run": run.id, "folder": str(run.folder), "adapter": name, "metrics": run.metrics()})
    elif name is None:
        print(f"Run {run.id} is finished. It trained the whole network, which is in {run.adapter}.")
    else:
        print(f"Run {run.id} is finished. `dailies generate PROMPT --adapter {name}` uses what it learned.")


def _unfinished(run: "Run", code: int | None, *, is_new: bool) -> str:
    """What to do with a run whose process ended before the run did, and said why."""
    from engine.jobs.handlers.train import REFUSED

    if code == REFUSED and is_new:
        shutil.rmtree(run.folder, ignore_errors=True)
        return "The run was not started, and nothing of it is kept: correct the setting, and start it again."
    again = f"`dailies clone {run.id} --set KEY=VALUE` starts another run with a setting changed"
    if code == REFUSED:
        return f"The run {run.id} cannot be trained with its settings: {again}."
    if run.last_checkpoint() is None:
        return f"The run {run.id} made no checkpoint: mend the cause and `dailies resume {run.id}`, or {again}."
    return f"The run {run.id} is not finished (exit code {code}): `dailies resume {run.id}` goes on."


def train(run: "Run", where: "Resources") -> int | None:
    """The exit code of a process of its own, or of this one among those that a launcher started; None: interrupted."""
    from engine.execution.process_runner import torchrun_command
    from engine.hardware.environment import process_environment
    from engine.jobs.handlers.train_process import command
    from engine.training.distributed.process_group import is_launched

    if is_launched():
        from engine.training.main import run_training

        return run_training(run)
    try:
        argv = torchrun_command(command(run), where)
        return subprocess.run(argv, check=False, env=process_environment(run.workspace)).returncode
    except KeyboardInterrupt:
        return None


def queue(run: "Run", options: argparse.Namespace) -> None:
    from engine.jobs.handlers.run_actions import submit_run
    from engine.jobs.queue import JobQueue
    from engine.jobs.worker_control import ensure_worker
    from engine.storage.library import Library
    from engine.workspace import Workspace

    store = Library(Workspace.from_env(options.workspace))
    try:
        job = submit_run(JobQueue(store), run, read_where(options))
        ensure_worker(store.workspace)
    finally:
        store.close()
    if options.json:
        print_json(job.to_dict())
    else:
        print(f"Job {job.id} is queued for run {run.id}. `dailies jobs show {job.id}` tells where it is.")


def show_runs(options: argparse.Namespace) -> None:
    from engine.jobs.handlers.run_actions import last_fallback
    from engine.runs.run import list_runs
    from engine.workspace import Workspace

    rows, problems, notes = [], dict[str, list[str]](), dict[str, str]()
    for run in list_runs(Workspace.from_env(options.workspace)):
        step, of = run.progress()
        state = "finished" if run.adapter.is_dir() else "not finished"
        if found := run.problems():
            problems[run.id] = found
            state = f"{state}, damaged"
        if note := last_fallback(run):
            notes[run.id] = note
        rows.append((run.id, title_of(run), state, f"{step}/{of}"))
    if options.json:
        named = [dict(zip(("run", "title", "state", "step"), row, strict=True)) for row in rows]
        print_json(
            [{**row, "problems": problems.get(row["run"], []), "note": notes.get(row["run"], "")} for row in named]
        )
        return
    print_table(("run", "recipe", "state", "step"), rows)
    for run_id in dict.fromkeys([*problems, *notes]):
        print(f"{run_id}: {' '.join([*problems.get(run_id, []), notes.get(run_id, '')]).strip()}", file=sys.stderr)


def title_of(run: "Run") -> str:
    """Of a run's recipe; a dash where its settings cannot be read."""
    from engine.errors import StoreError

    try:
        return run.preset().title
    except StoreError:
        return "-"


def read_changes(pairs: list[str]) -> dict[str, Any]:
    """`settings.max_steps=3` to `{"settings": {"max_steps": 3}}`; a value is JSON, or else a text."""
    from engine.errors import ConfigError

    changes: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set takes KEY=VALUE, but got '{pair}'.")
        place = changes
        *above, last = name.split(".")
        for part in above:
            place = place.setdefault(part, {})
        place[last] = _value(text)
    return changes


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
