"""Pairs of the model's own clips: each prompt's best and worst clip by a mix, if they differ enough.

Rewards replace labellers: such pairs let DPO learn from a reward as GRPO does, without a rollout at each step.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.prompts import PICTURES, PromptRow
from engine.errors import ConfigError
from engine.family_interface import ModelFamily
from engine.generation.context import Progress
from engine.generation.given_pictures import LoadPicture
from engine.generation.validation import check_pictures
from engine.labelling.pair_tables import PairLine, write_pairs
from engine.request import GenerationRequest
from engine.seeds import seed_for
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.data.prompt_rows import numbered
from engine.training.rollout.reward_calls import RewardFunc, score
from engine.training.rollout.rollouts import generate_rollouts
from engine.video.writer import write_lossless
from rewards.clip import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Indices of a group's best and worst clip, and their difference."""

    best: int
    worst: int
    margin: float


def best_and_worst(values: Sequence[float | None], least_margin: float) -> Choice | None:
    """Return the best and the worst; None for fewer than two values, or a difference below the margin."""
    known = [(value, place) for place, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return None
    (low, worst), (high, best) = min(known), max(known)
    return Choice(best=best, worst=worst, margin=high - low) if high - low >= max(least_margin, 1e-9) else None


def make_reward_pairs(
    family: ModelFamily,
    template: GenerationRequest,
    prompts: Sequence[PromptRow],
    reward: RewardFunc,
    folder: Path,
    *,
    takes: int = 4,
    margin: float = 0.05,
    seed: int = 0,
    load: LoadPicture | None = None,
) -> Generator[Progress, None, int]:
    """Write a folder of clips and its `pairs.jsonl`; return the number of pairs.

    `reward` is of TRL's protocol, a mix's total for one. Raises ConfigError for fewer than two clips a prompt, an
    existing folder, or when no prompt's clips are far enough apart. `load` returns the picture of a name.
    """
    if takes < 2:
        raise ConfigError(f"A pair needs at least two variations of a prompt, but got {takes}.")
    if folder.exists():
        raise ConfigError(f"{folder} exists already: choose another folder for the pairs.")
    folder.mkdir(parents=True)
    check_pictures(numbered([row.to_dict() for row in prompts]), template, family.spec)
    encoded, rows = PromptEmbeddings(family, template.fps, load=load), []
    for number, row in enumerate(prompts):
        yield Progress(phase="pairs", step=number, of=len(prompts))
        seeds = [seed_for(seed, prompt=f"pair of {row.prompt}", sample=take) for take in range(takes)]
        requests = [template.model_copy(update={**row.fields(), "seed": one}) for one in seeds]
        clips = generate_rollouts(family, requests, encoded).clips
        values = score([reward], [row.to_dict()] * takes, clips, fps=[clip.fps for clip in clips])[:, 0]
        chosen = best_and_worst([None if value != value else value for value in values.tolist()], margin)
        if chosen is not None:
            rows.append(_written(folder, number, row, clips, chosen))
    if not rows:
        raise ConfigError(f"No prompt's clips differ by {margin:g}: lower the margin, or make more variations.")
    write_pairs(folder, rows)
    return len(rows)


def _written(folder: Path, number: int, asked: PromptRow, clips: Sequence[Clip], choice: Choice) -> PairLine:
    fields = {name: getattr(asked, name) for name in PICTURES}
    for side, place in (("chosen", choice.best), ("rejected", choice.worst)):
        fields[side] = f"{number:04d}-{side}.mkv"
        write_lossless(folder / fields[side], clips[place].frames, clips[place].fps)
    return PairLine(**fields, prompt=asked.prompt, margin=round(choice.margin, 6), source="reward")
