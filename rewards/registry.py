"""The rewards by key.

They are the built-in ones, named as modules, and those that the user declared (`rewards.external`). Also the shared
pieces that a mix may name in `[backends]`, and their back ends. Looking one up loads no network.
"""

import importlib
from typing import Any

from rewards.errors import RewardError, did_you_mean
from rewards.external.registry import declaration_problems, external_keys, is_external, open_external
from rewards.import_object import import_object
from rewards.spec import RewardSpec

REWARDS: dict[str, str] = {
    "t_lpips": "rewards.metrics.t_lpips",
    "flow_smoothness": "rewards.metrics.flow_smoothness",
    "fvd_lite": "rewards.metrics.fvd_lite",
    "identity_lock": "rewards.metrics.identity_lock",
    "structure_constancy": "rewards.metrics.structure_constancy",
    "clip_vid": "rewards.metrics.clip_vid",
    "caption_consistency": "rewards.metrics.caption_consistency",
    "seam": "rewards.metrics.seam",
    "loop_break": "rewards.metrics.loop_break",
    "aesthetic": "rewards.metrics.aesthetic",
    "framing": "rewards.metrics.framing",
    "novelty_after_k": "rewards.metrics.novelty_after_k",
    "first_frame": "rewards.metrics.first_frame",
}
"""The module of each built-in reward."""
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


def known_rewards() -> list[str]:
    """Return the keys of all rewards: the built-in ones first, then those that the user declared."""
    return [*REWARDS, *(key for key in external_keys() if key not in REWARDS)]


def reward_problems() -> dict[str, str]:
    """Return the declarations that cannot be used by key, with a sentence on each."""
    taken = {
        key: f"The external reward {key}.toml has the name of a built-in reward, so it is not used: rename the file."
        for key in external_keys()
        if key in REWARDS
    }
    return {**declaration_problems(), **taken}


def is_reward(key: str) -> bool:
    """Return True for the key of a built-in or declared reward."""
    return key in REWARDS or key in known_rewards()


def load_reward(key: str) -> Any:
    """Return a reward: a module of `rewards.metrics` or an external one (see `rewards.suite`).

    Raises RewardError for an unknown key or a wrong declaration.
    """
    if key in REWARDS:
        return importlib.import_module(REWARDS[key])
    if is_external(key):
        return open_external(key)
    raise RewardError(f"There is no reward {key!r}. {did_you_mean(key, known_rewards())}")


def reward_spec(key: str) -> RewardSpec:
    """Return the description of a reward: its question, range, source and licence."""
    spec: RewardSpec = load_reward(key).SPEC
    return spec


def known_backends(piece: str) -> list[str]:
    """Return the names of a piece's back ends, in order."""
    return [name for path in PIECES[piece] for name in import_object(path)]
