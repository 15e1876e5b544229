"""VideoReward of VideoAlign (Liu et al., arXiv:2501.13918): visual and motion quality, text alignment.

Requires a checkout of KwaiVGI/VideoAlign, named by VIDEOALIGN_REPO, its checkpoint, named by VIDEOALIGN_CHECKPOINT, and
a separate environment, because it pins an old transformers. Scores are z-scores with the means and deviations of the
checkpoint. Not tested with the published weights: the tests check the calls against a stub that has the interface of
`inference.py`.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import imageio
import numpy as np
import torch

from rewards.external.frame_scores import grey_frames

DEVICE = os.environ.get("REWARD_DEVICE", "cuda")
NAMES = ("VQ", "MQ", "TA", "Overall")


@cache
def load() -> Any:
    """Return the inferencer of the checkout."""
    sys.path.insert(0, os.environ["VIDEOALIGN_REPO"])
    inference = importlib.import_module("inference")
    return inference.VideoVLMRewardInference(os.environ["VIDEOALIGN_CHECKPOINT"], device=DEVICE, dtype=torch.bfloat16)


def score(
    prompts: Sequence[str], completions: Sequence[np.ndarray], fps: Sequence[float], **_: Any
) -> dict[str, list[float]]:
    """Return VQ, MQ, TA and their sum Overall for each clip."""
    rows = _rewards(prompts, completions, fps)
    return {name: [row[name] for row in rows] for name in NAMES}


def score_grey_motion(
    prompts: Sequence[str], completions: Sequence[np.ndarray], fps: Sequence[float], **_: Any
) -> dict[str, list[float]]:
    """Return the same scores with MQ from grey frames, so that colour does not raise it.

    Costs a second pass.
    """
    coloured = score(prompts, completions, fps)
    motion = [row["MQ"] for row in _rewards(prompts, [grey_frames(frames) for frames in completions], fps)]
    whole = [vq + mq + ta for vq, mq, ta in zip(coloured["VQ"], motion, coloured["TA"], strict=True)]
    return {**coloured, "MQ": motion, "Overall": whole}


@torch.inference_mode()
def _rewards(prompts: Sequence[str], completions: Sequence[np.ndarray], fps: Sequence[float]) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.mp4" for index in range(len(completions))]
        for path, frames, rate in zip(paths, completions, fps, strict=True):
            write_video(path, frames, rate)
        found = load().reward([str(path) for path in paths], list(prompts), use_norm=True)
    return [{name: float(row[name]) for name in NAMES} for row in found]


def write_video(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write a clip as H.264 of high quality; any frame size is allowed."""
    with imageio.get_writer(
        path, fps=fps, codec="libx264", macro_block_size=1, pixelformat="yuv444p", output_params=["-crf", "8"]
    ) as writer:
        for frame in frames:
            writer.append_data(frame)
