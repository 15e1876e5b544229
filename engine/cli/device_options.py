"""`--runner`, `--processes`, `--gpus`, `--cpus`, `--actors`: where a job's processes run, and what each is given."""

import argparse
from typing import TYPE_CHECKING

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.execution.resources import Resources

NAMES = ("runner", "processes", "gpus", "cpus", "actors")


def add_where(parser: argparse.ArgumentParser, processes: str) -> "argparse._ArgumentGroup":
    """`processes` says what they are for this command."""
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--runner", choices=("local", "ray", "slurm"), help="this machine (default), a Ray cluster, or Slurm"
    )
    group.add_argument("--processes", type=int, metavar="N", help=f"{processes} (default: 1)")
    group.add_argument(
        "--gpus",
        type=float,
        metavar="N",
        help="GPUs for each: a cluster's (default: 0), or this machine's, as 0.5 for half of one (default: by the job)",
    )
    group.add_argument("--cpus", type=float, metavar="N", help="cores that a cluster sets aside for each (default: 1)")
    return group


def read_where(options: argparse.Namespace) -> "Resources | None":
    """None when nothing was said. Raises ConfigError in one sentence."""
    from engine.execution.resources import read_resources

    given = {name: getattr(options, name, None) for name in NAMES}
    given = {name: value for name, value in given.items() if value is not None}
    return read_resources(given) if given else None


def refuse_elsewhere(where: "Resources | None") -> "Resources":
    """For a run in the foreground: what another machine trains, the worker has to watch."""
    from engine.execution.resources import Resources

    if where is not None and not where.is_local:
        raise ConfigError(f"--runner {where.runner} needs --queue: the worker watches what runs on a cluster.")
    return where or Resources()
