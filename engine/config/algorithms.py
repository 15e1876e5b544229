"""The training algorithms. Imports no torch.

Each has its trainer, the class of its settings, and the kind of its data.

To add an algorithm, add a line here, its loss (`engine/algorithms`), its settings, its trainer, and its network passes
per update (`engine.estimation.run_estimate`). Form, documentation and command line read its settings.
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


@dataclass(frozen=True, slots=True)
class Algorithm:
    """`trainer` and `settings` are "module:NAME" of the classes.

    `data`: "pairs" of a preferred and a rejected clip, "ratings" of single clips, clips with "captions", "rewards" of
    the policy's own clips, or a teacher's clips of "prompts".

    `few_steps`: settings with which it trains a model that is distilled to a few steps and leaves it so; None: it
    cannot.
    """

    trainer: str
    settings: str
    data: Data
    few_steps: Mapping[str, str] | None = None


ALGORITHMS: Mapping[str, Algorithm] = {
    "dpo": Algorithm(f"{TRAINERS}dpo:VideoDPOTrainer", f"{SETTINGS}VideoDPOConfig", "pairs"),
    "kto": Algorithm(f"{TRAINERS}kto:VideoKTOTrainer", f"{CLIP_SETTINGS}VideoKTOConfig", "ratings"),
    "sft": Algorithm(f"{TRAINERS}sft:VideoSFTTrainer", f"{CLIP_SETTINGS}VideoSFTConfig", "captions"),
    "grpo": Algorithm(f"{TRAINERS}grpo:VideoGRPOTrainer", f"{SETTINGS}VideoGRPOConfig", "rewards", {"sde_form": "cps"}),
    "nft": Algorithm(f"{TRAINERS}nft:VideoNFTTrainer", f"{SETTINGS}VideoNFTConfig", "rewards", {}),
    "awm": Algorithm(f"{TRAINERS}awm:VideoAWMTrainer", f"{SETTINGS}VideoAWMConfig", "rewards", {}),
    "draft": Algorithm(f"{TRAINERS}draft:VideoDraftTrainer", f"{PROMPT_SETTINGS}VideoDraftConfig", "rewards", {}),
    "distill": Algorithm(f"{TRAINERS}distill:VideoDistillTrainer", f"{PROMPT_SETTINGS}VideoDistillConfig", "prompts"),
    "dmd": Algorithm(f"{TRAINERS}dmd:VideoDMDTrainer", f"{PROMPT_SETTINGS}VideoDMDConfig", "prompts"),
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
