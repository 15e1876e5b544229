"""`PreflightCheck`, the result of a check before a run, and the table of all checks. Imports no torch."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Level = Literal["ok", "unknown", "warning", "stop"]


class CheckText(NamedTuple):
    """Label of a check on the page and in the documentation, and what it compares."""

    label: str
    compares: str


CHECKS = {
    "memory": CheckText("Memory", "the estimated peak memory with the device's"),
    "clip_length": CheckText("Clip length", "`num_frames` with the longest clip that the model was made for"),
    "train_fps": CheckText("Training frame rate", "`fps` with the frame rate of Generate"),
    "frames": CheckText("Number of frames", "`num_frames` with the lengths that the family can make"),
    "alpha": CheckText("LoRA alpha", "`lora_alpha` with that of the adapter that the run continues"),
    "updates": CheckText("Critic updates", "`max_steps` with the updates that change the exported weights (`dmd`)"),
    "pictures": CheckText("Conditioning images", "the images of the data with the clips' size"),
    "pairs": CheckText("Preference pairs", "the model's errors on chosen and on rejected clips"),
    "beta": CheckText("Strength of the loss", "beta times the typical gap of a pair with the useful range"),
    "resampled": CheckText("Resampled clips", "the frame rates of the data with the model's"),
    "clips": CheckText("Shape of the clips", "frames and size of the data with the settings"),
    "labels": CheckText("Good and bad clips", "the numbers and weights of good and bad clips (`kto`)"),
    "checkpoints": CheckText("Checkpoints", "`save_steps` with the updates on one batch of clips"),
    "student": CheckText("Student and teacher", "the pulls to the model before training, for a distilled model"),
    "noise": CheckText("Noise of SDE steps", "the noise that each SDE step adds with its level"),
    "excess_noise": CheckText("Excess noise", "the noise that the last SDE step leaves in a clip with its level"),
    "rewards": CheckText("Rewards", "each reward: installed, and applies to the clips of the first batch"),
    "groups": CheckText("Groups with equal rewards", "the rewards of the clips of each group with each other"),
    "motion": CheckText("Reward of static clips", "the rewards of slow and of fast clips of the same prompt"),
    "latents": CheckText("Latents", "the scale of the latents with that of deterministic sampling"),
    "fps": CheckText("Frame rate of scored clips", "the frame rate at which clips are made with that of scoring"),
    "tiling": CheckText("Tiled decoding", "the decoding of rollouts with that of Generate"),
    "replay": CheckText("Replay of log-probabilities", "log-probabilities of the update with the rollout's (`grpo`)"),
    "clip_range": CheckText("Clip range", "`epsilon` with the ratios after one update (`grpo`)"),
}
"""Every check by the name in `PreflightCheck` and `preflight.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightCheck:
    """Result of a check: its name in `CHECKS`, its level, and one sentence with the measured value.

    The level is "unknown" where the data are too few to tell.

    `outside`: the cause of a "stop" is not in the run's fixed settings, so the run can be resumed once it is gone.
    """

    name: str
    level: Level
    sentence: str
    outside: bool = False
