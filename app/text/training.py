"""The words of the Train tab."""

from app.text.system import TABLE_WORDS

TRAIN = "Train"
FORM_WORDS = {
    "form": "A new run",
    "recipe": "Recipe",
    "from_run": "Settings of run {run}",
    "curricula": "Curricula",
    "stages": "Stages, each behind its gate",
    "gate": "Moves on when",
    "model": "Model",
    "adapter": "Start from",
    "no_adapter": "The model as it is",
    "prompts": "Prompts",
    "pairs": "Pairs of clips",
    "pairs_file": "A folder or file, named below",
    "pairs_path": "Folder or file of pairs",
    "no_campaigns": "No campaign yet: a folder or file, named below",
    "mix": "Rewards",
    "rewards": "They count",
    "parts": "each on its own",
    "total": "as one total",
    "main": "Settings",
    "more": "All settings",
    "changed": "{count} changed",
    "find": "Find a setting",
    "reset": "Back to {value}, the recipe's",
    "default": "{value} by default ({source})",
    "recipes": "{value} in the recipe",
    "empty": "the model's own",
    "none": "none",
    "memory": "Memory",
    "time": "Time",
    "share": "Device",
    "share_hint": "What the run holds of the device: with less than all of it, other runs and clips go on beside it.",
    "check": "Check first",
    "checking": "Checking: a batch is made and scored, nothing is trained.",
    "checked": "What was looked at",
    "command": "Show command",
    "command_hint": "The same run from a shell",
    "copy": "Copy",
    "save": "Save as recipe",
    "save_name": "Name of the recipe",
    "keep": "Save",
    "queue": "Queue this run",
    "source": "From",
    "measured": "Measured",
    "unreachable": "The page's server does not answer. Trying again; nothing is lost.",
    "not_opened": "The page's server does not answer, so the recipe stays as it was: choose again.",
    "checked_before": "Looked at before the last change.",
    "groups": {
        "clip": "Clip",
        "length": "Length and seed",
        "batch": "Batches",
        "optimiser": "Optimiser",
        "weights": "Trained weights",
        "algorithm": "Algorithm",
        "keeping": "Checkpoints and logs",
        "samples": "Samples on the way",
    },
    "levels": {"ok": "Good", "warning": "Look at this", "stop": "Stops the run"},
}
BOARD_WORDS = {
    "queue": "Queue",
    "queue_empty": "Nothing waits or runs.",
    "pause": "Pause",
    "resume_queue": "Go on",
    "paused": "The queue is paused: what runs goes on, nothing further starts.",
    "cancel_pending": "Cancel what waits",
    "cancel_pending_hint": "What waits leaves the queue; runs among it stay, not started",
    "cancel_others": "Cancel all but the current",
    "cancel_others_hint": "What waits leaves the queue, and what runs beside the oldest is stopped",
    "really": TABLE_WORDS["really"],
    "no": TABLE_WORDS["no"],
    "up": "Earlier",
    "down": "Later",
    "cancel": "Cancel",
    "priority": "Priority",
    "stop": "Stop",
    "stop_hint": "Ends after this step, with a checkpoint",
    "kill": "Kill",
    "kill_job_hint": "Ends at once what gives no sign of life; the next job starts a new worker",
    "kill_hint": "Ends at once; what came after the last checkpoint is lost",
    "runs": "Runs",
    "runs_empty": "No run yet",
    "runs_empty_hint": "Choose a recipe on the left and queue it. Runs stay here, also when the page is closed.",
    "resume": "Resume",
    "extend": "Extend",
    "extend_by": "Updates more",
    "use": "Use this adapter",
    "use_hint": "Generate with what this run trained",
    "watch": "Watch",
    "clone": "Use its settings",
    "log": "Log",
    "log_find": "Find in the log",
    "log_empty": "Nothing yet.",
    "log_part": "The last {shown} of {size}",
    "verdicts": "Preflight",
    "close": "Close",
    "unreachable": FORM_WORDS["unreachable"],
}
STATES = {
    "new": "Not started",
    "queued": "Queued",
    "training": "Training",
    "stopping": "Stopping",
    "stopped": "Stopped",
    "failed": "Failed",
    "lost": "Lost",
    "finished": "Finished",
}
OUTSIDE = "Not by the queue: a curriculum trains it, or somebody in a shell."
KINDS = {
    "generate": "Generate",
    "score": "Score",
    "score_folder": "Score a folder",
    "overlays": "Overlays",
    "train": "Train",
    "preflight": "Check",
    "curriculum": "Curriculum",
    "evaluate": "Evaluate",
    "samples": "Samples",
    "keyframes": "Keyframes",
}
TRAIN_KIND = "train"
PRIORITIES = {"high": "High", "normal": "Normal", "low": "Low"}
SHARES = {"": "All of it", "0.5": "Half", "0.33": "A third", "0.25": "A quarter"}
VERDICTS = {"fits": "fits", "tight": "is tight", "no": "does not fit"}
PHASES = {"update": "the update", "rollout": "making the clips", "decode": "decoding"}
NO_FORECAST = "Not known for this model: its preset says nothing of its size."
NO_TIME = "Not known: no run of this model has told its pace here yet."
HELD = "Waits: the queue is paused, in Train"
NO_LENGTH = "Not known: max_steps is not set."


def kind(key: str) -> str:
    return KINDS.get(key, key.replace("_", " ").capitalize())


def gib(value: float) -> str:
    if value < 0.95:
        return f"{1024 * value:.0f} MiB"
    return f"{value:.1f} GiB" if value < 100 else f"{value:.0f} GiB"


def memory(low: float, high: float, total: float, verdict: str, busiest: str) -> str:
    """What a run needs against what is there."""
    needed = gib(high) if gib(low) == gib(high) else f"{gib(low)} to {gib(high)}"
    return f"{needed} of {gib(total)}: {VERDICTS[verdict]}. Most of it for {PHASES[busiest]}."


def advice(setting: str, value: str, peak: float, verdict: str) -> str:
    return f"With {setting} = {value}: about {gib(peak)}, which {VERDICTS[verdict]}."


def time(seconds: float, runs: int, *, at_most: bool) -> str:
    """How long a run takes, and how that is known."""
    source = f"{runs} run{'' if runs == 1 else 's'} of this model here"
    if at_most:
        return f"At most {duration(seconds)}: reckoned from {source} that made far smaller updates."
    return f"{duration(seconds).capitalize()}, from {source}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h" if seconds < 172_800 else f"about {seconds / 86_400:.1f} days"


SAVED_NOTES = "not measured: saved from the page"


def filed(run: str, position: int | None) -> str:
    return f"Run {run} is queued{f', number {position}' if position and position > 1 else ''}."


def filed_curriculum(name: str, position: int | None) -> str:
    place = f", number {position}" if position and position > 1 else ""
    return f"Curriculum {name} is queued{place}. The Monitor shows its stages and gates."


def stage(recipe: str, frames: object, updates: object) -> str:
    return ", ".join([recipe, *([f"{frames} frames"] if frames else []), *([f"{updates} updates"] if updates else [])])


def most_of(name: str, sentence: str) -> str:
    return f"Most in the stage '{name}': {sentence}"


def time_of_stages(seconds: float) -> str:
    return f"{duration(seconds).capitalize()} for its updates; the gates' clips and further attempts come on top."


def saved(name: str) -> str:
    return f"Saved as {name}."


def holding(key: str, title: str) -> str:
    return f"run {title}" if key == TRAIN_KIND else f"{kind(key).lower()}: {title}"


def behind(what: str, step: int, of: int, *, first: bool) -> str:
    """Why a job waits for the device."""
    where = f" (step {step} of {of})" if of else ""
    return f"Waits: {what}{where} has the device. {'This goes first when it ends.' if first else ''}".rstrip()


def other_environment(difference: str) -> str:
    """Why a job waits for the worker to be free: it was filed under other settings."""
    return f"Waits until the worker has no other job: it was filed with {difference}"


def more_waiting(number: int) -> str:
    return f"And {number:,} more that wait." if number else ""


def cancelled(number: int) -> str:
    return f"Cancelled {number:,} job{'' if number == 1 else 's'}."


def size(number: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number //= 1024
    return f"{number:.0f} GiB"
