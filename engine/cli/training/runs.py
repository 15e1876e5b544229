"""`dailies runs`: list, train, resume, extend, evaluate, export and clone runs.

Every verb but `ls` and `export-tensorboard` is also a command: `dailies runs train` is `dailies train`.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import closing

from engine.cli.commands import command_help
from engine.cli.jobs import open_queue, print_job
from engine.cli.options.adapters import scales_of
from engine.cli.options.shared import add_shared_options, shared_options
from engine.cli.results.evaluate import build_evaluate
from engine.cli.results.export import build_export
from engine.cli.results.tensorboard import build_export_tensorboard
from engine.cli.terminal.output import print_json, print_table
from engine.cli.training.train import (
    add_queue,
    add_start,
    build_resume,
    build_train,
    execute,
    initial_adapter,
    read_changes,
)
from engine.errors import StoreError
from engine.jobs.runs.run_actions import clone_preset, extend, last_fallback
from engine.jobs.worker_control import reconcile_and_ensure_worker
from engine.runs.run import Run, list_runs
from engine.storage.library import Library
from engine.training.run_creation import create_run
from engine.workspace import Workspace


def build_runs(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = verbs.add_parser("ls", parents=[shared_options()], help="list runs, newest first")
    listing.set_defaults(run=show_runs)
    for name, build in RUN_COMMANDS.items():
        build(verbs.add_parser(name, help=command_help(name)))
    build_export_tensorboard(verbs.add_parser("export-tensorboard", help="export a run's metrics for TensorBoard"))


def build_extend(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    parser.add_argument("steps", type=int, metavar="UPDATES", help="number of additional updates, such as 1000")
    parser.set_defaults(run=extend_run)


def build_clone(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting, as in `dailies train`"
    )
    add_start(parser)
    add_queue(parser)
    parser.set_defaults(run=clone_run)


RUN_COMMANDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "train": build_train,
    "resume": build_resume,
    "extend": build_extend,
    "evaluate": build_evaluate,
    "export": build_export,
    "clone": build_clone,
}


def show_runs(options: argparse.Namespace) -> None:
    rows, problems, notes = [], dict[str, list[str]](), dict[str, str]()
    for run in list_runs(Workspace.from_env(options.workspace)):
        step, of = run.progress()
        state = "finished" if run.adapter.is_dir() else "not finished"
        if damage := run.problems():
            problems[run.id] = damage
            state = f"{state}, damaged"
        if note := last_fallback(run):
            notes[run.id] = note
        rows.append((run.id, title_of(run), state, f"{step}/{of}"))
    if options.json:
        facts = [dict(zip(("run", "title", "state", "step"), row, strict=True)) for row in rows]
        print_json(
            [{**row, "problems": problems.get(row["run"], []), "note": notes.get(row["run"], "")} for row in facts]
        )
        return
    print_table(("run", "preset", "state", "step"), rows)
    for run_id in dict.fromkeys([*problems, *notes]):
        print(f"{run_id}: {' '.join([*problems.get(run_id, []), notes.get(run_id, '')]).strip()}", file=sys.stderr)


def title_of(run: Run) -> str:
    """Return the title of a run's preset, or a dash when its settings cannot be read."""
    try:
        return run.preset().title
    except StoreError:
        return "-"


def extend_run(options: argparse.Namespace) -> None:
    queue = open_queue(options)
    job = extend(queue, options.run_id, options.steps)
    reconcile_and_ensure_worker(queue)
    print_job(job, options)


def clone_run(options: argparse.Namespace) -> None:
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        preset = clone_preset(Run.find(library.workspace, options.run_id), read_changes(options.set))
        with initial_adapter(options, library.workspace, preset.model) as initial:
            run = create_run(library, preset, initial, start_scales=scales_of(options, "start"))
    execute(run, options, is_new=True)
