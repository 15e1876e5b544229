"""Texts of lists of prompts and of sweeps in the Generate form."""

from collections.abc import Sequence

from app.text import general
from app.text.numbers import about

KINDS = [("One prompt", "one"), ("Prompt list", "list"), ("Sweep", "sweep")]
PROMPTS = "Prompts, one a line"
PROMPTS_HINT = "a red ball moving right over a meadow\na blue star bouncing at night"
LOAD_FILE = "Load a file (txt, csv, jsonl)"
AXES = [
    ("Guidance", "guidance"),
    ("Seed", "seed"),
    ("Steps", "steps"),
    ("Strength", "strength"),
    ("Checkpoint", "checkpoint"),
    ("Prompt", "prompt"),
]
TITLES = {key: title for title, key in AXES}
NOUNS = {"guidance": "guidance value", "strength": "strength", "steps": "number of steps"}  # others are their titles
NO_AXIS = "None"
AXIS_LABELS = {"columns": "Columns", "rows": "Rows"}
VALUES = "Values"
EXAMPLES = {
    "guidance": "1, 3, 5",
    "seed": "1, 2",
    "steps": "8, 20",
    "strength": "0.5, 1",
    "checkpoint": "base, run@8",
    "prompt": "a red ball | a blue star",
}
NO_PROMPTS = "Enter a prompt in each line, or load a file."


def line(number: int) -> str:
    return f"Prompts, line {number}"


def no_json(place: str) -> str:
    return f"{place}: a line that begins with {{ must be a JSON object, as in a .jsonl file of prompts."


def too_many(clips: int, limit: int) -> str:
    return f"{clips:,} clips are more than the {limit:,} of one job: shorten the list, or lower the variations."


def unknown(words: Sequence[str]) -> str:
    return f"The model does not know these words and ignores them: {', '.join(words)}."


def oversized(width: int, height: int, times: float) -> str:
    """Warning about a clip that is much larger than those that the model was made for."""
    return (
        f"{width} x {height} px is {times:,.0f} times the area that this model is made for: a clip takes at least as "
        "many times longer, may not fit into memory, and often looks worse."
    )


def shape(axes: Sequence[tuple[str, int]]) -> str:
    """Describe the axes of a batch, e.g. "3 guidance values x 2 seeds"."""
    return " x ".join(general.count(number, NOUNS.get(name, TITLES.get(name, name).lower())) for name, number in axes)


def forecast(clips: int, of: str, seconds: float | None) -> str:
    """Describe clips before they are queued: their number, and the time that they take.

    `of` is the shape of a list or a sweep, "" for one prompt.
    """
    if seconds is None:
        time = "no timing data of this model yet"
    elif seconds <= 0:
        time = "all of them exist already"
    else:
        time = f"{about(seconds)}, estimated from earlier jobs of this model"
    return f"{general.count(clips, 'clip')}{f' ({of})' if of else ''}: {time}."
