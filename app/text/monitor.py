"""The words of the Monitor tab."""

from typing import Any

MONITOR = "Monitor"
NO_RUNS = ("No runs yet", "A run that is started in Train or by `dailies train` appears here while it trains.")
STATES = {"running": "training", "queued": "queued", "done": "finished", "stopped": "not finished"}
CURVES_WORDS: dict[str, Any] = {
    "runs": "Runs",
    "runs_hint": "Tick those to overlay; choose one to see its samples.",
    "all": "All",
    "none": "None",
    "smoothing": "Smoothing",
    "axis": "Axis",
    "step": "Step",
    "time": "Time",
    "reading": "Reading {left} MB of metrics",
    "alarms": "Alarms",
    "unreachable": "The page's server does not answer. Trying again; nothing is lost.",
    "waiting": "No metrics yet.",
    "pick": "Choose at least one run.",
    "at_step": "step {step}",
    "closed": ["optimiser", "memory", "other"],
    "alarm": "Alarm at step {step} of {run}: {sentence}",
}
GROUPS = {
    "trained": "Rewards that are trained on",
    "held_out": "Held-out rewards, motion, variety and drift",
    "monitor": "The six metrics of every run, on its samples",
    "samples_held_out": "Rewards of the samples that are not trained on",
    "samples": "Rewards of the samples that are trained on (same prompts and seeds)",
    "loss": "Loss and KL",
    "policy": "Ratios, clipping and groups",
    "optimiser": "Gradient norm and learning rate",
    "pace": "Seconds by phase",
    "memory": "Memory, GiB",
    "other": "Other",
}
METRICS = {
    "reward": "Reward, all together",
    "reward_std": "Spread of the reward",
    "frac_reward_zero_std": "Groups that teach nothing, share",
    "loss": "Loss",
    "kl": "KL to the model before training",
    "ratio/spread": "Ratio spread, largest |log ratio|",
    "clip_ratio": "Clipped ratios, share",
    "grad_norm": "Gradient norm",
    "learning_rate": "Learning rate",
    "time/rollout": "Rollout",
    "time/decode": "Decoding",
    "time/score": "Scoring",
    "time/update": "Update, a batch",
    "time/step": "Whole step",
    "memory/process": "Process",
    "memory/allocated": "Device, allocated at most",
    "memory/reserved": "Device, reserved at most",
    "memory/device": "Device, in use",
    "rewards/chosen": "Chosen",
    "rewards/rejected": "Rejected",
    "rewards/margins": "Margin",
    "rewards/accuracies": "Accuracy",
    "samples/total": "Total",
    "monitor/t_lpips": "Temporal LPIPS ↓",
    "monitor/fvd_lite": "FVD-lite ↓",
    "monitor/clip_vid": "CLIP-Vid ↑",
    "monitor/seam": "Seam consistency ↑",
    "monitor/identity_drift": "Identity drift ↓",
    "monitor/loopiness": "Loopiness ↓",
    "samples/held_out/total": "Total",
    "nft/positive": "Loss of the positive policy",
    "nft/negative": "Loss of the negative policy",
}
SAMPLES = "Same prompts, same seeds, at every checkpoint"
SAMPLES_WORDS = {
    "prompt": "Prompt",
    "checkpoint": "Checkpoint",
    "earlier": "Earlier checkpoint",
    "later": "Later checkpoint",
    "use": "Use this adapter",
    "use_hint": "Generate with what this run trained",
    "now": "Sample now",
    "now_hint": "After the step that it is in; of a run that is over, by a job.",
    "asked": "Asked for: the clips come after the step that the run is in.",
    "empty": "No samples yet: the base model's clips come first, then those of each checkpoint.",
    "off": "This run makes no samples (sample_clips is 0).",
}
BASE = "Base"
FINDINGS = "What it changed, measured"
FINDINGS_WORDS = {
    "title": FINDINGS,
    "measure": "Measure",
    "measure_hint": "By a job: clips of prompts not trained on, by the base model (or teacher) and by this run",
}
FINDINGS_EMPTY = "Not measured yet. Every reward, trained on or held out, the six metrics and, for mini, the judge."
FINDINGS_LATER = "There is nothing to measure yet: the run has no checkpoint with an adapter."
FINDINGS_COLUMNS = ["Measure", "Role", "Before", "After", "Change, 95 % interval", "Verdict"]
ROLES = {"judge": "judge", "trained": "trained on", "held_out": "held out", "monitor": "metric"}
VERDICTS = {"better": "better", "worse": "worse", "unsure": "within the noise"}
TOTALS = {"mix": "Total of the mix", "judge": "Judge"}
STAGES_WORDS = {
    "stages": "Curriculum",
    "of": "{stage} of {stages}",
    "resume": "Resume",
    "resume_hint": "Nobody drives it now: go on from where it was cut off",
    "unreachable": CURVES_WORDS["unreachable"],
}
STAGE_STATES = {"done": "passed", "now": "under way", "later": "to come", "failed": "not passed"}
TRACKIO = "Open in Trackio"
TRACKIO_OFF = "Trackio's store holds no run yet."


def step(number: int | None) -> str:
    """What a sample set is called on the slider."""
    return BASE if number is None else f"Step {number}"


def download(name: str) -> str:
    return f"Download {name}"


def evaluation(step: int, prompts: int, takes: int, frames: int) -> str:
    """What an evaluation is of."""
    return f"After {step} updates: {prompts} prompts x {takes} takes of {frames} frames, the same noise on both sides."


def samples_job(run: str) -> str:
    return f"Samples of {run}"


def metric(name: str) -> str:
    """A metric's name as people read it."""
    if name in METRICS:
        return METRICS[name]
    words = name.split("/")
    known = [
        word for word in words if word not in ("rewards", "samples", "watch", "held_out", "mean", "time", "memory")
    ]
    spread = "" if words[-1] != "std" else "Spread of "
    plain = " ".join(word for word in known if word != "std").replace("_", " ")
    return f"{spread}{plain}" if spread else plain[:1].upper() + plain[1:]


def interval(mean: float, low: float, high: float, of: int) -> str:
    return f"{mean:.3f} ({low:.3f} to {high:.3f}, {of} prompts)"


def damaged(lines: int) -> str:
    """Beside a run of which not all metrics can be read."""
    return f"({lines:,} damaged lines left out)" if lines != 1 else "(1 damaged line left out)"
