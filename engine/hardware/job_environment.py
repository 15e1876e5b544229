"""The environment that a job is filed under, and that a worker must have to run it.

Paths are made absolute where the job is filed: the worker starts in another folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from engine.errors import ConfigError
from engine.storage.database import absolute_url

PATHS = ("DAILIES_PRESETS", "DAILIES_WEIGHTS")
DATABASE = "DAILIES_DATABASE_URL"
# What changes what a job does, or where.
RECORDED = (
    *PATHS,
    "DAILIES_DEVICE",
    "DAILIES_REWARD_DEVICE",
    "DAILIES_ALLOW_DOWNLOAD",
    "DAILIES_TF32",
    "DAILIES_TRACKIO",
    "DAILIES_SLURM",
)


def absolute_paths(given: Mapping[str, str]) -> dict[str, str]:
    """Those variables of `given` that name a place, by whole paths. Raises ConfigError for a path that cannot be."""
    found = {name: _absolute(name, given[name]) for name in PATHS if given.get(name)}
    if given.get(DATABASE):
        found[DATABASE] = absolute_url(given[DATABASE]).render_as_string(hide_password=False)
    return found


def filed_under(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The recorded variables that are set, of this process or of the environment `given`. Raises ConfigError."""
    given = os.environ if given is None else given
    found = {name: given[name] for name in RECORDED if given.get(name)}
    return {**found, **{name: path for name, path in absolute_paths(given).items() if name in RECORDED}}


def changes_to(environment: Mapping[str, str]) -> dict[str, str | None]:
    """What gives a process this environment: every recorded variable, None for one that must not be set."""
    return {name: environment.get(name) for name in RECORDED}


def difference(job: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """In what a job's environment differs from the worker's: "DAILIES_DEVICE=cpu (the worker: not set)"."""
    names = [name for name in RECORDED if job.get(name) != worker.get(name)]
    return ", ".join(f"{name}={job.get(name, '')} (the worker: {worker.get(name) or 'not set'})" for name in names)


def _absolute(name: str, path: str) -> str:
    try:
        return os.path.abspath(Path(path).expanduser())
    except (RuntimeError, ValueError) as error:  # no home folder for `~`; a NUL
        raise ConfigError(f"{name}={path[:80]!r} is no path that can be used: {error}.") from error
