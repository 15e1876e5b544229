"""Advantages of groups: how much better a clip was than its siblings of the same prompt, from one reward or several.

source      group: GRPO, arXiv:2402.03300, sec. 4.1.2 (no number there; it is Eq. 4 of Flow-GRPO, arXiv:2505.05470v5);
            global std: Flow-GRPO's code; max-group std: LongCat-Video, arXiv:2510.22200v2, Eq. 9; normalise each
            reward, sum by weight, normalise over the batch: GDPO, arXiv:2601.05242v1, Eq. 4, 7 and 6, which is what TRL
            calls `normalize_then_sum`

`rewards[N,R]` are N = P groups of G clips in a row, one column a reward; NaN = that reward does not apply to that clip.
Four scales: `group` divides by the group's own std, so a group that differs by noise alone gets the same advantages as
one with a real difference; `batch` divides by the std of all rewards and `max_group` by the largest group's std, so
that the weak groups of an update stay weak, which matters most for groups as small as four; `none` divides by nothing.

The floor is what keeps weak groups weak from one update to the next: a std is compared with those of its own update,
the floor is the same in all of them. GDPO's last step (Eq. 6) brings every batch to a std of 1 and so undoes it. Here
that step keeps the volume that the floor left, see `_whitened`; without a floor it equals GDPO's and TRL's.

Every std has Bessel's correction (n - 1), as in TRL (`nanstd`, `torch.std`) and GDPO for `group` and `batch`, and in
LongCat for `max_group`. Flow-GRPO's NumPy std divides by n instead: its advantages of groups of 4 are 1.1547 times as
large, and with its global std over 16 clips 1.0328 times.
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

    `floor` is the least std of a single reward that is divided by: differences below it count as noise and are not
    amplified, so rewards of which none differs by more than a share g of the floor give advantages with a std of g. For
    the sum of rewards it is the std that R independent rewards at the floor would have, `floor * sqrt(sum of w^2)`.
    `limit` clips the result to -limit..limit (a group of G cannot pass (G-1)/sqrt(G) by its own std, so 5 does nothing
    for G = 4). `normalize_then_sum` scales every reward within its group, so `scale` then only sets which std that is.
    Raises ValueError for a count that the group size does not divide, a group of one, or an infinite reward.
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
        values = _scaled(summed[:, None], group_size, scale, floor * float(weights.norm())).values[:, 0]
    else:
        values = _whitened(_scaled(rewards, group_size, scale, floor), weights, unscored)
    values = values.nan_to_num(nan=0.0)
    return Advantages(
        values=values if limit is None else values.clamp(-limit, limit),
        rewards=summed,
        dead=_dead(rewards, group_size),
        unscored=unscored,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scaled:
    """Rewards less their group's mean, scaled. `volume` (0..1) is the share of its full size that the floor left to a
    reward in its group; `noise` is how much of it, in the same units as `values`, the floor counts as noise."""

    values: Float[Tensor, "N R"]
    volume: Float[Tensor, "N R"]
    noise: Float[Tensor, "N R"]


def _scaled(rewards: Float[Tensor, "N R"], group_size: int, scale: Scale, floor: float) -> _Scaled:
    """Each column less its group's mean, over the std that `scale` names."""
    grouped = rewards.unflatten(0, (-1, group_size))
    centred = grouped - grouped.nanmean(1, keepdim=True)
    spread = _spread(grouped, "group" if scale == "none" else scale).expand_as(grouped)
    unit = torch.ones_like(spread) if scale == "none" else spread.clamp(min=floor) + EPS
    volume = torch.where(spread < floor, spread / floor, 1.0) if floor > 0 else torch.ones_like(spread)
    columns = (centred / unit, volume, spread.clamp(max=floor) / unit)
    values, volume, noise = (column.flatten(0, 1) for column in columns)
    return _Scaled(values=values, volume=volume, noise=noise)


def _whitened(each: _Scaled, weights: Float[Tensor, "R"], unscored: Bool[Tensor, "N"]) -> Float[Tensor, "N"]:
    """GDPO's Eq. 7 and 6: the weighted sum, brought to a std over the batch, which is not 1 but the volume that the
    floor left to what the sum consists of.

    The volume is the root mean square of the rewards' volumes, each weighted by its part in the sum's variance: one
    reward with real differences among five with noise alone is at full volume, six with noise are not. In addition, the
    std that is divided by is at least that of the noise in the sum, as the floor defines noise: where real differences
    of rewards cancel, the noise that they leave is not amplified. Without a floor the volume is 1 and the noise 0.
    """
    total = torch.where(unscored, torch.nan, (each.values * weights).nansum(1))
    part = (each.values * weights).nan_to_num(nan=0.0).square()
    volume = ((part * each.volume.nan_to_num(nan=0.0).square()).sum() / part.sum().clamp(min=1e-30)).sqrt()
    noise = torch.where(each.values.isnan(), 0.0, each.noise * weights).square().sum(1)
    spread = _std(total[:, None])[0] / volume.clamp(min=1e-12)
    return (total - total.nanmean()) / (torch.maximum(spread, noise[~unscored].mean().sqrt()) + EPS)


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
