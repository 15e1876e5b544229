"""Which revisions of the hub's repositories a run was trained on: `revisions.json` in its folder. Imports no torch.

{"owner/name": "<commit>"}, empty for a model in a folder. The run's preset names the model's preset, whose revision may
be a branch that moves, or none at all.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from engine.errors import TrainingError
from engine.files.atomic import write_text_atomic
from engine.runs.run import Run

REVISIONS_FILE = "revisions.json"


def revisions_of(run: Run) -> dict[str, str]:
    """What was recorded; nothing where that cannot be read."""
    try:
        found = json.loads(_file(run).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(commit) for name, commit in found.items()} if isinstance(found, dict) else {}


def record_revisions(run: Run, present: Mapping[str, str]) -> None:
    """Record the revisions that the run is trained on from now on.

    Raises TrainingError when it began with another revision of the same repository: its adapter would be of neither.
    """
    known = revisions_of(run)
    for name, commit in present.items():
        if known.get(name, commit) != commit:
            raise TrainingError(
                f"The run {run.id} was trained on revision {known[name]} of {name}, but {commit} would be loaded now: "
                f"set `revision` of the model's preset to {known[name]}, or start another run."
            )
    if known != {**known, **present} or not _file(run).is_file():
        write_text_atomic(_file(run), json.dumps({**known, **present}, indent=2) + "\n")


def _file(run: Run) -> Path:
    return run.folder / REVISIONS_FILE
