"""Rewards: functions that score a clip and give reasons. torch is imported only for networks.

total, parts = comprehensive_reward("a red circle moving left", frames)      # frames: uint8[T,H,W,3]
report = RewardSuite(read_mix(path)).score(Clip(frames=frames, fps=8, prompt=prompt))
reward_funcs = as_reward_funcs(mix)                                          # TRL's protocol
"""

from typing import TYPE_CHECKING, Any

from rewards.import_object import import_object

if TYPE_CHECKING:
    from rewards.clip import Clip
    from rewards.errors import DailiesError, RewardError, RewardUnavailable
    from rewards.mix import Mix, RewardReport, read_mix
    from rewards.registry import REWARDS, is_reward, known_rewards, load_reward, reward_spec
    from rewards.reward_functions import as_reward_funcs, comprehensive_reward, mix_reward_func
    from rewards.spec import RewardResult, RewardSpec

__all__ = [
    "REWARDS",
    "Clip",
    "DailiesError",
    "Mix",
    "RewardError",
    "RewardReport",
    "RewardResult",
    "RewardSpec",
    "RewardUnavailable",
    "as_reward_funcs",
    "comprehensive_reward",
    "is_reward",
    "known_rewards",
    "load_reward",
    "mix_reward_func",
    "read_mix",
    "reward_spec",
]

_EXPORTS = {
    "REWARDS": "rewards.registry",
    "Clip": "rewards.clip",
    "DailiesError": "rewards.errors",
    "Mix": "rewards.mix",
    "RewardError": "rewards.errors",
    "RewardReport": "rewards.mix",
    "RewardResult": "rewards.spec",
    "RewardSpec": "rewards.spec",
    "RewardUnavailable": "rewards.errors",
    "as_reward_funcs": "rewards.reward_functions",
    "comprehensive_reward": "rewards.reward_functions",
    "is_reward": "rewards.registry",
    "known_rewards": "rewards.registry",
    "load_reward": "rewards.registry",
    "mix_reward_func": "rewards.reward_functions",
    "read_mix": "rewards.mix",
    "reward_spec": "rewards.registry",
}
"""The module of each name above, imported at its first use: `rewards.errors` alone loads neither numpy nor pydantic."""


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'rewards' has no attribute {name!r}")
    return import_object(f"{_EXPORTS[name]}:{name}")
