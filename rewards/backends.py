"""The shared pieces that a mix may name in `[backends]`, and what can compute each. Looking up loads no network."""

import importlib

PIECES = {
    "flow": ("rewards.flow:FLOWS",),
    "frames": ("rewards.embedding:EMBEDDERS",),
    "subject": ("rewards.subject:FINDERS",),
    "lpips": ("rewards.perceptual:PERCEPTUALS",),
    "video": ("rewards.fvd_lite:NETWORKS",),
    "identity": ("rewards.faces:FACE_NETWORKS", "rewards.identity_lock:WITHOUT_FACES"),
    "clip": ("rewards.open_clip_net:CHOICES",),
    "captions": ("rewards.captions:CHOICES",),
    "seam": ("rewards.seam:BACKENDS",),
    "aesthetic": ("rewards.aesthetic:BACKENDS",),
}
"""Where the names of each piece's back ends are, "module:collection" each."""


def known_backends(piece: str) -> list[str]:
    """The back ends of a piece, in order."""
    places = (place.split(":") for place in PIECES[piece])
    return [name for module, names in places for name in getattr(importlib.import_module(module), names)]
