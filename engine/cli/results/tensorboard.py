"""`dailies runs export-tensorboard`: a run's metrics as TensorBoard event files."""

import argparse
import importlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.cli.options.shared import add_shared_options
from engine.cli.terminal.output import print_result
from engine.errors import ConfigError
from engine.runs.run import Run
from engine.workspace import Workspace

NOT_PLOTTED = ("step", "at", "of")
WRITERS = ("torch.utils.tensorboard", "tensorboardX")


def build_export_tensorboard(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    parser.add_argument("--out", metavar="DIR", help="folder to write to (default: tensorboard/RUN in the workspace)")
    parser.set_defaults(run=export_run)


def export_run(options: argparse.Namespace) -> None:
    workspace = Workspace.from_env(options.workspace)
    run = Run.find(workspace, options.run_id)
    folder = Path(options.out) if options.out else workspace.tensorboard / run.id
    written = write_events(run, folder)
    sentence = f"{written:,} values of {run.id} are in {folder}. Show them with `tensorboard --logdir {folder.parent}`."
    print_result(options, {"run": run.id, "folder": str(folder), "values": written}, sentence)


def write_events(run: Run, folder: Path) -> int:
    """Write every metric with its step and time; return the number of values.

    Raises ConfigError without a writer.
    """
    rows = run.metrics()
    writer = open_writer(folder)
    values = 0
    for row in rows:
        for name, value in row.items():
            if name not in NOT_PLOTTED:
                writer.add_scalar(name, value, int(row["step"]), walltime=row.get("at"))
                values += 1
    writer.close()
    return values


def open_writer(folder: Path) -> Any:
    """Return PyTorch's writer, or tensorboardX's.

    Raises ConfigError with the install command when neither is found.
    """
    for library in WRITERS:
        with suppress(ImportError):
            return importlib.import_module(library).SummaryWriter(str(folder))
    raise ConfigError(
        "No installed library writes TensorBoard's files: `pip install tensorboard`, or tensorboardX, and try again."
    )
