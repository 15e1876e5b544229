"""The training algorithms. Imports no torch.

Each has its trainer, the class of its settings, and the kind of its data.

To add an algorithm, add a line here, its loss (`engine/algorithms`), its settings, its trainer, and its network passes
per update (`engine.estimation.run_estimate`). Form, documentation and command line read its settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Data = Literal["pairs", "ratings", "captions", "rewards", "prompts"]
CLIP_DATA: tuple[Data, ...] = ("pairs", "ratings", "captions")
"""Data that are clips: of a file or folder, or of a campaign's votes."""
SETTINGS = "engine.training.trainer_settings:"
CLIP_SETTINGS = "engine.training.clip_settings:"
TRAINERS = "engine.training.trainers."


@dataclass(frozen=True, slots=True)
class Algorithm:
    """`trainer` and `settings` are "module:NAME" of the classes.

    `data`: "pairs" of a preferred and a rejected clip, "ratings" of single clips, clips with "captions", "rewards" of
    the policy's own clips, or a teacher's clips of "prompts".
    """

    trainer: str
    settings: str
    data: Data


ALGORITHMS: Mapping[str, Algorithm] = {
    "dpo": Algorithm(f"{TRAINERS}dpo:VideoDPOTrainer", f"{SETTINGS}VideoDPOConfig", "pairs"),
    "kto": Algorithm(f"{TRAINERS}kto:VideoKTOTrainer", f"{CLIP_SETTINGS}VideoKTOConfig", "ratings"),
    "sft": Algorithm(f"{TRAINERS}sft:VideoSFTTrainer", f"{CLIP_SETTINGS}VideoSFTConfig", "captions"),
    "grpo": Algorithm(f"{TRAINERS}grpo:VideoGRPOTrainer", f"{SETTINGS}VideoGRPOConfig", "rewards"),
    "nft": Algorithm(f"{TRAINERS}nft:VideoNFTTrainer", f"{SETTINGS}VideoNFTConfig", "rewards"),
    "awm": Algorithm(f"{TRAINERS}awm:VideoAWMTrainer", f"{SETTINGS}VideoAWMConfig", "rewards"),
    "distill": Algorithm(f"{TRAINERS}distill:VideoDistillTrainer", f"{SETTINGS}VideoDistillConfig", "prompts"),
}
