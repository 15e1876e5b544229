"""The shared pieces that a mix may name in `[backends]`, and what can compute each. Looking up loads no network."""

from rewards.import_object import import_object

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
    return [name for path in PIECES[piece] for name in import_object(path)]
