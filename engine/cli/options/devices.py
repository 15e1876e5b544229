"""Options for the processes of a job: `--runner`, `--processes`, `--gpus`, `--cpus`, `--actors`."""

import argparse

from engine.errors import ConfigError
from engine.execution.resources import Resources, read_resources

NAMES = ("runner", "processes", "gpus", "cpus", "actors")


def add_resource_options(parser: argparse.ArgumentParser, processes: str) -> argparse._ArgumentGroup:
    """Add the options as a group, and return it. `processes` is the help text of `--processes`."""
    group = parser.add_argument_group("resources")
    group.add_argument(
        "--runner", choices=("local", "ray", "slurm"), help="runner: this machine (default), a Ray cluster, or Slurm"
    )
    group.add_argument("--processes", type=int, metavar="N", help=f"{processes} (default: 1)")
    group.add_argument(
        "--gpus",
        type=float,
        metavar="N",
        help="GPUs per process, such as 0.5 (default: 0 on a cluster, by the kind of job on this machine)",
    )
    group.add_argument("--cpus", type=float, metavar="N", help="CPU cores per process on a cluster (default: 1)")
    return group


def resources_of(options: argparse.Namespace) -> Resources | None:
    """Return the resources that the options set, or None when none is set. Raises ConfigError."""
    values = {name: getattr(options, name, None) for name in NAMES}
    values = {name: value for name, value in values.items() if value is not None}
    return read_resources(values) if values else None


def require_local(resources: Resources | None) -> Resources:
    """Return the resources of a run in the foreground.

    Raises ConfigError for a cluster, which needs the worker.
    """
    if resources is not None and not resources.is_local:
        raise ConfigError(f"--runner {resources.runner} needs --queue: the worker monitors jobs on a cluster.")
    return resources or Resources()
