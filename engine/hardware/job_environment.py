"""Environment recorded with a job, which a worker needs in order to run it.

Paths are made absolute when the job is submitted, since the worker starts in another folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from engine.errors import ConfigError
from engine.storage.database import absolute_url
from rewards.external.server_table import SECRET_WORDS

PATHS = ("DAILIES_PRESETS", "DAILIES_WEIGHTS")
DATABASE = "DAILIES_DATABASE_URL"
# Variables that change the result of a job, or where it runs.
RECORDED = (
    *PATHS,
    "DAILIES_DEVICE",
    "DAILIES_REWARD_DEVICE",
    "DAILIES_ALLOW_DOWNLOAD",
    "DAILIES_TF32",
    "DAILIES_TRACKIO",
    "DAILIES_SLURM",
)


def absolute_paths(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that hold a path or database URL, made absolute.

    Raises ConfigError for a bad path.
    """
    paths = {name: _absolute(name, environment[name]) for name in PATHS if environment.get(name)}
    if environment.get(DATABASE):
        paths[DATABASE] = absolute_url(environment[DATABASE]).render_as_string(hide_password=False)
    return paths


def is_secret(name: str, value: str | None) -> bool:
    """Return True for a variable that is never written into a file nor given to a cluster.

    Its name has one of SECRET_WORDS, or it is the URL of a database server, which may have a password.
    """
    if name == DATABASE:
        return not (value or "").startswith("sqlite")
    return any(word in name.lower() for word in SECRET_WORDS)


def recorded_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the recorded variables that are set in `environment`, by default this process's.

    Raises ConfigError for a bad path.
    """
    environment = os.environ if environment is None else environment
    variables = {name: environment[name] for name in RECORDED if environment.get(name)}
    return {**variables, **{name: path for name, path in absolute_paths(environment).items() if name in RECORDED}}


def changes_to(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the changes that set every recorded variable as in `environment`; None unsets a variable."""
    return {name: environment.get(name) for name in RECORDED}


def difference(job: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """Describe the differences between two environments: "DAILIES_DEVICE=cpu (the worker: not set)"."""
    names = [name for name in RECORDED if job.get(name) != worker.get(name)]
    return ", ".join(f"{name}={job.get(name, '')} (the worker: {worker.get(name) or 'not set'})" for name in names)


def _absolute(name: str, path: str) -> str:
    try:
        return os.path.abspath(Path(path).expanduser())
    except (RuntimeError, ValueError) as error:  # no home folder for `~`; a NUL
        raise ConfigError(f"{name}={path[:80]!r} is not a usable path: {error}.") from error
