"""GRPO's choice of steps, weights and limits of the ratio, against closed forms and the authors' published numbers."""

import itertools
import math
from collections import Counter
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.algorithms import grpo
from engine.sampling.schedules import sigmas_for
from engine.sampling.steps import Form, ddim_step, noise_surplus, ode_step, prediction_gain, sde_coefficients, sde_step

FLASH_WEIGHTS = [7.4770, 7.0414, 6.6112, 6.1867, 5.7682, 5.3559, 4.9502, 4.5513, 4.1596, 3.7754]
"""The table in Flash-GRPO's training script: the first ten of 20 steps of Wan's schedule with a shift of 3."""
FORMS: tuple[Form, ...] = ("flow_grpo", "dance", "wan_sde", "cps")


def wan_levels(num_steps: int, shift: float) -> list[float]:
    config = {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "flow_shift": shift}
    levels: list[float] = sigmas_for({**config, "prediction_type": "flow_prediction"}, num_steps, 0).double().tolist()
    return levels


def shifted(num_steps: int, shift: float) -> list[float]:
    return [shift * s / (1 + (shift - 1) * s) for s in torch.linspace(1, 0, num_steps + 1).tolist()]


# ------------------------------------------------------------------------------------------------------ choice of steps


@given(st.integers(1, 30), st.integers(1, 15), st.integers(0, 1000))
def test_random_steps_have_no_neighbours(candidates: int, size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    if size > 1 and 2 * size > candidates:
        with pytest.raises(ValueError, match="do not fit"):
            grpo.sde_steps(candidates, size, generator)
        return
    found = grpo.sde_steps(candidates, size, generator)
    assert len(found) == len(set(found)) == size and list(found) == sorted(found)
    assert 0 <= found[0] and found[-1] < candidates
    assert all(second - first not in (1, candidates - 1) for first, second in itertools.combinations(found, 2))


@pytest.mark.parametrize(("candidates", "size"), [(10, 1), (10, 3), (7, 2)])
def test_the_expected_loss_of_random_steps_is_the_share_of_all(candidates: int, size: int) -> None:
    """Every step is drawn with the probability size / candidates: within 4 standard errors of 4,000 draws."""
    generator, draws = torch.Generator().manual_seed(3), 4000
    counted = Counter(step for _ in range(draws) for step in grpo.sde_steps(candidates, size, generator))
    share = size / candidates
    error = math.sqrt(share * (1 - share) / draws)
    assert set(counted) == set(range(candidates))
    assert max(abs(count / draws - share) for count in counted.values()) < 4 * error


# -------------------------------------------------------------------------------------------------------------- weights


def test_weights_are_flash_grpos_table() -> None:
    """Its numbers are of levels that differ from the scheduler's by 5e-5, where 1 - s is 0.017: hence the tolerance."""
    levels = wan_levels(20, 3.0)
    step = partial(sde_step, form="wan_sde", noise_level=levels[1])
    gains = torch.tensor([prediction_gain(step, *levels[at : at + 2]) for at in range(10)])
    assert (1 / gains).tolist() == pytest.approx(FLASH_WEIGHTS, rel=3e-3)
    mean = sum(FLASH_WEIGHTS) / 10
    assert grpo.gradient_weights(gains, gains).tolist() == pytest.approx(
        [one / mean for one in FLASH_WEIGHTS], rel=1e-3
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("sigma", "sigma_next"), [(1.0, 0.95), (0.8, 0.7), (0.3, 0.1)])
def test_the_gain_is_the_gradient_of_the_log_probability(form: Form, sigma: float, sigma_next: float) -> None:
    """d log_prob / d prediction = -gain z / D for D elements, and gain = (h + drift (1 - s)) / std."""
    level = {"flow_grpo": 0.7, "dance": 0.3, "wan_sde": 1.0, "cps": 0.7}[form]
    std, drift = sde_coefficients(form, level, sigma, sigma_next)
    gain = prediction_gain(partial(sde_step, form=form, noise_level=level), sigma, sigma_next)
    assert gain == pytest.approx((sigma - sigma_next + drift * (1 - sigma)) / std, rel=1e-5)
    generator = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 1, 6, generator=generator)
    prediction = torch.randn(1, 6, generator=generator).requires_grad_()
    taken = sde_step(prediction, latents, sigma, sigma_next, noise, form=form, noise_level=level)
    assert taken.log_prob is not None
    (gradient,) = torch.autograd.grad(taken.log_prob.sum(), prediction)
    torch.testing.assert_close(gradient, -gain * noise / 6, rtol=1e-4, atol=1e-6)


def test_the_gain_of_ddim_is_that_of_its_mean() -> None:
    abar, abar_next, eta = 1 - 0.8**2, 1 - 0.6**2, 0.9
    std = eta * 0.6 / 0.8 * math.sqrt(1 - abar / abar_next)
    slope = math.sqrt(0.6**2 - std**2) - math.sqrt(abar_next / abar) * 0.8
    assert prediction_gain(partial(ddim_step, eta=eta), 0.8, 0.6) == pytest.approx(abs(slope) / std, rel=1e-5)


def test_weights_have_a_mean_of_one_and_even_out_the_gradients() -> None:
    levels = shifted(16, 3.0)
    step = partial(sde_step, form="flow_grpo", noise_level=0.7)
    gains = torch.tensor([prediction_gain(step, *levels[at : at + 2]) for at in range(15)])
    weights = grpo.gradient_weights(gains, gains)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(weights * gains, (weights * gains)[0].expand(15))


def test_weights_of_flow_grpo_are_longcats() -> None:
    """LongCat-Video: sqrt(s / (1 - s)) / sqrt(h), up to a constant; its first step is at s < 1."""
    levels = shifted(16, 3.0)[1:]
    pairs = list(itertools.pairwise(levels))[:-1]
    step = partial(sde_step, form="flow_grpo", noise_level=0.7)
    gains = torch.tensor([prediction_gain(step, *pair) for pair in pairs])
    ours = grpo.gradient_weights(gains, gains)
    theirs = torch.tensor([math.sqrt(s / (1 - s)) / math.sqrt(s - below) for s, below in pairs])
    torch.testing.assert_close(ours, theirs / theirs.mean(), rtol=1e-4, atol=1e-5)


def test_a_step_without_noise_has_no_weight() -> None:
    with pytest.raises(ValueError, match="not random"):
        prediction_gain(ode_step, 0.5, 0.4)


# -------------------------------------------------------------------------------------------------------- noise surplus


@pytest.mark.parametrize(
    ("form", "level", "steps", "shift", "last"),
    [
        ("flow_grpo", 0.7, 4, 5.0, 1.25),
        ("flow_grpo", 0.7, 10, 3.0, 1.24),
        ("flow_grpo", 0.7, 20, 5.0, 1.21),
        ("flow_grpo", 0.3, 20, 5.0, 1.04),
        ("dance", 0.3, 40, 5.0, 1.15),
        ("dance", 1.0, 20, 5.0, 1.85),
        ("cps", 0.7, 20, 5.0, 1.00),
    ],
)
def test_surplus_by_hand(form: Form, level: float, steps: int, shift: float, last: float) -> None:
    """sqrt((s' - drift)^2 + std^2) / s' at the last SDE step."""
    sigma, sigma_next = shifted(steps, shift)[-3:-1]
    std, drift = sde_coefficients(form, level, sigma, sigma_next)
    found = noise_surplus(partial(sde_step, form=form, noise_level=level), "flow", sigma, sigma_next)
    assert found == pytest.approx(math.hypot(sigma_next - drift, std) / sigma_next, rel=1e-5)
    assert found == pytest.approx(last, abs=0.006)


def test_ddim_leaves_no_surplus() -> None:
    for kind in ("epsilon", "v_prediction"):
        step = partial(ddim_step, eta=1.0, prediction_type=kind)
        assert noise_surplus(step, kind, 0.6, 0.4) == pytest.approx(1, abs=1e-5)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ guard and mask


def gaussian_step(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Old mean, new mean, std and noise of three clips of 40 elements."""
    generator = torch.Generator().manual_seed(seed)
    old, moved, noise = torch.randn(3, 3, 40, generator=generator)
    return old, old + 0.01 * moved, torch.tensor([0.2, 0.5, 1.0]), noise


def log_ratio_of(
    old: torch.Tensor, new: torch.Tensor, std: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    taken, spread = old + std[:, None] * noise, std[:, None]
    difference = ((taken - old).square() - (taken - new).square()) / (2 * spread**2)
    return difference.mean(1), grpo.step_kl(new, old, std)


def test_the_guarded_log_ratio_is_the_projection_of_the_change() -> None:
    """mean of z (new - old): centred, and the same for every std."""
    old, new, std, noise = gaussian_step()
    found = grpo.guarded_log_ratio(*log_ratio_of(old, new, std, noise), std)
    torch.testing.assert_close(found, (noise * (new - old)).mean(1), rtol=1e-4, atol=1e-7)


def test_the_guarded_log_ratio_is_centred_where_the_plain_one_is_below_0() -> None:
    plain, guarded = [], []
    for seed in range(300):
        old, new, std, noise = gaussian_step(seed)
        log_ratio, divergence = log_ratio_of(old, 100 * (new - old) + old, std, noise)
        plain.append(log_ratio[0])
        guarded.append(grpo.guarded_log_ratio(log_ratio, divergence, std)[0])
    below, centred = torch.stack(plain), torch.stack(guarded)
    assert below.mean() < -4 * below.std() / math.sqrt(300)
    assert abs(centred.mean()) < 3 * centred.std() / math.sqrt(300)


def test_step_kl_takes_a_std_for_each_clip() -> None:
    old, new, std, _ = gaussian_step()
    each = [grpo.step_kl(new[at : at + 1], old[at : at + 1], float(std[at])) for at in range(3)]
    torch.testing.assert_close(grpo.step_kl(new, old, std), torch.cat(each))


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "divergence", "dropped"),
    [
        (0.1, 1.0, 1e-4, True),
        (-0.1, -1.0, 1e-4, True),
        (0.1, -1.0, 1e-4, False),
        (-0.1, 1.0, 1e-4, False),
        (0.1, 1.0, 1e-6, False),
        (0.0, 1.0, 0.0, False),
    ],
)
def test_the_mask_drops_what_is_far_and_would_go_further(
    log_ratio: float, advantage: float, divergence: float, dropped: bool
) -> None:
    moved = torch.tensor([log_ratio], requires_grad=True)
    found = grpo.masked_policy_loss(moved, torch.tensor([advantage]), torch.tensor([divergence]), limit=1e-5)
    found.loss.sum().backward()
    assert bool(found.clipped) == dropped
    expected = 0.0 if dropped else -math.exp(log_ratio) * advantage
    assert float(found.loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert moved.grad is not None and float(moved.grad) == pytest.approx(expected, rel=1e-6)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="limit 0"):
        grpo.masked_policy_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), limit=0.0)
