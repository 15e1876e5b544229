"""HPSv3 (Ma et al., ICCV 2025): preference score of a picture given its prompt.

The model is Qwen2-VL-7B with a reward head that predicts the mean and the spread of the preference; the mean is used.
Requires the package `hpsv3` in a separate environment, because it pins transformers 4.45.2. The score of a clip is the
mean of the best 30 % of 8 frames. Not tested with the published weights: the tests check the calls against a stub that
has the interface of the package.
"""

import importlib
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from rewards.external.frame_scores import best_frames_mean, even_frames

DEVICE = os.environ.get("REWARD_DEVICE", "cuda")
CHECKPOINT = os.environ.get("HPSV3_CHECKPOINT")
FRAMES = 8


@cache
def load() -> Any:
    """Return the package's inferencer. Without HPSV3_CHECKPOINT it downloads the published weights."""
    return importlib.import_module("hpsv3").HPSv3RewardInferencer(checkpoint_path=CHECKPOINT, device=DEVICE)


@torch.inference_mode()
def score(prompts: Sequence[str], completions: Sequence[np.ndarray], **_: Any) -> list[float]:
    """Return a raw score for each clip."""
    scores = []
    for prompt, frames in zip(prompts, completions, strict=True):
        pictures = [Image.fromarray(frame) for frame in even_frames(frames, FRAMES)]
        # Keyword arguments, because the order of the two differs between the package and its repository.
        found = load().reward(image_paths=pictures, prompts=[prompt] * len(pictures))
        scores.append(best_frames_mean([float(row[0]) for row in found]))
    return scores
