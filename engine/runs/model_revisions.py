"""The hub revisions that a run was trained on: `revisions.json` in its folder. Imports no torch.

{"owner/name": "<commit>"}, empty for a model in a folder. It is recorded because the revision in the model's preset may
be a moving branch, or missing.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from engine.errors import TrainingError
from engine.files.atomic import write_text_atomic
from engine.runs.run import Run

REVISIONS_FILE = "revisions.json"


def revisions_of(run: Run) -> dict[str, str]:
    """Return the recorded revisions; {} when they cannot be read."""
    try:
        revisions = json.loads(_file(run).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(commit) for name, commit in revisions.items()} if isinstance(revisions, dict) else {}


def record_revisions(run: Run, present: Mapping[str, str]) -> None:
    """Record the revisions of the run's model.

    Raises TrainingError when the run began with another revision of a repository: its adapter would fit neither.
    """
    recorded = revisions_of(run)
    for name, commit in present.items():
        if recorded.get(name, commit) != commit:
            raise TrainingError(
                f"The run {run.id} was trained on revision {recorded[name]} of {name}, but {commit} would be loaded "
                f"now: set `revision` of the model's preset to {recorded[name]}, or start another run."
            )
    if recorded != {**recorded, **present} or not _file(run).is_file():
        write_text_atomic(_file(run), json.dumps({**recorded, **present}, indent=2) + "\n")


def _file(run: Run) -> Path:
    return run.folder / REVISIONS_FILE
