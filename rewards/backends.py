"""The shared pieces that a mix may name in `[backends]`, and their back ends.

Looking one up loads no network.
"""

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
"""The collection of back end names of each piece, as "module:collection"."""


def known_backends(piece: str) -> list[str]:
    """Return the names of a piece's back ends, in order."""
    return [name for path in PIECES[piece] for name in import_object(path)]
