"""PickScore (Kirstain et al., arXiv:2305.01569): preference score of a picture given its prompt.

The model is a fine-tuned CLIP-H. The score of a frame is `logit_scale * cos(image, text)`; the score of a clip is the
mean of the best 30 % of 8 frames. Not tested with the published weights; the tests use a tiny random model of the same
class.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, CLIPModel

from rewards.external.frame_scores import best_frames_mean, even_frames

MODEL = os.environ.get("PICKSCORE_MODEL", "yuvalkirstain/PickScore_v1")
PROCESSOR = os.environ.get("PICKSCORE_PROCESSOR", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K")
DEVICE = os.environ.get("REWARD_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
FRAMES = 8


@cache
def load() -> tuple[Any, Any]:
    """Return the model and its processor."""
    return CLIPModel.from_pretrained(MODEL).eval().to(DEVICE), AutoProcessor.from_pretrained(PROCESSOR)


def score(prompts: Sequence[str], completions: Sequence[np.ndarray], **_: Any) -> list[float]:
    """Return a raw score for each clip, about 15 to 25 with the published weights."""
    return [best_frames_mean(frame_scores(prompt, frames)) for prompt, frames in zip(prompts, completions, strict=True)]


@torch.inference_mode()
def frame_scores(prompt: str, frames: np.ndarray) -> list[float]:
    """Return the scores of evenly spaced frames."""
    model, processor = load()
    pictures = list(even_frames(frames, FRAMES))
    inputs = processor(
        text=[prompt], images=pictures, padding=True, truncation=True, max_length=77, return_tensors="pt"
    ).to(DEVICE)
    found = model(**inputs)
    return [float(logit) for logit in found.logits_per_image[:, 0]]
