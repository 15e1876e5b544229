"""Group-relative advantages: each clip against the others of its prompt, by one or several rewards.

source      group: GRPO, arXiv:2402.03300, sec. 4.1.2 (no number there; it is Eq. 4 of Flow-GRPO, arXiv:2505.05470v5);
            global std: Flow-GRPO's code; max-group std: LongCat-Video, arXiv:2510.22200v2, Eq. 9; normalise each
            reward, sum by weight, normalise over the batch: GDPO, arXiv:2601.05242v1, Eq. 4, 7 and 6, which is what TRL
            calls `normalize_then_sum`

`rewards[N,R]` holds P groups of G consecutive clips (N = P G), one column a reward; NaN means that the reward does not
apply to the clip. Four scales: `group` divides by the group's own std, so a group that differs by noise alone gets the
same advantages as one with a real difference; `batch` divides by the std of all rewards and `max_group` by the largest
group's std, so the weak groups of an update stay weak, which matters most for groups as small as four; `none` does not
divide.

The floor keeps weak groups weak across updates: a std is only compared with those of its own update, whereas the floor
is the same in all of them. GDPO's last step (Eq. 6) scales every batch to a std of 1 and would undo this. Here that
step keeps the scale that the floor left, see `_whitened`; without a floor it equals GDPO's and TRL's.

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
    """Advantages `values[N]`, always finite, and 0 for a clip that could not be compared.

    `rewards[N]`: the weighted sums that were compared. `dead[P]`: groups whose clips all have the same rewards, which
    give no gradient. `unscored[N]`: clips without any reward.
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

    `floor` is the minimum divisor for a single reward: differences below it count as noise and are not amplified, so
    rewards whose std is at most a fraction g of the floor give advantages with a std of g. For a sum of rewards the
    minimum is the std of R independent rewards at the floor, `floor * sqrt(sum of w^2)`. `limit` clips the result to
    -limit..limit (with its own std a group of G never exceeds (G-1)/sqrt(G), so 5 has no effect for G = 4). With
    `normalize_then_sum` every reward is scaled within its group, and `scale` only selects the std. Raises ValueError
    for a count that the group size does not divide, a group of one, or an infinite reward.
    """
    if group_size < 2 or len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} clips do not make groups of {group_size}: a group has at least 2, all equal")
    if torch.isinf(rewards).any():
        raise ValueError("a reward is infinite: correct the reward function, or let it return None")
    rewards = rewards.float()
    weights = torch.ones(rewards.shape[1], device=rewards.device) if weights is None else weights.to(rewards)
    unscored = rewards.isnan().all(1)
    summed = torch.where(unscored, torch.nan, (_filled(rewards, group_size) * weights).nansum(1))
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


def _filled(rewards: Float[Tensor, "N R"], group_size: int) -> Float[Tensor, "N R"]:
    """Replace a missing reward by its group's mean, which moves the clip neither up nor down.

    A reward that is missing in the whole group stays NaN.
    """
    means = rewards.unflatten(0, (-1, group_size)).nanmean(1).repeat_interleave(group_size, 0)
    return torch.where(rewards.isnan(), means, rewards)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scaled:
    """Rewards minus their group's mean, scaled.

    `volume` (0..1) is the fraction of its full size that the floor left to a reward in its group. `noise` is the part
    that the floor counts as noise, in the units of `values`.
    """

    values: Float[Tensor, "N R"]
    volume: Float[Tensor, "N R"]
    noise: Float[Tensor, "N R"]


def _scaled(rewards: Float[Tensor, "N R"], group_size: int, scale: Scale, floor: float) -> _Scaled:
    """Subtract each column's group mean and divide by the std that `scale` selects."""
    grouped = rewards.unflatten(0, (-1, group_size))
    centred = grouped - grouped.nanmean(1, keepdim=True)
    spread = _spread(grouped, "group" if scale == "none" else scale).expand_as(grouped)
    unit = torch.ones_like(spread) if scale == "none" else spread.clamp(min=floor) + EPS
    volume = torch.where(spread < floor, spread / floor, 1.0) if floor > 0 else torch.ones_like(spread)
    columns = (centred / unit, volume, spread.clamp(max=floor) / unit)
    values, volume, noise = (column.flatten(0, 1) for column in columns)
    return _Scaled(values=values, volume=volume, noise=noise)


def _whitened(each: _Scaled, weights: Float[Tensor, "R"], unscored: Bool[Tensor, "N"]) -> Float[Tensor, "N"]:
    """GDPO's Eq. 7 and 6: the weighted sum, scaled to the volume left by the floor, not to a std of 1.

    The volume is the root mean square of the rewards' volumes, weighted by their contributions to the sum's variance:
    one reward with real differences among five of pure noise is at full volume, six of pure noise are not. The divisor
    is also at least the std of the noise in the sum, as the floor defines noise: where real differences cancel, the
    remaining noise is not amplified. Without a floor the volume is 1 and the noise 0.
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
    """Std of each column, ignoring NaN, with Bessel's correction; NaN for fewer than two values."""
    count = (~values.isnan()).sum(0)
    variance = (values - values.nanmean(0)).square().nansum(0) / (count - 1).clamp(min=1)
    return torch.where(count > 1, variance.sqrt(), torch.nan)


def _dead(rewards: Float[Tensor, "N R"], group_size: int) -> Bool[Tensor, "P"]:
    """Return for each group whether all its clips have the same rewards."""
    grouped = rewards.unflatten(0, (-1, group_size))
    high = grouped.nan_to_num(nan=-torch.inf).amax(1)
    low = grouped.nan_to_num(nan=torch.inf).amin(1)
    return ~(high - low > 1e-6).any(1)
