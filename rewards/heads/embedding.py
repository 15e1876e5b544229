"""Embedding of a clip for a reward head.

It has the values of rewards, image and text vectors of CLIP, and video features.

Blocks of an embedding, in this order:

    rewards    for each reward its value in 0..1 and whether it has one; 0.5 and 0 where it does not apply
    frames     mean and standard deviation over time of CLIP's image vectors
    agreement  the mean image vector times the text vector of the prompt, by element; 0 without a prompt
    video      mean of the video network's features over the stretches of the clip; 0 for a clip that is too short
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rewards.features import ClipFeatures
from rewards.metrics import clip_vid, fvd_lite
from rewards.networks.open_clip_model import DEFAULT, frame_vectors, open_clip_net
from rewards.spec import RewardResult

BLOCKS = ("rewards", "frames", "agreement", "video")
UNKNOWN = 0.5  # stands for the value of a reward that does not apply


def embed(features: ClipFeatures, results: Mapping[str, RewardResult], rewards: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the blocks `float32[D_b]` of a clip's embedding, from its features and results of `rewards`.

    The networks are those that the features' mix names. Raises RewardUnavailable when one of them is not on this
    machine.
    """
    values = [results[key].value if key in results else None for key in rewards]
    return {
        "rewards": np.array(
            [UNKNOWN if value is None else value for value in values] + [float(value is not None) for value in values],
            np.float32,
        ),
        **_clip_blocks(features),
        "video": _video_block(features),
    }


def _clip_blocks(features: ClipFeatures) -> dict[str, np.ndarray]:
    name = features.backend(clip_vid.BACKEND, DEFAULT)
    vectors = frame_vectors(features, name)
    mean, prompt = vectors.mean(axis=0), features.clip.prompt.strip()
    text = open_clip_net(name).encode_texts([prompt])[0] if prompt else np.zeros_like(mean)
    return {
        "frames": np.concatenate([mean, vectors.std(axis=0)]).astype(np.float32),
        "agreement": np.asarray(mean * text, np.float32),
    }


def _video_block(features: ClipFeatures) -> np.ndarray:
    if features.clip.num_frames < fvd_lite.FRAMES:
        network = features.backend(fvd_lite.BACKEND, fvd_lite.DEFAULT)
        return np.zeros(len(fvd_lite.open_reference(network).shape.spread), np.float32)
    return np.asarray(fvd_lite.video_features(features).mean(axis=0), np.float32)
