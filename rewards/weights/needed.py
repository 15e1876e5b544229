"""The weights that a mix needs, by its rewards and their back ends, without loading a network."""

from collections.abc import Mapping

from rewards.mix import Mix
from rewards.weights.catalog import PRESENT, Weights, find_weights, status

FLOW = "flow"
NETWORKS: Mapping[str, tuple[str, str, Mapping[str, tuple[str, ...]]]] = {
    "t_lpips": ("lpips", "alex", {"alex": ("lpips_heads", "alexnet"), "mini": ("mini_video",)}),
    "fvd_lite": (
        "video",
        "i3d",
        {"i3d": ("i3d", "fvd_reference_i3d"), "mini": ("mini_video", "fvd_reference_mini")},
    ),
    "identity_lock": (
        "identity",
        "facenet",
        {"facenet": ("mtcnn", "facenet"), "yunet": ("yunet", "mobilefacenet"), "mini": ("mini_subject",)},
    ),
    "clip_vid": (
        "clip",
        "ViT-B-32",
        {"ViT-B-32": ("clip_b32",), "ViT-L-14": ("clip_l14",), "mini": ("mini_clip",)},
    ),
    "caption_consistency": (
        "captions",
        "blip",
        {"blip": ("blip", "stsb"), "mini": ("mini_captioner", "mini_similarity")},
    ),
    "aesthetic": ("aesthetic", "technical", {"laion": ("clip_l14", "laion_aesthetic")}),
    FLOW: ("flow", "dis", {"raft_large": ("raft_large",), "raft_small": ("raft_small",)}),
}
"""Reward -> the piece that `[backends]` names, its default back end, and the weights of each back end; "flow" is the
optical flow of all rewards of a mix. A reward or a back end that is not listed needs no weights."""


def needed_weights(mix: Mix) -> dict[str, Weights]:
    """Return the weights that the rewards of a mix with a weight above 0 need, by key."""
    rewards = [key for key, weight in mix.weights.items() if weight > 0]
    keys: list[str] = []
    for reward in (*rewards, FLOW):
        piece, default, by_backend = NETWORKS.get(reward, ("", "", {}))
        keys += by_backend.get(mix.backends.get(piece, default), ())
    return {key: find_weights(key) for key in keys}


def missing_weights(mix: Mix) -> dict[str, Weights]:
    """Return those of `needed_weights` that are not on this machine."""
    return {key: weights for key, weights in needed_weights(mix).items() if status(key).state != PRESENT}
