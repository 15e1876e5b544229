"""Texts of the Monitor tab."""

from collections.abc import Mapping
from typing import Any

from app.text.general import count
from app.text.system import TABLE_WORDS

MONITOR = "Monitor"
NO_RUNS = ("No runs yet", "Runs started in Train or with `dailies train` appear here.")
STATES = {"running": "training", "queued": "queued", "done": "finished", "stopped": "not finished"}
CURVES_WORDS: dict[str, Any] = {
    "runs": "Runs",
    "runs_hint": "Tick runs to overlay and compare them; click one to see its samples and evaluation.",
    "search": "Search runs",
    "nothing": "No run matches.",
    "columns": {
        "name": "Name",
        "tags": "Tags",
        "state": "Status",
        "where": "Step",
        "algorithm": "Algorithm",
        "model": "Model",
        "changed": "Changed settings",
        "reward": "Last reward",
        "duration": "Duration",
    },
    "draw": "Draw {run}",
    "edit": "Name, tags and notes of {run}",
    "notes": "Notes",
    "group": "Group by",
    "no_group": "none",
    "without": "none",
    "delete": "Delete",
    "delete_hint": "Delete the ticked runs. Their adapters stay; the deletion can be undone for 7 days",
    "deleted": "Deleted: {runs}.",
    "undo": "Undo",
    "views": {
        "label": "Views",
        "curves": "Curves",
        "samples": "Samples",
        "evaluation": "Evaluation",
        "alarms": "Alarms",
        "curriculum": "Curriculum",
    },
    "no_alarms": "No alarm in the ticked runs.",
    "find_metric": "Find a metric",
    "clips": "Clips",
    "clips_hint": "Clips, or pairs, that one process has trained on",
    "log": "Log axis",
    "log_hint": "Logarithmic values; values that are not above 0 are left out",
    "larger": "Enlarge the plot",
    "axes": {"step": "step", "time": "minutes", "clips": "clips"},
    "tags_hint": "Tags, separated by commas",
    "save": "Save",
    "cancel": "Cancel",
    "compare": "Compare settings",
    "compare_hint": "Settings in which the ticked runs differ",
    "same": "These runs have the same settings.",
    "setting": "Setting",
    "close": "Close",
    "all": "All",
    "none": "None",
    "smoothing": "Smoothing",
    "axis": "Axis",
    "step": "Step",
    "time": "Time",
    "reading": "Reading {left} MB of metrics",
    "waiting": "No metrics yet.",
    "pick": "Select at least one run.",
    "closed": ["optimiser", "memory", "other"],
    "alarm": "Alarm at step {step} of {run}: {sentence}",
}
GROUPS = {
    "trained": "Training rewards",
    "held_out": "Held-out rewards, motion, diversity and drift",
    "monitor": "Standard metrics on the run's samples",
    "samples_held_out": "Held-out rewards of the samples",
    "samples": "Training rewards of the samples (same prompts and seeds)",
    "loss": "Loss and KL",
    "policy": "Ratios, clipping and groups",
    "optimiser": "Gradient norm and learning rate",
    "pace": "Time per phase (s)",
    "memory": "Memory (GiB)",
    "other": "Other",
}
METRICS = {
    "reward": "Total reward",
    "reward_std": "Reward std",
    "frac_reward_zero_std": "Zero-variance groups (fraction)",
    "loss": "Loss",
    "kl": "KL to the initial model",
    "ratio/spread": "Largest |log ratio|",
    "clip_ratio": "Clipped ratios (fraction)",
    "grad_norm": "Gradient norm",
    "learning_rate": "Learning rate",
    "rollout/staleness": "Age of the rollouts' weights (updates)",
    "time/rollout": "Rollout",
    "time/decode": "Decoding",
    "time/score": "Waiting for scores",
    "time/update": "Update per batch",
    "time/step": "Full step",
    "memory/process": "Process",
    "memory/allocated": "Device, peak allocated",
    "memory/reserved": "Device, peak reserved",
    "memory/device": "Device, in use",
    "rewards/chosen": "Chosen",
    "rewards/rejected": "Rejected",
    "rewards/margins": "Margin",
    "rewards/accuracies": "Accuracy",
    "samples/total": "Total",
    "monitor/t_lpips": "Temporal LPIPS ↓",
    "monitor/fvd_lite": "FVD-lite ↓",
    "monitor/clip_vid": "CLIP-VID ↑",
    "monitor/seam": "Seam consistency ↑",
    "monitor/identity_drift": "Identity drift ↓",
    "monitor/loopiness": "Loopiness ↓",
    "samples/held_out/total": "Total",
    "awm/ratio": "Ratio of the likelihoods",
    "awm/clipped": "Share of clipped ratios",
    "error/data": "Error on the given clips",
    "nft/positive": "Loss of the positive policy",
    "nft/negative": "Loss of the negative policy",
}
SAMPLES = "Checkpoint samples"
SAMPLES_WORDS = {
    "prompt": "Prompt",
    "checkpoint": "Checkpoint",
    "earlier": "Earlier checkpoint",
    "later": "Later checkpoint",
    "use": "Use this adapter",
    "use_hint": "Generate clips with the adapter of this run",
    "now": "Sample now",
    "now_hint": "Generated after the current step; for a run that is not training, by a job.",
    "asked": "Requested: the clips follow after the current step.",
    "empty": "No samples yet: the base model is sampled first, then each checkpoint.",
    "off": "This run has no samples (sample_clips is 0).",
}
BASE = "Base"
FINDINGS = "Evaluation against the base model"
FINDINGS_WORDS = {
    "title": FINDINGS,
    "measure": "Evaluate",
    "compared": "After training, and change, of the ticked runs",
    "measure_hint": "Queues a job: clips of held-out prompts by the base model (or teacher) and by this run",
    "measuring": "Evaluating: {line}",
    "not_measured": "The evaluation ended without a result: {line}",
}
FINDINGS_EMPTY = "Not evaluated yet. An evaluation covers all rewards, the standard metrics and, for mini, the judge."
FINDINGS_LATER = "Nothing to evaluate yet: the run has no checkpoint with an adapter."
FINDINGS_COLUMNS = ["Measure", "Role", "Before", "After", "Change (95% CI)", "Verdict"]
ROLES = {"judge": "judge", "trained": "trained on", "held_out": "held out", "monitor": "metric"}
VERDICTS = {"better": "better", "worse": "worse", "unsure": "not significant"}
TOTALS = {"mix": "Total of the mix", "judge": "Judge"}
STAGES_WORDS = {
    "resume": "Resume",
    "resume_hint": "This curriculum was interrupted: continue from its last state",
    "abandon": "Abandon",
    "abandon_hint": "It cannot be resumed then; its runs stay",
    **TABLE_WORDS,
}
STAGE_STATES = {"done": "passed", "now": "running", "later": "pending", "failed": "not passed"}
TRACKIO = "Open in Trackio"


def step(number: int | None) -> str:
    """Label of a sample set on the slider."""
    return BASE if number is None else f"Step {number}"


def download(name: str) -> str:
    return f"Download {name}"


def evaluation(step: int, prompts: int, takes: int, frames: int) -> str:
    """Size of an evaluation."""
    size = f"{count(prompts, 'prompt')} x {count(takes, 'clip')} of {count(frames, 'frame')}"
    return f"After {count(step, 'update')}: {size}, same noise for both models."


def metric(name: str, rewards: Mapping[str, str]) -> str:
    """Display name of a metric, e.g. "Flow smoothness std" for "rewards/flow_smoothness/std".

    `rewards` are the titles of the rewards by key.
    """
    if name in METRICS:
        return METRICS[name]
    prefixes = ("rewards", "samples", "watch", "held_out", "mean", "time", "memory")
    parts = (part for part in name.split("/") if part not in prefixes)
    title = " ".join(rewards.get(part, part.replace("_", " ")) for part in parts)
    return title[:1].upper() + title[1:]


def interval(mean: float, low: float, high: float, of: int) -> str:
    return f"{mean:.3f} ({low:.3f} to {high:.3f}, {count(of, 'prompt')})"


def damaged(lines: int) -> str:
    """Remark on a run whose metrics cannot all be read."""
    return f"({lines:,} damaged lines skipped)" if lines != 1 else "(1 damaged line skipped)"
