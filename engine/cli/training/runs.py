"""`dailies runs`: list, show, train, resume, extend, evaluate, export and clone runs.

Every verb but `ls`, `show` and `export-tensorboard` is also a command: `dailies runs train` is `dailies train`.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

from engine.cli.commands import command_help
from engine.cli.jobs import open_queue, print_job
from engine.cli.options.adapters import scales_of
from engine.cli.options.devices import resources_of
from engine.cli.options.shared import add_settings, add_shared_options, shared_options
from engine.cli.results.evaluate import build_evaluate
from engine.cli.results.export import build_export
from engine.cli.results.tensorboard import build_export_tensorboard
from engine.cli.terminal.output import decimal, print_json, print_table
from engine.cli.training.preflight import print_verdicts
from engine.cli.training.train import (
    add_queue,
    add_start,
    build_resume,
    build_train,
    execute,
    initial_adapter,
    offer_downloads,
    read_changes,
)
from engine.jobs.handlers.preflight import read_verdicts
from engine.jobs.runs.run_actions import RunState, clone_preset, extend, run_state, run_states
from engine.jobs.worker_control import reconcile_and_ensure_worker
from engine.runs.run import Run
from engine.storage.library import Library
from engine.training.run_creation import create_run
from engine.workspace import Workspace


def build_runs(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = verbs.add_parser("ls", parents=[shared_options()], help="list runs, newest first")
    listing.set_defaults(run=list_states)
    showing = verbs.add_parser("show", parents=[shared_options()], help="show a run's state, and why it failed")
    showing.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    showing.set_defaults(run=show_run)
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
    add_settings(parser)
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


def list_states(options: argparse.Namespace) -> None:
    """Print all runs with their states, and remarks on damaged ones on stderr."""
    queue = open_queue(options)
    with closing(queue.store):
        states = run_states(queue, sys.maxsize)
    facts = [to_dict(state) for state in states]
    if options.json:
        print_json(facts)
        return
    columns = ("run", "title", "state", "step")
    rows = [(*(one[name] for name in columns), decimal(one["reward"])) for one in facts]
    print_table(("run", "preset", "state", "step", "reward"), rows)
    for one in facts:
        if sentences := " ".join(filter(None, (*one["problems"], one["note"]))):
            print(f"{one['run']}: {sentences}", file=sys.stderr)


def to_dict(state: RunState) -> dict[str, Any]:
    """Return the facts of a run; `problem` is why it failed, `problems` are its damaged files."""
    return {
        "run": state.run.id,
        "title": title_of(state),
        "state": state.state,
        "step": steps_of(state),
        "reward": state.run.last_value("reward"),
        "problem": state.problem,
        "problems": state.run.problems(),
        "note": state.note,
    }


def steps_of(state: RunState) -> str:
    """Return the updates done of how many, also of a run whose settings are damaged."""
    step, of = state.run.progress() if state.preset is None else (state.step, state.of)
    return f"{step}/{of}"


def title_of(state: RunState) -> str:
    """Return the title of a run's preset, or a dash when its settings cannot be read."""
    return state.preset.title if state.preset is not None else "-"


def show_run(options: argparse.Namespace) -> None:
    """Print a run's state, the reason of a failure, and its preflight checks that did not pass."""
    queue = open_queue(options)
    with closing(queue.store):
        state = run_state(queue, options.run_id)
    verdicts = [asdict(check) for check in read_verdicts(state.run)]
    if options.json:
        print_json({**to_dict(state), "folder": str(state.run.folder), "preflight": verdicts})
        return
    told = {"run": state.run.id, "preset": title_of(state), "state": state.state, "step": steps_of(state)}
    told |= {"reward": decimal(state.run.last_value("reward")), "folder": str(state.run.folder)}
    told |= {"problem": state.problem or " ".join(state.run.problems()), "note": state.note}
    for name, value in told.items():
        if value:
            print(f"{name}: {value}")
    failed = [verdict for verdict in verdicts if verdict["level"] != "ok"]
    if failed:
        print_verdicts(failed)
    if state.can_resume:
        print(f"`dailies resume {state.run.id}` continues it.")


def extend_run(options: argparse.Namespace) -> None:
    queue = open_queue(options)
    job = extend(queue, options.run_id, options.steps)
    reconcile_and_ensure_worker(queue)
    print_job(job, options)


def clone_run(options: argparse.Namespace) -> None:
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        preset = clone_preset(Run.find(library.workspace, options.run_id), read_changes(options.set))
        offer_downloads(preset, resources_of(options))
        with initial_adapter(options, library.workspace, preset.model) as initial:
            run = create_run(library, preset, initial, start_scales=scales_of(options, "start"))
    execute(run, options, is_new=True)
