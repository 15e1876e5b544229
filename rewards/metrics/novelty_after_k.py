"""Novelty after K: does the clip still show something new after its opening, without falling apart?

measures    mean distance of every frame after the 32nd to its 3 nearest among the first 32, by the mix's frame
            embedding. Rewarded within the band that real clips fill: less is a loop or a freeze, more is a cut or
            noise. Times a tax on incoherence (steps that flow cannot explain), times the cut, motion and loop gates:
            in a clip that moves too fast for the band, a repetition would otherwise raise the value.
            value = band(novelty) x coherence x cut gate x motion gate x loop gate
source      novelty as distance to the nearest in memory (Lehman & Stanley 2011, doi:10.1162/EVCO_a_00025), made an
            inverted U so that diversity alone gains nothing
range       raw: cosine distance 0 (all seen before) to 1; the band is calibrated for each embedding
back ends   the frame embedding's: "histogram" (no weights), or the network that the mix names under `frames`
licence     no weights of its own
"""

import numpy as np

from rewards.features import ClipFeatures
from rewards.gates import cut_gate, loop_gate, motion_gate
from rewards.spec import RewardResult, RewardSpec, not_applicable
from rewards.time_series import over_time

SPEC = RewardSpec(
    key="novelty_after_k",
    title="Novelty after K",
    question="Does the clip still show something new after its first 32 frames, without falling apart?",
    unit="cosine distance",
    low=0.0,
    high=1.0,
    needs=("embeddings", "flow", "visible"),
    per_frame=True,
    source="Distance to the nearest in memory; Lehman & Stanley 2011, doi:10.1162/EVCO_a_00025",
)
K_FRAMES = 32
LEAST_AFTER_FRAMES = 8
NEAREST = 3


def score(features: ClipFeatures) -> RewardResult:
    """Score a clip of more than 40 frames."""
    clip = features.clip
    if clip.num_frames <= K_FRAMES + LEAST_AFTER_FRAMES:
        least = K_FRAMES + LEAST_AFTER_FRAMES + 1
        return not_applicable(
            f"Novelty after frame {K_FRAMES} needs {least} frames, but the clip has {clip.num_frames}."
        )
    distances = distances_to_memory(features.embeddings)
    raw = float(distances.mean())
    name = f"{SPEC.key}.{features.embedder.name}"
    enough, bounded = (features.calibration.map(f"{name}{end}", raw) for end in ("", ".excess"))
    unexplained = over_time(features.unexplained, worst="high") or 0.0
    coherence = features.calibration.map(f"{SPEC.key}.incoherence", unexplained)
    gate = cut_gate(features) * motion_gate(features) * loop_gate(features)
    series = np.full(clip.num_frames, np.nan)
    series[K_FRAMES:] = features.calibration.map(name, distances)
    return RewardResult(
        value=min(enough, bounded) * coherence * gate,
        raw=raw,
        backend=features.embedder.name,
        confidence=min(1.0, len(distances) / K_FRAMES),
        per_frame=series,
        details={"coherence": coherence, "gate": gate},
    )


def distances_to_memory(vectors: np.ndarray) -> np.ndarray:
    """Return `float64[T-32]`: mean cosine distance of later vectors to their 3 nearest of the first 32."""
    similar = vectors[K_FRAMES:] @ vectors[:K_FRAMES].T
    nearest = -np.partition(-similar, NEAREST - 1, axis=1)[:, :NEAREST]
    return np.asarray(np.maximum(1 - nearest.mean(axis=1), 0), np.float64)
