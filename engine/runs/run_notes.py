"""Name, tags and notes that people give to a run, in `notes.json` of its folder."""

import re
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from engine.errors import ConfigError
from engine.files.atomic import write_text_atomic
from engine.runs.run import Run
from engine.workspace import Workspace, is_name
from rewards.models import FrozenModel

MOST_TAGS = 12
OF_RUN = re.compile(r"(.+?)(?:-to-\d+|@\d+)?")  # an adapter or a checkpoint, named after its run


class RunNotes(FrozenModel):
    """Name ("": the run's id), tags and notes of a run.

    At most 80 characters, `MOST_TAGS` tags of 40, and 2000 characters.
    """

    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = ""
    tags: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)], ...] = Field(
        default=(), max_length=MOST_TAGS
    )
    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] = ""


def read_notes(run: Run) -> RunNotes:
    """Return a run's name and tags; none if the file is missing or damaged."""
    try:
        return RunNotes.model_validate_json(run.notes_file.read_bytes())
    except (OSError, ValueError):
        return RunNotes()


def name_of(run: Run) -> str:
    """Return the name of a run, else its id."""
    return read_notes(run).name or run.id


def adapter_title(workspace: Workspace, adapter: str) -> str:
    """Return "name (adapter)" for an adapter or a checkpoint of a run with a name.

    Others keep their own name.
    """
    match = OF_RUN.fullmatch(adapter)
    run = match[1] if match else ""
    name = read_notes(Run(workspace.runs / run)).name if is_name(run) else ""
    return f"{name} ({adapter})" if name else adapter


def write_notes(run: Run, name: str, tags: list[str], text: str = "") -> RunNotes:
    """Store a run's name, tags (each once) and notes.

    Raises ConfigError if one is too long or there are too many.
    """
    try:
        notes = RunNotes(name=name, tags=tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip())), text=text)
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        value = {"name": name, "text": text}.get(str(field), ", ".join(tags))
        raise ConfigError(
            "A run has a name of at most 80 characters, notes of at most 2000, and "
            f"at most {MOST_TAGS} tags of at most 40, but got {field} = {value[:100]!r}: shorten it."
        ) from error
    write_text_atomic(run.notes_file, notes.model_dump_json())
    return notes
