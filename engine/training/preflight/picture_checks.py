"""Preflight of the pictures that clips begin or end with: how much of them the clips show."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from engine.config.prompts import PICTURES
from engine.request import GenerationRequest
from engine.training.trainers.base import DiffusionTrainer

LOOKED_AT = 8
"""Number of pictures that are read."""
CROPPED = 0.2
"""Fraction of a picture above which cropping is a warning."""


def shown_share(picture: tuple[int, int], clip: tuple[int, int]) -> float:
    """Return the fraction of a picture that remains when it is cropped to the clip's aspect.

    Both arguments are (width, height).
    """
    ratio = picture[0] / picture[1] / (clip[0] / clip[1])
    return min(ratio, 1 / ratio)


def picture_problem(trainer: DiffusionTrainer) -> tuple[bool, str] | None:
    """Return whether the first pictures fit the clips, and a sentence; None for data without pictures.

    Raises StoreError for a picture that is missing or damaged.
    """
    names = list(islice(_names(trainer.train_dataset or ()), LOOKED_AT))
    if not names:
        return None
    asked: GenerationRequest = trainer.template
    sizes = [trainer.prompts.picture(name).shape[1::-1] for name in names]
    shares = [shown_share((width, height), (asked.width, asked.height)) for width, height in sizes]
    small = sum(width < asked.width or height < asked.height for width, height in sizes)
    kept = "is kept clean and in no loss" if trainer.family.spec.keeps_first else "is generated and learnt like others"
    finding = f"Clips begin with pictures; their first latent frame {kept}."
    if min(shares) < 1 - CROPPED:
        cropped = sum(share < 1 - CROPPED for share in shares)
        advice = "set width and height to their aspect, or crop them"
        return False, f"{finding} {cropped} of {len(sizes)} lose up to {1 - min(shares):.0%} by cropping: {advice}."
    if small:
        return (
            False,
            f"{finding} {small} of {len(sizes)} are smaller than {asked.width}x{asked.height}: use larger ones.",
        )
    return True, finding


def _names(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    return (str(row[name]) for row in rows for name in PICTURES if row.get(name))
