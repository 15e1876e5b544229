"""Advantages of groups: how much better a clip was than its siblings of the same prompt, from one reward or several.

source      group: GRPO, arXiv:2402.03300, sec. 4.1.2 (no number there; it is Eq. 4 of Flow-GRPO, arXiv:2505.05470v5);
            global std: Flow-GRPO's code; max-group std: LongCat-Video, arXiv:2510.22200v2, Eq. 9; normalise each
            reward, sum by weight, normalise over the batch: GDPO, arXiv:2601.05242v1, Eq. 4, 7 and 6, which is what TRL
            calls `normalize_then_sum`

`rewards[N,R]` are N = P groups of G clips in a row, one column a reward; NaN = that reward does not apply to that clip.
Why four scales: dividing by a group's own std (`group`) makes a group whose rewards differ by noise alone as loud as
one with a real difference; `batch` divides by the std of all rewards, `max_group` by the largest group's std, so weak
groups stay weak, which matters most for groups as small as four; `none` only takes the mean away.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Scale = Literal["group", "batch", "max_group", "none"]
Aggregation = Literal["sum_then_normalize", "normalize_then_sum"]
EPS = 1e-4
"""Added to a std before dividing by it, as TRL does."""
LEAST_SPREAD = 0.1
"""Of normalised rewards, in a batch: with less, a floor held all of them down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantages:
    """`values[N]`, always finite; 0 where nothing could be said. `rewards[N]` are the weighted sums that were compared.

    `dead[P]`: groups whose clips all earned the same, which teach nothing. `unscored[N]`: clips without any reward.
    """

    values: Float[Tensor, "N"]
    rewards: Float[Tensor, "N"]
    dead: Bool[Tensor, "P"]
    unscored: Bool[Tensor, "N"]


def advantages(
    rewards: Float[Tensor, "N R"],
    group_size: int,
    *,
    weights: Float[Tensor, "R"] | None = None,
    scale: Scale = "group",
    aggregation: Aggregation = "sum_then_normalize",
    floor: float = 0.0,
    limit: float | None = None,
) -> Advantages:
    """Compare each clip with its group.

    `floor` is the least std that is divided by: differences below it count as noise and are not blown up. `limit` clips
    the result to -limit..limit (a group of G cannot pass (G-1)/sqrt(G) by its own std, so 5 does nothing for G = 4).
    `normalize_then_sum` scales every reward within its group, so `scale` then only sets which std that is. Raises
    ValueError for a count that the group size does not divide, a group of one, or an infinite reward.
    """
    if group_size < 2 or len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} clips do not make groups of {group_size}: a group has at least 2, all equal")
    if torch.isinf(rewards).any():
        raise ValueError("a reward is infinite: mend the reward function, or let it return None")
    rewards = rewards.float()
    weights = torch.ones(rewards.shape[1], device=rewards.device) if weights is None else weights.to(rewards)
    unscored = rewards.isnan().all(1)
    summed = torch.where(unscored, torch.nan, (rewards * weights).nansum(1))
    if aggregation == "sum_then_normalize":
        values = _normalized(summed[:, None], group_size, scale, floor)[:, 0]
    else:
        each = _normalized(rewards, group_size, scale, floor)
        total = torch.where(unscored, torch.nan, (each * weights).nansum(1))
        spread = _std(total[:, None])[0]
        # TRL's last step brings any batch to a std of 1: it would blow up again what the floor held down everywhere.
        values = (total - total.nanmean()) / ((spread.clamp(min=LEAST_SPREAD) if floor > 0 else spread) + EPS)
    values = values.nan_to_num(nan=0.0)
    return Advantages(
        values=values if limit is None else values.clamp(-limit, limit),
        rewards=summed,
        dead=_dead(rewards, group_size),
        unscored=unscored,
    )


def _normalized(rewards: Float[Tensor, "N R"], group_size: int, scale: Scale, floor: float) -> Float[Tensor, "N R"]:
    """Each column less its group's mean, over the std that `scale` names."""
    grouped = rewards.unflatten(0, (-1, group_size))
    centred = grouped - grouped.nanmean(1, keepdim=True)
    if scale == "none":
        return centred.flatten(0, 1)
    return (centred / (_spread(grouped, scale).clamp(min=floor) + EPS)).flatten(0, 1)


def _spread(grouped: Float[Tensor, "P G R"], scale: Literal["group", "batch", "max_group"]) -> Float[Tensor, "..."]:
    match scale:
        case "group":
            return torch.stack([_std(group) for group in grouped])[:, None]
        case "batch":
            return _std(grouped.flatten(0, 1))
        case "max_group":
            return torch.stack([_std(group).nan_to_num(nan=0.0) for group in grouped]).amax(0)


def _std(values: Float[Tensor, "N R"]) -> Float[Tensor, "R"]:
    """Std of each column over what is known, with Bessel's correction; NaN where fewer than two values are known."""
    count = (~values.isnan()).sum(0)
    variance = (values - values.nanmean(0)).square().nansum(0) / (count - 1).clamp(min=1)
    return torch.where(count > 1, variance.sqrt(), torch.nan)


def _dead(rewards: Float[Tensor, "N R"], group_size: int) -> Bool[Tensor, "P"]:
    """A group is dead when no reward tells its clips apart."""
    grouped = rewards.unflatten(0, (-1, group_size))
    high = grouped.nan_to_num(nan=-torch.inf).amax(1)
    low = grouped.nan_to_num(nan=torch.inf).amin(1)
    return ~(high - low > 1e-6).any(1)
