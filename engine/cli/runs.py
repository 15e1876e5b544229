"""`dailies extend` and `dailies clone`: more of a run, and another one with its settings."""

import argparse
from typing import Any

from engine.cli.train import add_queue, add_start, execute, read_changes, start_of


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    longer = commands.add_parser("extend", parents=[shared], help="queue more updates for a run, finished or stopped")
    longer.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    longer.add_argument("steps", type=int, metavar="UPDATES", help="how many more, such as 1000")
    longer.set_defaults(run=extend)
    copy = commands.add_parser("clone", parents=[shared], help="start another run with a run's settings")
    copy.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    copy.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting, as in `dailies train`"
    )
    add_start(copy)
    add_queue(copy)
    copy.set_defaults(run=clone)


def extend(options: argparse.Namespace) -> None:
    from engine.cli.jobs import open_queue, print_job
    from engine.jobs.handlers import run_actions
    from engine.jobs.worker_control import reconcile_and_ensure_worker

    opened = open_queue(options)
    job = run_actions.extend(opened, options.run_id, options.steps)
    reconcile_and_ensure_worker(opened)
    print_job(job, options)


def clone(options: argparse.Namespace) -> None:
    from engine.jobs.handlers.run_actions import clone_preset
    from engine.labelling.run_dataset import create_run
    from engine.runs.run import Run
    from engine.storage.library import Library
    from engine.workspace import Workspace

    store = Library(Workspace.from_env(options.workspace))
    try:
        preset = clone_preset(Run.find(store.workspace, options.run_id), read_changes(options.set))
        run = create_run(store, preset, start_of(options, store.workspace, preset.model))
    finally:
        store.close()
    execute(run, options, is_new=True)
