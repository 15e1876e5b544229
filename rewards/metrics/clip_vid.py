"""CLIP-VID: do the frames show what the prompt says, rather than something like it?

measures    for every sampled frame the cosine between picture and prompt, less the cosines with sentences that do not
            describe the clip: s (cos_prompt - (mean cos_distractor + max cos_distractor) / 2), where s is the
            network's own logit scale. Distractors are the prompt with a word changed (colour, thing, place, number),
            the prompt as written text, and fixed sentences (`rewards.metrics.clip_vid_distractors`), so a frame that
            fits all sentences alike gains nothing. Half mean, half worst tenth over time. Vectors are normalised to
            length 1 before averages. A single frame contains no motion: it fits "moving left" and "moving right" alike,
            and a reversed clip has the score of the clip.
source      CLIP: Radford et al. 2021, arXiv:2103.00020; CLIPScore: Hessel et al. 2021, arXiv:2104.08718; open_clip:
            Cherti et al. 2022, arXiv:2212.07143; margin against changed words: ARO, Yuksekgonul et al. 2023,
            arXiv:2210.01936
range       raw: logits, about -15 (shows something else) to 15 (nothing else fits); higher is better
back ends   `clip`: "ViT-B-32" (default), "ViT-L-14", "mini" (see rewards/networks/open_clip_model.py);
            none replaces another
licence     MIT for the weights of both large ones; Apache-2.0 for mini's
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rewards.differentiable import Differentiable, half_mean_half_worst
from rewards.features import ClipFeatures
from rewards.metrics.clip_vid_distractors import distractors_of
from rewards.networks.open_clip_model import (
    DEFAULT,
    clip_choice,
    encode_group,
    frame_vectors,
    open_clip_net,
    sampled_frames,
)
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import over_time

if TYPE_CHECKING:
    from torch import Tensor

SPEC = RewardSpec(
    key="clip_vid",
    title="CLIP-VID",
    question="Do the frames show what the prompt says, rather than something like it?",
    unit="logits above the distractors",
    low=-15.0,
    high=15.0,
    needs=("clip_frames",),
    per_frame=True,
    licence="MIT (open_clip, LAION-2B and OpenAI); mini: Apache-2.0",
    source="CLIP, arXiv:2103.00020; CLIPScore, arXiv:2104.08718; open_clip, arXiv:2212.07143",
    of_prompt=True,
)
BACKEND = "clip"
LEAST_KNOWN = 0.6  # of the prompt's words; a network with a vocabulary of whole words cannot read others


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Cosines of N frames: `prompt` float64[N] with the prompt, `others` float64[N,M] with M distractors."""

    prompt: np.ndarray
    others: np.ndarray

    @property
    def margins(self) -> np.ndarray:
        """Return `float64[N]`: cosine of the prompt less half the distractors' mean and half their best."""
        return np.asarray(self.prompt - (self.others.mean(axis=1) + self.others.max(axis=1)) / 2)


def prepare(group: Sequence[ClipFeatures]) -> None:
    """Encode the frames of all clips with a prompt in one batch, and all sentences in another."""
    asked = [features for features in group if features.clip.prompt.strip()]
    if asked:
        name = asked[0].backend(BACKEND, DEFAULT)
        encode_group(asked, name)
        sentences = [text for features in asked for text in _sentences(features, name)]
        open_clip_net(name).encode_texts(sentences)


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip with a prompt. Raises RewardUnavailable without the network's weights."""
    if not features.clip.prompt.strip():
        return not_applicable("The clip has no prompt that its frames could be compared with.")
    name = features.backend(BACKEND, DEFAULT)
    network = open_clip_net(name)
    known = network.known_share(features.clip.prompt)
    if known < LEAST_KNOWN:
        return not_applicable(f"The CLIP {name!r} can read too few of the prompt's words.", known_words=known)
    sentences = _sentences(features, name)
    compared = compare(frame_vectors(features, name), network.encode_texts(sentences))
    margins = network.scale * compared.margins
    raw = over_time(margins, worst="low")
    assert raw is not None
    measurement = f"{SPEC.key}.{name}"
    series = np.full(features.clip.num_frames, np.nan)
    series[sampled_frames(features.clip.num_frames)] = features.calibration.map(measurement, margins)
    nearest = int(compared.others.mean(axis=0).argmax())
    return RewardResult(
        value=features.calibration.map(measurement, raw),
        raw=raw,
        backend=name,
        confidence=known * (1.0 if features.calibration.is_measured(measurement) else 0.5),
        per_frame=series,
        details={
            "cosine": float(compared.prompt.mean()),
            "nearest_distractor": float(compared.others[:, nearest].mean()),
            "known_words": known,
        },
        notes=(f"Nearest distractor: {sentences[1 + nearest]}",),
    )


def compare(frames: np.ndarray, sentences: np.ndarray) -> Comparison:
    """Compare unit vectors `float32[N,D]` of frames and `float32[1+M,D]` of sentences, the prompt first."""
    cosines = np.asarray(frames, np.float64) @ np.asarray(sentences, np.float64).T
    return Comparison(prompt=cosines[:, 0], others=cosines[:, 1:])


def differentiable(backends: Mapping[str, str]) -> Differentiable:
    """Return the raw score as a differentiable function."""
    name = backends.get(BACKEND, DEFAULT)

    def raw(frames: "Tensor", prompts: Sequence[str]) -> "Tensor":
        import torch

        network, found = open_clip_net(name), []
        for clip, prompt in zip(frames, prompts, strict=True):
            vectors = network.encode_pixels(clip[sampled_frames(len(clip)).tolist()])
            texts = torch.from_numpy(network.encode_texts(_with_distractors(prompt, name))).to(vectors)
            cosines = vectors @ texts.T
            others = cosines[:, 1:]
            margins = network.scale * (cosines[:, 0] - (others.mean(1) + others.amax(1)) / 2)
            found.append(half_mean_half_worst(margins))
        return torch.stack(found)

    return Differentiable(raw=raw, measurement=f"{SPEC.key}.{name}")


def _sentences(features: ClipFeatures, name: str) -> list[str]:
    return _with_distractors(features.clip.prompt, name)


def _with_distractors(prompt: str, name: str) -> list[str]:
    """Return the prompt and its distractors."""
    prompt = prompt.strip()
    return [prompt, *distractors_of(prompt, clip_choice(name).distractors)]
