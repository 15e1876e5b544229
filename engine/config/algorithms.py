"""The training algorithms. Imports no torch.

To add an algorithm, write its loss (`engine/algorithms`), its settings, its trainer and the cost of its updates
(`engine.estimation.update_costs`), and name them here. Form, documentation, command line and estimates read this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import ConfigError

Data = Literal["pairs", "ratings", "captions", "rewards", "prompts"]
CLIP_DATA: tuple[Data, ...] = ("pairs", "ratings", "captions")
"""Data that are clips: of a file or folder, or of a campaign's votes."""
SETTINGS = "engine.training.trainer_settings:"
CLIP_SETTINGS = "engine.training.clip_settings:"
PROMPT_SETTINGS = "engine.training.prompt_settings:"
TRAINERS = "engine.training.trainers."
COSTS = "engine.estimation.update_costs:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """`trainer`, `settings` and `cost` are written "module:NAME".

    `data`: "pairs" of a preferred and a rejected clip, "ratings" of single clips, clips with "captions", "rewards" of
    the policy's own clips, or a teacher's clips of "prompts".

    `few_steps`: settings with which it trains a model that is distilled to a few steps and leaves it so; None: it
    cannot. `does`: a sentence for the form.
    """

    trainer: str
    settings: str
    cost: str
    data: Data
    does: str
    few_steps: Mapping[str, str] | None = None


ALGORITHMS: Mapping[str, Algorithm] = {
    "dpo": Algorithm(
        trainer=f"{TRAINERS}dpo:VideoDPOTrainer",
        settings=f"{SETTINGS}VideoDPOConfig",
        cost=f"{COSTS}dpo",
        data="pairs",
        does="Trains on pairs of clips: the model learns to prefer what people chose (direct preference optimisation).",
    ),
    "kto": Algorithm(
        trainer=f"{TRAINERS}kto:VideoKTOTrainer",
        settings=f"{CLIP_SETTINGS}VideoKTOConfig",
        cost=f"{COSTS}kto",
        data="ratings",
        does="Trains on clips that were found good or bad, without pairs (Kahneman-Tversky optimisation).",
    ),
    "sft": Algorithm(
        trainer=f"{TRAINERS}sft:VideoSFTTrainer",
        settings=f"{CLIP_SETTINGS}VideoSFTConfig",
        cost=f"{COSTS}sft",
        data="captions",
        does="Trains on videos with captions, as the model was trained first (supervised fine-tuning).",
    ),
    "grpo": Algorithm(
        trainer=f"{TRAINERS}grpo:VideoGRPOTrainer",
        settings=f"{SETTINGS}VideoGRPOConfig",
        cost=f"{COSTS}grpo",
        data="rewards",
        does="Generates clips in groups and reinforces the better ones (group relative policy optimisation).",
        few_steps={"sde_form": "cps"},
    ),
    "nft": Algorithm(
        trainer=f"{TRAINERS}nft:VideoNFTTrainer",
        settings=f"{SETTINGS}VideoNFTConfig",
        cost=f"{COSTS}nft",
        data="rewards",
        does="Generates clips; trains towards those with high rewards, away from those with low ones (DiffusionNFT).",
        few_steps={},
    ),
    "awm": Algorithm(
        trainer=f"{TRAINERS}awm:VideoAWMTrainer",
        settings=f"{SETTINGS}VideoAWMConfig",
        cost=f"{COSTS}awm",
        data="rewards",
        does="Generates clips and weights the matching loss of each by its advantage (advantage weighted matching).",
        few_steps={},
    ),
    "draft": Algorithm(
        trainer=f"{TRAINERS}draft:VideoDraftTrainer",
        settings=f"{PROMPT_SETTINGS}VideoDraftConfig",
        cost=f"{COSTS}draft",
        data="rewards",
        does="Generates clips and follows the gradients of the rewards through decoder and last steps (DRaFT).",
        few_steps={},
    ),
    "distill": Algorithm(
        trainer=f"{TRAINERS}distill:VideoDistillTrainer",
        settings=f"{PROMPT_SETTINGS}VideoDistillConfig",
        cost=f"{COSTS}distill",
        data="prompts",
        does="Trains a student that needs few denoising steps, on the clips of the full model (distillation).",
    ),
    "dmd": Algorithm(
        trainer=f"{TRAINERS}dmd:VideoDMDTrainer",
        settings=f"{PROMPT_SETTINGS}VideoDMDConfig",
        cost=f"{COSTS}dmd",
        data="prompts",
        does="Trains a student that needs few denoising steps to match the full model's clips as a whole (DMD2).",
    ),
}


def algorithm_of(settings: type) -> str:
    """Return the algorithm whose settings are of this class. Raises StopIteration for a class of none."""
    return next(key for key, known in ALGORITHMS.items() if known.settings.endswith(f":{settings.__name__}"))


def few_step_settings(
    algorithm: str, settings: Mapping[str, Any], what: str, num_steps: int, guidance: float = 1.0
) -> dict[str, Any]:
    """Return the settings with which an algorithm trains a model of `num_steps` steps with one pass each.

    `what` names the model or adapter. Raises ConfigError where the algorithm or a setting would undo the distillation.
    """
    without = "without guidance" if guidance <= 1 else f"at guidance {guidance:g}"
    told = f"{what} is distilled to {num_steps} steps {without}"
    needed = ALGORITHMS[algorithm].few_steps
    if needed is None:
        able = ", ".join(key for key, known in ALGORITHMS.items() if known.few_steps is not None)
        raise ConfigError(f"{told}, which {algorithm} would undo: use one of {able}, or train the undistilled model.")
    fixed = {**needed, "num_steps": num_steps, "guidance": guidance}
    for name, value in fixed.items():
        if settings.get(name) not in (None, value):
            raise ConfigError(f"{told}: {algorithm} then needs {name} = {value}, but got {settings[name]}.")
    return {**settings, **fixed}
