"""Advantages compared with the code of the installed TRL, and their limits."""

import inspect
import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.algorithms.advantages import advantages


def trl_advantages(
    rewards: torch.Tensor, group: int, weights: torch.Tensor, scale: str, aggregation: str
) -> torch.Tensor:
    """Run the part of TRL's `GRPOTrainer._generate_and_score_completions` that computes advantages."""
    from types import SimpleNamespace

    from trl import GRPOTrainer
    from trl.trainer.utils import nanstd

    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    begin = source.index('if self.multi_objective_aggregation == "sum_then_normalize"')
    begin = source.rindex("\n", 0, begin) + 1
    end = source.index("advantages = torch.nan_to_num(advantages, nan=0.0)")
    block = textwrap.dedent(source[begin : source.index("\n", end)])
    trainer = SimpleNamespace(
        multi_objective_aggregation=aggregation,
        scale_rewards=scale,
        reward_weights=weights,
        reward_funcs=[None] * rewards.shape[1],
    )
    names = {
        "self": trainer,
        "torch": torch,
        "nanstd": nanstd,
        "rewards_per_func": rewards,
        "num_generations": group,
        "device": rewards.device,
        "unscorable_mask": rewards.isnan().all(dim=1),
    }
    exec(block, names)
    found: torch.Tensor = names["advantages"]  # type: ignore[assignment]
    return found


def draw(groups: int, size: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(groups * size, count, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("aggregation", "scale"),
    [
        ("sum_then_normalize", "group"),
        ("sum_then_normalize", "batch"),
        ("sum_then_normalize", "none"),
        ("normalize_then_sum", "group"),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_equal_to_trl(aggregation: str, scale: str, missing: bool) -> None:
    rewards, weights = draw(5, 4, 3), torch.tensor([1.0, 0.5, 2.0])
    if missing:
        rewards[1, 0] = rewards[6] = rewards[11, 2] = float("nan")
    ours = advantages(rewards, 4, weights=weights, scale=scale, aggregation=aggregation)  # type: ignore[arg-type]
    theirs = rewards.clone()
    if aggregation == "sum_then_normalize":  # TRL counts a missing reward as 0, see the next test
        for row, column in ((1, 0), (11, 2)) if missing else ():
            group = slice(row // 4 * 4, row // 4 * 4 + 4)
            theirs[row, column] = rewards[group, column].nanmean()
    torch.testing.assert_close(ours.values, trl_advantages(theirs, 4, weights, scale, aggregation))


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_a_missing_reward_moves_its_clip_neither_up_nor_down(aggregation: str) -> None:
    """The order of the clips is that of their other reward, on which the clip without the second is the third."""
    nan = float("nan")
    rewards = torch.tensor([[0.80, 0.9], [0.82, 0.9], [0.81, nan], [0.83, 0.9]])
    found = advantages(rewards, 4, aggregation=aggregation)  # type: ignore[arg-type]
    assert found.values.argsort().tolist() == [0, 2, 1, 3]
    alone = advantages(rewards[:, :1], 4, aggregation=aggregation).values  # type: ignore[arg-type]
    torch.testing.assert_close(found.values, alone, rtol=0.05, atol=0)
    unscored = advantages(torch.tensor([[0.8, 0.9], [nan, nan], [0.7, 0.9], [0.9, 0.9]]), 4)
    assert unscored.unscored.tolist() == [False, True, False, False] and unscored.values[1] == 0


def test_global_std_is_flow_grpos() -> None:
    """(r - prompt mean) / (std of all + 1e-4)."""
    rewards = draw(3, 4, 1)
    mean = rewards.view(3, 4).mean(1).repeat_interleave(4)
    expected = (rewards[:, 0] - mean) / (rewards.std() + 1e-4)
    torch.testing.assert_close(advantages(rewards, 4, scale="batch").values, expected)


def test_max_group_std_keeps_weak_groups_weak() -> None:
    loud, quiet = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.5, 0.501, 0.5, 0.501])
    rewards = torch.cat([loud, quiet])[:, None]
    own, largest = (advantages(rewards, 4, scale=scale).values for scale in ("group", "max_group"))  # type: ignore[arg-type]
    assert own[4:].abs().max() > 0.5 * own[:4].abs().max()
    assert largest[4:].abs().max() < 0.01 * largest[:4].abs().max()


def test_nor_does_the_whitening_of_the_sum_blow_it_up() -> None:
    rewards = 0.5 + 1e-5 * torch.rand(16, 2, generator=torch.Generator().manual_seed(0))
    held = advantages(rewards, 4, aggregation="normalize_then_sum", floor=0.02).values
    assert held.abs().max() < 0.02
    assert advantages(rewards, 4, aggregation="normalize_then_sum").values.abs().max() > 0.3  # TRL's arithmetic


def test_the_floor_leaves_real_differences_as_they_are() -> None:
    rewards = torch.rand(16, 2, generator=torch.Generator().manual_seed(0))
    held, free = (advantages(rewards, 4, aggregation="normalize_then_sum", floor=f).values for f in (0.02, 0.0))
    torch.testing.assert_close(held, free)


SIX = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 1.0])
FLOOR = 0.02


def loudness(spread: float | torch.Tensor, scale: str = "max_group", count: int = 50, **changes: object) -> float:
    """Return the mean std of the advantages over `count` draws.

    Each draw has two groups of four with six independent rewards of the given std.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = {"weights": SIX, "aggregation": "normalize_then_sum", "floor": FLOOR, "limit": 5.0, **changes}
    drawn = (0.7 + spread * torch.randn(8, 6, generator=generator) for _ in range(count))
    return sum(float(advantages(one, 4, scale=scale, **chosen).values.std()) for one in drawn) / count  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", ["group", "batch", "max_group", "none"])
def test_noise_below_the_floor_stays_as_small_as_it_is_and_real_differences_are_at_full_volume(scale: str) -> None:
    """Rewards with a std far below the floor get small advantages, not advantages of unit std."""
    assert loudness(FLOOR / 20, scale) <= 0.1
    assert loudness(FLOOR / 2, scale) == pytest.approx(0.55, abs=0.1)
    assert loudness(5 * FLOOR, scale) >= 0.98


def test_the_floor_of_a_sum_knows_its_weights() -> None:
    assert loudness(FLOOR / 20, aggregation="sum_then_normalize") <= 0.1
    weak = loudness(FLOOR / 4, aggregation="sum_then_normalize")
    assert loudness(FLOOR / 4, aggregation="sum_then_normalize", weights=10 * SIX) == pytest.approx(weak, abs=0.01)
    assert loudness(FLOOR / 4, weights=10 * SIX) == pytest.approx(loudness(FLOOR / 4), abs=0.01)


def test_one_reward_with_real_differences_is_heard_among_noise() -> None:
    spread = torch.tensor([0.001, 0.1, 0.001, 0.001, 0.001, 0.001])
    assert loudness(spread) >= 0.98


def test_differences_that_cancel_leave_noise_that_is_not_amplified() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(8, 1, generator=generator)
    noise = 0.0005 * torch.randn(8, 2, generator=generator)
    rewards = 0.5 + torch.cat([0.1 * real, -0.1 * real], 1) + noise
    held, free = (advantages(rewards, 4, aggregation="normalize_then_sum", floor=f).values.std() for f in (FLOOR, 0.0))
    assert held < 0.1 and free > 0.9


@pytest.mark.parametrize("scale", ["group", "max_group"])
def test_weak_groups_stay_weak_from_one_update_to_the_next(scale: str) -> None:
    """A group with a std of a tenth of the floor has small advantages.

    This holds next to a strong group, and in an update of weak groups only.
    """
    generator = torch.Generator().manual_seed(0)
    weak = 0.5 + 0.1 * FLOOR * torch.randn(4, 3, generator=generator)
    also_weak = 0.5 + 0.1 * FLOOR * torch.randn(4, 3, generator=generator)
    loud = 0.5 + 0.1 * torch.randn(4, 3, generator=generator)
    alone, beside = (
        advantages(torch.cat([weak, other]), 4, scale=scale, aggregation="normalize_then_sum", floor=FLOOR).values  # type: ignore[arg-type]
        for other in (also_weak, loud)
    )
    assert alone.std() < 0.2 and beside[:4].std() < 0.2 and beside[4:].std() > 0.9


def test_floor_keeps_noise_from_being_blown_up() -> None:
    rewards = torch.tensor([0.5, 0.5 + 1e-5, 0.5, 0.5])[:, None]
    assert advantages(rewards, 4, floor=0.05).values.abs().max() < 1e-3


def test_a_reward_of_large_scale_does_not_drown_the_others() -> None:
    """Why rewards are normalised before they are summed (GDPO)."""
    small, large = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 100.0, 100.0])
    rewards = torch.stack([small, large], 1)
    summed = advantages(rewards, 4).values
    each = advantages(rewards, 4, aggregation="normalize_then_sum").values
    assert abs(summed[1] - summed[0]) < 0.05
    assert float(each[1] - each[0]) == pytest.approx(float(each[2] - each[0]), rel=1e-2)


def test_dead_groups_and_unscored_clips_are_named() -> None:
    nan = float("nan")
    rewards = torch.tensor([[0.3], [0.3], [0.1], [0.9], [nan], [0.4]])
    found = advantages(rewards, 2)
    assert found.dead.tolist() == [True, False, True]
    assert found.unscored.tolist() == [False, False, False, False, True, False]
    assert found.values[:2].tolist() == [0, 0]
    assert found.values[4:].tolist() == [0, 0]
    assert found.rewards[4].isnan()


def test_limit() -> None:
    rewards = torch.cat([torch.zeros(49), torch.ones(1)])[:, None]
    assert float(advantages(rewards, 50, limit=5.0).values.max()) == 5.0


@pytest.mark.parametrize("rewards", [torch.rand(6, 1), torch.rand(1, 1)])
def test_uneven_groups_are_refused(rewards: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="do not make groups"):
        advantages(rewards, 4)
    with pytest.raises(ValueError, match="do not make groups"):
        advantages(rewards, 1)


def test_an_infinite_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        advantages(torch.tensor([[1.0], [float("inf")]]), 2)


value = st.one_of(st.none(), st.floats(-1e3, 1e3))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(value, value), min_size=8, max_size=8),
    st.sampled_from(["group", "batch", "max_group", "none"]),
    st.sampled_from(["sum_then_normalize", "normalize_then_sum"]),
)
def test_always_finite(rows: list[tuple[float | None, float | None]], scale: str, aggregation: str) -> None:
    rewards = torch.tensor([[float("nan") if cell is None else cell for cell in row] for row in rows])
    found = advantages(rewards, 4, scale=scale, aggregation=aggregation)  # type: ignore[arg-type]
    assert found.values.isfinite().all()
