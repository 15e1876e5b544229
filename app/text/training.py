"""Texts of the Train tab."""

from app.text.general import count as counted
from app.text.numbers import about, gib
from app.text.system import TABLE_WORDS
from engine.training.preflight.preflight_check import CHECKS

TRAIN = "Train"
CHECK_LABELS = {name: check.label for name, check in CHECKS.items()}
FORM_WORDS = {
    "form": "A new run",
    "loading": "Loading the presets…",
    "preset": "Preset",
    "from_run": "Settings of run {run}",
    "curricula": "Curricula",
    "stages": "Stages and gates",
    "gate": "Advance when",
    "model": "Model",
    "adapter": "Initialize from",
    "no_adapter": "Base model",
    "prompts": "Prompts",
    "pairs": "Preference data",
    "judge": "AI labeller",
    "no_judge": "None",
    "judge_agreement": "Least agreement with people",
    "pairs_file": "Folder or file (enter below)",
    "pairs_path": "Folder or file of pairs",
    "no_campaigns": "No campaign yet: folder or file (enter below)",
    "mix": "Rewards",
    "rewards": "Reward aggregation",
    "parts": "per reward",
    "total": "weighted total",
    "main": "Settings",
    "more": "All settings",
    "changed": "{count} changed",
    "find": "Find a setting",
    "reset": "Reset to {value} (preset)",
    "default": "Default: {value} ({source})",
    "preset_value": "Preset: {value}",
    "range": "Range: {range}.",
    "empty": "model default",
    "none": "none",
    "memory": "Memory",
    "time": "Time",
    "share": "GPU share",
    "check": "Run preflight",
    "checking": "Running preflight: one batch is generated and scored, nothing is trained.",
    "checked": "Preflight checks",
    "command": "Show command",
    "command_hint": "Shell command for the same run",
    "copy": "Copy",
    "save": "Save as preset",
    "save_name": "Preset name",
    "keep": "Save",
    "queue": "Queue this run",
    "run_name": "Run name (optional)",
    "source": "Source",
    "measured": "Measured",
    "details": "Source and measurements",
    "data": "Data",
    "open_models": "Open Models",
    "not_opened": "The server is not responding, so the preset was not changed: choose again.",
    "checked_before": "Checked before the last change.",
    "groups": {
        "clip": "Clip",
        "length": "Length and seed",
        "batch": "Batches",
        "optimiser": "Optimiser",
        "weights": "Trained weights",
        "algorithm": "Algorithm",
        "keeping": "Checkpoints and logs",
        "samples": "Samples during training",
    },
    "check_heads": {"check": "Check", "result": "Result", "detail": "Detail"},
    "levels": {"ok": "Passed", "unknown": "Not checked", "warning": "Warning", "stop": "Error"},
    "checks": CHECK_LABELS,
}
BOARD_WORDS = {
    "really": TABLE_WORDS["really"],
    "no": TABLE_WORDS["no"],
    "stop": "Stop",
    "stop_hint": "Stops after the current step and saves a checkpoint",
    "kill": "Kill",
    "kill_hint": "Ends the run immediately; progress since the last checkpoint is lost",
    "runs": "Runs",
    "runs_empty": "No run yet",
    "runs_empty_hint": "Choose a preset on the left and queue a run. Runs are kept when the page is closed.",
    "resume": "Resume",
    "extend": "Extend",
    "extend_by": "Additional updates",
    "updates": "updates",
    "use": "Use this adapter",
    "use_hint": "Generate clips with the adapter of this run",
    "watch": "Open in Monitor",
    "clone": "Clone settings",
    "log": "Log",
    "log_find": "Find in the log",
    "log_empty": "The log is empty.",
    "log_part": "The last {shown} of {size}",
    **{name: FORM_WORDS[name] for name in ("check_heads", "levels", "checks")},
    "close": "Close",
}
STATES = {
    "new": "Not started",
    "queued": "Queued",
    "training": "Training",
    "stopping": "Stopping",
    "stopped": "Stopped",
    "failed": "Failed",
    "refused": "Refused",
    "killed": "Killed",
    "lost": "Lost",
    "finished": "Finished",
}
OUTSIDE = "Not started from the queue: trained by a curriculum or from a shell."
KINDS = {
    "generate": "Generate",
    "score": "Score",
    "score_folder": "Score a folder",
    "overlays": "Overlays",
    "train": "Train",
    "preflight": "Preflight",
    "curriculum": "Curriculum",
    "evaluate": "Evaluate",
    "samples": "Samples",
    "keyframes": "Keyframes",
    "judge": "AI labeller",
    "weights": "Download weights",
    "model": "Download a model",
    "inspect": "PyTorch checks",
}
TRAIN_KIND = "train"
PRIORITIES = {"high": "High", "normal": "Normal", "low": "Low"}
SHARES = {"": "100%", "0.5": "50%", "0.33": "33%", "0.25": "25%"}
VERDICTS = {"fits": "fits", "tight": "is tight", "too_large": "does not fit"}
PHASES = {"update": "the update", "rollout": "clip generation", "decode": "decoding", "text": "the encoding of prompts"}
NO_FORECAST = "Unknown: the preset of this model does not give its size."
NO_TIME = "Unknown: no finished run of this model on this machine yet."
HELD = "Waiting: the queue is paused"
NO_LENGTH = "Unknown: max_steps is not set."


CURRICULUM_DOES = "Trains several presets one after another; each starts when the gate of the one before it is passed."


def mistakes(count: int) -> str:
    return f"{count} {'setting is' if count == 1 else 'settings are'} invalid: see the marked fields."


def not_a_divisor(group: int, clips: int) -> str:
    return f"num_generations = {group} does not divide the {clips} clips of a rollout: change it, or the batch."


def no_data(path: str) -> str:
    return f"There is no folder or file {path}: choose a campaign, enter another one, or use `dailies datasets get`."


def prompts(count: int) -> str:
    return counted(count, "prompt")


def few_prompts(count: int, needed: int) -> str:
    return f"A rollout takes {needed:,} prompts, but there are {count:,}: choose more prompts, or a smaller batch."


def rollout(count: int, clips: int, group: int, updates: int) -> str:
    """Data of a run that generates its own clips."""
    each = f"{clips:,} clips per update in groups of {group:,}"
    return f"{prompts(count)}; {each}; an epoch has {counted(updates, 'update')}"


def pairs(count: int, judged: int, votes: int, batch: int, updates: int) -> str:
    """Data of a run on a campaign's votes."""
    source = f"{counted(count, 'preferred pair')} of {judged:,} voted on ({counted(votes, 'vote')})"
    size = f"{batch:,} per update; an epoch has {counted(updates, 'update')}"
    return f"{source}; {size}{'. A batch is larger than the data.' if batch > count else ''}"


def kind(key: str) -> str:
    return KINDS.get(key, key.replace("_", " ").capitalize())


def memory(low: float, high: float, total: float, verdict: str, busiest: str) -> str:
    """Estimated peak memory of a run, compared with the device."""
    needed = gib(high) if gib(low) == gib(high) else f"{gib(low)} to {gib(high)}"
    return f"{needed} of {gib(total)}: {VERDICTS[verdict]}. Peak during {PHASES[busiest]}."


def advice(setting: str, value: str, peak: float, verdict: str) -> str:
    return f"With {setting} = {value}: about {gib(peak)}, which {VERDICTS[verdict]}."


def time(seconds: float, runs: int, *, at_most: bool) -> str:
    """Estimated duration of a run, and the runs that it is estimated from."""
    source = f"{counted(runs, 'run')} of this model on this machine"
    if at_most:
        return f"At most {about(seconds)}, extrapolated from {source} with much smaller updates."
    return f"{about(seconds).capitalize()}, estimated from {source}"


SAVED_NOTES = "not measured: saved from the page"


def submitted(run: str, position: int | None) -> str:
    return f"Run {run} is queued{f', number {position}' if position and position > 1 else ''}."


def filed_curriculum(name: str, position: int | None) -> str:
    place = f", number {position}" if position and position > 1 else ""
    return f"Curriculum {name} is queued{place}. The Monitor shows its stages and gates."


def stage(preset: str, frames: object, updates: object) -> str:
    sizes = ((frames, "frame"), (updates, "update"))
    return ", ".join([preset, *(f"{size} {noun}{'' if size == 1 else 's'}" for size, noun in sizes if size)])


def blocked_stage(name: str, reason: str) -> str:
    return f"Stage '{name}' cannot run here. {reason}"


def most_of(name: str, sentence: str) -> str:
    return f"Largest in stage '{name}': {sentence}"


def time_of_stages(seconds: float) -> str:
    return f"{about(seconds).capitalize()} for the updates, without clips for the gates and repeated attempts."


def saved(name: str) -> str:
    return f"Saved as {name}."


def holding(key: str, title: str) -> str:
    return f"run {title}" if key == TRAIN_KIND else f"{kind(key).lower()}: {title}"


def behind(what: str, step: int, of: int, *, first: bool) -> str:
    """Reason that a job waits for the device."""
    where = f" (step {step} of {of})" if of else ""
    return f"Waiting: {what}{where} uses the device. {'This job is next.' if first else ''}".rstrip()


def other_environment(difference: str) -> str:
    """Reason that a job waits for an idle worker: it was queued under another environment."""
    return f"Waiting until the worker has no other job: it was queued with {difference}"


def more_waiting(number: int) -> str:
    return f"And {number:,} more queued." if number else ""


def cancelled(number: int) -> str:
    return f"Cancelled {counted(number, 'job')}."


BAD_SHARE = "The least agreement must be a number from 0 to 1, such as 0.7, but got '{got}'."
