"""FVD-lite: is the clip like real ones, in the features of a network trained on films?

measures    the distance of features of up to four stretches of 16 frames from a frozen reference set: a shrunk
            Mahalanobis distance inside the set's main directions plus the residual outside them
            (rewards/vision/reference_distance.py), averaged over the stretches. It is compared with the distances of
            the reference's own members when they are left out. One clip has no Frechet distance; `frechet_of_sets`
            computes it for two sets of clips, with their sizes and an interval.
source      I3D: Carreira & Zisserman 2017, arXiv:1705.07750; FVD: Unterthiner et al. 2018, arXiv:1812.01717; features
            that see content more than motion: Ge et al. 2024, arXiv:2404.12391
range       raw: distance, about 1 for a typical member of the reference; lower is better, the value is flipped
back ends   `video` of the mix: "i3d" (reference: four films, so it detects unlike content, at a low confidence),
            "mini" (the embedded network; reference: clips of the embedded world)
licence     I3D Apache-2.0 (DeepMind), mini Apache-2.0
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.features import ClipFeatures
from rewards.import_object import import_object
from rewards.networks.perceptual import resized
from rewards.networks.video_network import VideoNetwork
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.vision.frechet import FrechetReport, frechet_between
from rewards.vision.reference_distance import ReferenceFeatures, read_reference_file
from rewards.weights.catalog import resolve

SPEC = RewardSpec(
    key="fvd_lite",
    title="FVD-lite",
    question="Does the clip look and move like real ones, in the features of a network trained on films?",
    unit="distance from the reference set",
    low=2.0,
    high=1.0,
    needs=("stretches", "video"),
    per_frame=True,
    licence="I3D Apache-2.0 (DeepMind); mini Apache-2.0",
    source="Carreira & Zisserman 2017, arXiv:1705.07750; Unterthiner et al. 2018, arXiv:1812.01717",
)
BACKEND, DEFAULT = "video", "i3d"
PUBLISHED = "i3d-logits"  # for two sets of clips only
NETWORKS = {
    "i3d": ("i3d", "rewards.networks.i3d:FEATURES"),
    "mini": ("mini_video", "rewards.networks.mini_video:STRETCHES"),
}
"""The weights of each network, and its `VideoNetwork` as "module:NAME"."""
LOGITS = ("i3d", "rewards.networks.i3d:LOGITS")
FRAMES, MOST = 16, 4  # frames of a stretch; stretches of a clip


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip of at least 16 frames. Raises RewardUnavailable without the back end's weights."""
    clip, name = features.clip, features.backend(BACKEND, DEFAULT)
    if clip.num_frames < FRAMES:
        return not_applicable(f"The video network needs {FRAMES} frames, but the clip has {clip.num_frames}.")
    reference = open_reference(name)
    described = video_features(features)
    distances = reference.distance(described)
    raw = float(distances.mean())
    inside, outside = reference.shape.distances(described)
    return RewardResult(
        value=reference.likeness(raw),
        raw=raw,
        backend=name,
        confidence=reference.confidence,
        per_frame=_per_frame([reference.likeness(d) for d in distances], clip.num_frames),
        details={
            "percentile": 100 * reference.percentile(raw),
            "inside": float(np.sqrt(inside.mean())),
            "outside": float(np.sqrt(outside.mean())),
            "stretches": float(len(distances)),
        },
    )


def prepare(group: list[ClipFeatures]) -> None:
    """Compute the features of all clips in one batch."""
    waiting = [f for f in group if f.clip.num_frames >= FRAMES and not f.has(BACKEND)]
    if len(waiting) < 2:
        return
    name = waiting[0].backend(BACKEND, DEFAULT)
    network = open_network_of(name)
    cut = [stretches(f.clip.frames, network.side_px) for f in waiting]
    described = network.describe(np.concatenate(cut))
    ends = np.cumsum([len(c) for c in cut])
    for features, part in zip(waiting, np.split(described, ends[:-1]), strict=True):
        features.put(BACKEND, part)


def video_features(features: ClipFeatures) -> np.ndarray:
    """Return `float32[N,D]`: one row a stretch, by the mix's network; shared."""
    network = open_network_of(features.backend(BACKEND, DEFAULT))
    return features.once(BACKEND, lambda: network.describe(stretches(features.clip.frames, network.side_px)))


def frechet_of_sets(
    first: Sequence[Clip], second: Sequence[Clip], *, backend: str = PUBLISHED, resamples: int = 200
) -> FrechetReport:
    """Return the Frechet video distance of two sets of clips, with sizes and a bootstrap interval.

    "i3d-logits" is the FVD as published (400 logits of 16 frames); distances by "i3d" (1,024 pooled features) and
    "mini" compare only with their own kind. Published protocols also fix the length, size and number of clips. Every
    stretch of a clip is a sample; the bootstrap draws clips. Raises RewardError for fewer than 2 clips a
    set or one shorter than 16 frames, RewardUnavailable without the back end's weights.
    """
    network = _opened(*LOGITS) if backend == PUBLISHED else open_network_of(backend)
    units = 1.0 if network.as_they_are else open_reference(backend).shape.spread
    described = [
        [network.describe(stretches(clip.frames, network.side_px)) / units for clip in clips]
        for clips in (first, second)
    ]
    return frechet_between(described[0], described[1], backend=backend, resamples=resamples)


def stretches(frames: np.ndarray, side_px: int) -> np.ndarray:
    """Return up to four stretches, evenly spaced over the clip: `uint8[N,16,side,side,3]`."""
    count = len(frames)
    if count < FRAMES:
        raise RewardError(f"A stretch has {FRAMES} frames, but the clip has {count}.")
    small = resized(frames, (side_px, side_px))
    return np.stack([small[start : start + FRAMES] for start in starts(count)])


def starts(num_frames: int) -> list[int]:
    """Return the first frames of the stretches."""
    count = min(MOST, num_frames // FRAMES)
    return np.rint(np.linspace(0, num_frames - FRAMES, count)).astype(int).tolist()


def open_network_of(name: str) -> VideoNetwork:
    """Return the video network of that name; its weights are loaded at the first use.

    Raises RewardError for an unknown name, RewardUnavailable without the weights.
    """
    if name not in NETWORKS:
        raise RewardError(f"There is no video network {name!r}; known are {', '.join(sorted(NETWORKS))}.")
    return _opened(*NETWORKS[name])


@cache
def _opened(weights: str, path: str) -> VideoNetwork:
    resolve(weights)  # before the import, which takes seconds
    network: VideoNetwork = import_object(path)
    return network


def open_reference(name: str) -> ReferenceFeatures:
    """Return the frozen reference of that network. Raises RewardError when it was made with other weights."""
    return _reference(name, resolve(f"fvd_reference_{name}"))


@cache
def _reference(name: str, path: Path) -> ReferenceFeatures:
    reference, mine = read_reference_file(path), open_network_of(name).fingerprint()
    if not np.allclose(reference.notes["fingerprint"], mine, rtol=2e-3):
        raise RewardError(
            f"{path.name} was made with other weights than those of {name} here: make it again with "
            f"`python -m tools.mini.fvd_reference --backend {name}`."
        )
    return reference


def _per_frame(values: list[float], num_frames: int) -> np.ndarray:
    """Return `float64[T]`: for each frame the mean of the stretches that contain it, NaN without one."""
    total, count = np.zeros(num_frames), np.zeros(num_frames)
    for start, value in zip(starts(num_frames), values, strict=True):
        total[start : start + FRAMES] += value
        count[start : start + FRAMES] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
