"""The shared pieces that a mix may name in `[backends]`, and what can compute each. Looking up loads no network."""

import importlib

PIECES = {
    "flow": ("rewards.vision.flow:FLOWS",),
    "frames": ("rewards.networks.frame_embedding:EMBEDDERS",),
    "subject": ("rewards.vision.subject:FINDERS",),
    "lpips": ("rewards.networks.perceptual:PERCEPTUALS",),
    "video": ("rewards.metrics.fvd_lite:NETWORKS",),
    "identity": ("rewards.networks.faces:FACE_NETWORKS", "rewards.metrics.identity_lock:WITHOUT_FACES"),
    "clip": ("rewards.networks.open_clip_model:CHOICES",),
    "captions": ("rewards.networks.captions:CHOICES",),
    "seam": ("rewards.metrics.seam:BACKENDS",),
    "aesthetic": ("rewards.metrics.aesthetic:BACKENDS",),
}
"""Where the names of each piece's back ends are, "module:collection" each."""


def known_backends(piece: str) -> list[str]:
    """The back ends of a piece, in order."""
    places = (place.split(":") for place in PIECES[piece])
    return [name for module, names in places for name in getattr(importlib.import_module(module), names)]
