"""`dailies export`: write a run's adapter with its metadata."""

import argparse

from engine.cli.options.export import add_export_options, new_export
from engine.cli.options.shared import add_shared_options
from engine.cli.terminal.output import print_result
from engine.errors import ConfigError
from engine.runs.run import Run
from engine.workspace import Workspace


def build_export(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    add_export_options(parser)
    parser.set_defaults(run=export_run)


def export_run(options: argparse.Namespace) -> None:
    run = Run.find(Workspace.from_env(options.workspace), options.run_id)
    weights = run.weights()
    if weights is None:
        raise ConfigError(f"The run {run.id} has no weights yet: wait for its first checkpoint.")
    with new_export(options.folder):
        files = run.export(options.folder, options.format)
    facts = {"run": run.id, "folder": str(options.folder), "files": files, "finished": weights == run.adapter}
    print_result(options, facts, f"{options.folder} holds {', '.join(files)}.")
