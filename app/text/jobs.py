"""Texts of the queue in the header, and of the line of a tab that shows its job."""

from collections.abc import Sequence

from app.text.general import count
from app.text.numbers import duration
from app.text.system import TABLE_WORDS

QUEUE_WORDS = {
    "queue": "Queue",
    "idle": "Queue",
    "running": "{count} running",
    "waiting": "{count} queued",
    "is_paused": "paused",
    "away": "No connection",
    "unread": "{count} failed since you last looked",
    "close": "Close",
    "empty": "The queue is empty.",
    "pause": "Pause",
    "resume": "Resume queue",
    "paused": "The queue is paused: running jobs continue, queued jobs do not start.",
    "cancel_pending": "Clear pending",
    "cancel_pending_hint": "Removes all queued jobs. Their runs are kept, not started",
    "cancel_others": "Cancel all but the current",
    "cancel_others_hint": "Removes all queued jobs and stops all running jobs but the oldest",
    "really": TABLE_WORDS["really"],
    "no": TABLE_WORDS["no"],
    "up": "Move up",
    "down": "Move down",
    "priority": "Priority",
    "cancel": "Cancel",
    "kill": "Kill",
    "kill_hint": "Ends the job now; a run loses its progress since the last checkpoint",
    "retry": "Retry",
    "resume_run": "Resume",
    "clone": "Clone settings",
    "log": "Log",
    "no_lines": "The log is empty.",
    "history": "History",
    "history_empty": "No job has ended yet.",
    "all": "All",
    "bad": "Failed",
    "filter": "Show",
    "older": "Show older",
    "alarms": "Alarms",
    "watch": "Open in Monitor",
    "done": "done",
}
LINE_WORDS = {
    "job": "Current job",
    **{name: QUEUE_WORDS[name] for name in ("cancel", "kill", "kill_hint", "really", "no", "clone")},
    "open": "Details",
    "dismiss": "Dismiss",
    "more": "+{count} more",
    "preview": "Preview",
    "preview_hint": "Shows the clips while they are denoised, or the player",
    "preview_of": "Preview of {title}",
}
STATES = {
    "queued": "Queued",
    "running": "Running",
    "stopping": "Stopping",
    "done": "Finished",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "lost": "Lost",
}
PHASES = {
    "start": "Starting",
    "wait": "Waiting for cluster resources",
    "load": "Loading the model",
    "encode": "Encoding the prompt",
    "denoise": "Denoising",
    "decode": "Decoding",
    "save": "Saving",
    "score": "Scoring",
    "import": "Reading the video",
    "overlays": "Drawing overlays",
    "judge": "Judging pairs",
    "train": "Training",
    "preflight": "Running preflight checks",
    "before": "Generating with the base model",
    "after": "Generating with the run's adapter",
    "samples": "Generating samples",
    "pairs": "Generating pairs",
    "inspect": "Running PyTorch checks",
    "download": "Downloading",
}
DOWNLOAD = "download"  # its steps are MB
JOB_ENDS = {
    "failed": "Failed.",
    "cancelled": "Cancelled.",
    "lost": "The worker was interrupted. Clips that were finished before are in the Library.",
}


def phase(key: str, step: int, of: int) -> str:
    """Phase of a running job, e.g. "Denoising, step 3 of 20"."""
    title = PHASES.get(key, key.capitalize() or PHASES["start"])
    if key == DOWNLOAD:
        return f"{title}, {step / 1000:.1f} of {of / 1000:.1f} GB" if of else title
    return f"{title}, step {step} of {of}" if of > 1 else title


def clips_of_campaign(title: str, clips: int) -> str:
    return f"Campaign {title}: {count(clips, 'clip')}"


def ready(titles: Sequence[str]) -> str:
    """Line about jobs that ended while another clip was looked at."""
    return f"Ready: {'; '.join(titles)}"


def stopped(step: int, of: int) -> str:
    return f"Stopped at {step} / {of}"


def silent(moment: str) -> str:
    return f"No heartbeat since {moment}: the job hangs or was suspended. Kill ends it."


def took(seconds: float) -> str:
    return f"took {duration(seconds)}"
