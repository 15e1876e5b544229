"""`RewardHead`: an ensemble of linear Bradley-Terry scores over a clip's embedding, and its file.

A member m scores a clip by s_m = w_m . z with the standardised embedding z, and P(a is preferred to b) =
sigmoid(s(a) - s(b)). The members were trained on bootstrap samples of the prompts, so their spread is the uncertainty
of the score.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError
from scipy.special import expit

from rewards.errors import RewardError
from rewards.heads.embedding import BLOCKS
from rewards.models import FiniteModel

FORMAT = 2
CARD = "dailies_reward_head"  # key of the card in the metadata of the safetensors file
ARRAYS = ("mean", "scale", "weights")


class HeadCard(FiniteModel):
    """Description of a trained head, stored with it.

    `mix` names the calibration and back ends of the embedding. `rewards` and `sizes` give the layout of the embedding.
    Accuracies, 0..1, are by nested cross-validation over prompts: how often the head, the learned mix and the best
    single reward prefer the clip that labellers prefer. `training_set` is the SHA-256 of the votes' content.
    """

    format: int = FORMAT
    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    title: str
    created_at: datetime
    calibration: str
    backends: dict[str, str]
    rewards: tuple[str, ...]
    sizes: dict[str, int]
    penalties: dict[str, float]
    prompts: int
    pairs: int
    votes: int
    accuracy: float | None
    mix_accuracy: float | None
    best_reward: str | None
    best_reward_accuracy: float | None
    centre: float
    """Median score of the training clips, which gets the value 0.5."""
    spread: float = Field(gt=0)
    """Standard deviation of the training clips' scores; one of them above the centre is sigmoid(1) = 0.73."""
    training_set: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScore:
    """Score of a clip.

    `raw` is in logits of preference, `value` in 0..1, `std` is the spread of the ensemble in logits.
    """

    value: float
    raw: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RewardHead:
    """`mean[D]` and `scale[D]` standardise the embedding; `weights[M,D]` are the members."""

    card: HeadCard
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def score(self, embedding: Mapping[str, np.ndarray]) -> HeadScore:
        """Score one embedding. Raises RewardError when its layout is not the head's."""
        sizes = {name: len(embedding[name]) for name in BLOCKS}
        if sizes != self.card.sizes:
            raise RewardError(
                f"The head '{self.card.key}' was trained on features {self.card.sizes}, but got {sizes}: use the back "
                "ends that it was trained with, or train it again."
            )
        scores = self.weights @ standardise(concat(embedding), self.mean, self.scale)
        raw = float(scores.mean())
        value = float(expit((raw - self.card.centre) / self.card.spread))
        return HeadScore(value=value, raw=raw, std=float(scores.std()))


def concat(embedding: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the blocks as one vector `float64[D]`."""
    return np.concatenate([np.asarray(embedding[name], np.float64) for name in BLOCKS])


def standardise(vectors: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return `(vectors - mean) / scale`.

    The scale of a constant feature is infinite, so that it counts as 0.
    """
    return np.asarray((vectors - mean) / scale)


def save_head(path: Path, head: RewardHead) -> None:
    """Write a head as a safetensors file with its card as metadata. Raises OSError."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(getattr(head, name), np.float64) for name in ARRAYS}
    save_file(arrays, path, metadata={CARD: head.card.model_dump_json()})


def read_card(path: Path) -> HeadCard:
    """Read a head's card only. Raises RewardError for a file that is no head."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise RewardError(f"{path} cannot be read as a reward head: {error}.") from error
    try:
        card = HeadCard.model_validate(json.loads(metadata[CARD]))
    except (KeyError, ValueError, ValidationError) as error:
        raise RewardError(f"{path} is not a reward head: its description is missing or damaged.") from error
    if card.format != FORMAT:
        raise RewardError(f"{path} has format {card.format}, but this version reads {FORMAT}: train the head again.")
    return card


def read_head(path: Path) -> RewardHead:
    """Read a head. Raises RewardError for a file that is missing, damaged, or no head."""
    from safetensors.numpy import load_file

    card = read_card(path)
    arrays = load_file(path)
    length = sum(card.sizes.values())
    shapes = {name: array.shape for name, array in arrays.items()}
    weights = arrays.get("weights")
    expected = {"mean": (length,), "scale": (length,), "weights": (len(weights) if weights is not None else 0, length)}
    finite = all(np.isfinite(array).all() for name, array in arrays.items() if name != "scale")
    if shapes != expected or not expected["weights"][0] or not finite:
        raise RewardError(f"{path} is damaged: its arrays do not fit its description. Train the head again.")
    return RewardHead(card=card, **{name: arrays[name] for name in ARRAYS})
