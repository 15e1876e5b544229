"""GRPO's and NFT's losses, MixGRPO's window, distillation: closed forms, gradients, and toys that learn."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.algorithms import distill, grpo, nft
from engine.sampling.forward_process import add_noise, predict_x0_and_noise, training_target
from engine.sampling.steps import ddim_step, gaussian_log_prob, ode_step, sde_step


def noise_like(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------------- noising


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v_prediction"])
def test_the_target_implies_both_parts(kind: str) -> None:
    clean, noise, sigma = noise_like(2, 3, 4), noise_like(2, 3, 4, seed=1), torch.tensor([0.3, 0.8])
    noisy = add_noise(kind, clean, noise, sigma)  # type: ignore[arg-type]
    target = training_target(kind, clean, noise, sigma)  # type: ignore[arg-type]
    found = predict_x0_and_noise(kind, target, noisy, sigma)  # type: ignore[arg-type]
    torch.testing.assert_close(found, (clean, noise))


@pytest.mark.parametrize(("kind", "name"), [("epsilon", "epsilon"), ("v_prediction", "v_prediction")])
def test_noising_is_that_of_diffusers(kind: str, name: str) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(prediction_type=name, clip_sample=False)
    clean, noise, t = noise_like(2, 3, 4), noise_like(2, 3, 4, seed=1), torch.tensor([100, 700])
    sigma = (1 - scheduler.alphas_cumprod[t]).sqrt()
    torch.testing.assert_close(add_noise(kind, clean, noise, sigma), scheduler.add_noise(clean, noise, t))  # type: ignore[arg-type]
    if kind == "v_prediction":
        expected = scheduler.get_velocity(clean, noise, t)
        torch.testing.assert_close(training_target(kind, clean, noise, sigma), expected)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------- grpo


def test_policy_loss_on_the_first_update_is_minus_the_advantage() -> None:
    log_prob, advantage = noise_like(5).requires_grad_(), noise_like(5, seed=1)
    found = grpo.policy_loss(log_prob - log_prob.detach(), advantage, clip_low=1e-4)
    torch.testing.assert_close(found.loss, -advantage)
    found.loss.sum().backward()
    torch.testing.assert_close(log_prob.grad, -advantage)
    assert found.clipped.sum() == 0
    assert found.log_ratio.abs().max() == 0


@pytest.mark.parametrize(
    ("moved", "advantage", "clipped"), [(0.1, 1.0, 1), (0.1, -1.0, 0), (-0.1, 1.0, 0), (-0.1, -1.0, 1)]
)
def test_the_clip_cuts_only_what_goes_too_far(moved: float, advantage: float, clipped: int) -> None:
    log_prob = torch.tensor([moved], requires_grad=True)
    found = grpo.policy_loss(log_prob, torch.tensor([advantage]), clip_low=1e-3)
    found.loss.sum().backward()
    assert found.clipped.item() == clipped
    assert log_prob.grad is not None
    assert (log_prob.grad.item() == 0) == bool(clipped)


def test_policy_loss_is_trls_grpo_term() -> None:
    """TRL: -min(coef_1 A, clamp(coef_1, 1 - eps_low, 1 + eps_high) A)."""
    new, old, advantage = 0.01 * noise_like(9), 0.01 * noise_like(9, seed=1), noise_like(9, seed=2)
    ratio = torch.exp(new - old)
    expected = -torch.min(ratio * advantage, torch.clamp(ratio, 1 - 2e-3, 1 + 4e-3) * advantage)
    torch.testing.assert_close(grpo.policy_loss(new - old, advantage, clip_low=2e-3, clip_high=4e-3).loss, expected)


def test_a_clip_range_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="clip range"):
        grpo.policy_loss(torch.zeros(1), torch.zeros(1), clip_low=0.0)


def test_kl_is_that_of_torch() -> None:
    from torch.distributions import Normal, kl_divergence

    mean, ref = noise_like(3, 4, 5), noise_like(3, 4, 5, seed=1)
    expected = kl_divergence(Normal(mean, 0.3), Normal(ref, 0.3)).flatten(1).mean(1)
    torch.testing.assert_close(grpo.step_kl(mean, ref, 0.3), expected)


def test_gradient_is_that_of_the_score_function() -> None:
    """d/d mean of -A log N(x; mean, std) is -A (x - mean) / std^2, over the number of elements."""
    mean, x = noise_like(1, 6).requires_grad_(), noise_like(1, 6, seed=1)
    log_prob = gaussian_log_prob(x, mean, 0.5)
    grpo.policy_loss(log_prob - log_prob.detach(), torch.tensor([2.0]), clip_low=1e-3).loss.sum().backward()
    torch.testing.assert_close(mean.grad, -2.0 * (x - mean.detach()) / 0.25 / 6)


def test_grpo_moves_a_toy_policy_to_what_is_rewarded() -> None:
    """The 'network' is one velocity; clips that end high are rewarded; 60 updates raise where they end."""
    velocity = torch.zeros(1, 4, requires_grad=True)
    optimizer = torch.optim.Adam([velocity], lr=0.02)
    generator = torch.Generator().manual_seed(5)
    start = torch.zeros(32, 4)
    first = last = 0.0
    for update in range(60):
        noise = torch.randn(32, 4, generator=generator)
        taken = sde_step(velocity.expand(32, 4), start, 0.6, 0.4, noise=noise)
        reward = taken.next_latents.mean(1)
        advantage = (reward - reward.mean()) / reward.std()
        replay = sde_step(velocity.expand(32, 4), start, 0.6, 0.4, next_latents=taken.next_latents)
        assert replay.log_prob is not None and taken.log_prob is not None
        loss = grpo.policy_loss(replay.log_prob - taken.log_prob.detach(), advantage, clip_low=1e-3).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (float(reward.mean()), last) if update == 0 else (first, float(reward.mean()))
    assert last > first + 0.1


# ----------------------------------------------------------------------------------------------------- grpo's window


@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 500))
def test_the_window_stays_inside(num_steps: int, size: int, iteration: int) -> None:
    if size > num_steps - 1:
        with pytest.raises(ValueError, match="does not fit"):
            grpo.window_steps(num_steps, size, iteration)
        return
    window = grpo.window_steps(num_steps, size, iteration, every=3)
    assert len(window) == size
    assert 0 <= window.start and window.stop <= num_steps - 1


def test_the_window_visits_every_random_step_and_comes_back() -> None:
    starts = [grpo.window_steps(10, 4, iteration, every=2).start for iteration in range(14)]
    assert starts == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0]


# ----------------------------------------------------------------------------------------------------------------- nft


def test_optimality_maps_and_clips() -> None:
    assert nft.optimality_probability(torch.tensor([-9.0, -5.0, 0.0, 2.5, 9.0])).tolist() == pytest.approx(
        [0, 0, 0.5, 0.75, 1]
    )


def test_nft_loss_is_the_papers() -> None:
    """Written out with predictions and noise levels as in the paper, for flow."""
    clean, noise, sigma, b = noise_like(3, 5), noise_like(3, 5, seed=1), torch.tensor([0.2, 0.5, 0.9]), 0.4
    x = add_noise("flow", clean, noise, sigma)
    v, old, ref = (noise_like(3, 5, seed=seed) for seed in (2, 3, 4))
    r = torch.tensor([0.1, 0.5, 1.0])
    s = sigma[:, None]
    total = torch.zeros(3)
    for share, mixed in ((r, b * v + (1 - b) * old), (1 - r, (1 + b) * old - b * v)):
        error = clean - (x - s * mixed)
        total = total + share * (error**2).mean(1) / error.abs().mean(1)
    expected = total / b + 0.01 * ((s * (v - ref)) ** 2).mean(1)
    estimates = [predict_x0_and_noise("flow", each, x, sigma)[0] for each in (v, old, ref)]
    found = nft.nft_loss(clean, *estimates, r, beta=b, kl=0.01)
    torch.testing.assert_close(found.loss, expected)


@pytest.mark.parametrize(("optimality", "towards"), [(1.0, True), (0.0, False)])
def test_nft_pulls_to_good_clips_and_away_from_bad_ones(optimality: float, towards: bool) -> None:
    clean, old = torch.ones(1, 4), torch.zeros(1, 4)
    estimate = torch.zeros(1, 4, requires_grad=True)
    nft.nft_loss(clean, estimate, old, None, torch.tensor([optimality])).loss.sum().backward()
    assert estimate.grad is not None
    assert (estimate.grad < 0).all() == towards


def test_nft_refuses_nan_and_a_beta_out_of_range() -> None:
    flat = torch.zeros(1, 4)
    with pytest.raises(ValueError, match="optimality"):
        nft.nft_loss(flat, flat, flat, None, torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="beta"):
        nft.nft_loss(flat, flat, flat, None, torch.tensor([0.5]), beta=1.5)


def test_old_policy_decay() -> None:
    assert nft.old_policy_decay(0) == 0
    assert nft.old_policy_decay(100) == pytest.approx(0.1)
    assert nft.old_policy_decay(10_000) == 0.5
    assert [nft.old_policy_decay(s, flat=75, slope=0.0075, most=0.999) for s in (75, 115, 999)] == [0, 0.3, 0.999]


# ------------------------------------------------------------------------------------------------------------- distill


@pytest.mark.parametrize(("kind", "step"), [("flow", ode_step), ("epsilon", ddim_step)])
def test_a_jump_is_one_step_of_the_sampler(kind: str, step: object) -> None:
    x, prediction = noise_like(2, 3, 4), noise_like(2, 3, 4, seed=1)
    for sigma, end in ((0.9, 0.5), (0.5, 0.0)):
        expected = step(prediction, x, sigma, end).next_latents  # type: ignore[operator]
        found = distill.jump(kind, prediction, x, sigma, end)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected)
        back = distill.target_prediction(kind, found, x, sigma, end)  # type: ignore[arg-type]
        torch.testing.assert_close(back, prediction, rtol=1e-4, atol=1e-4)


def test_consistency_loss_is_huber() -> None:
    apart = distill.consistency_loss(torch.full((1, 9), 3.0), torch.zeros(1, 9), huber=0.001)
    assert float(apart) == pytest.approx(3.0, abs=2e-3)
    near = distill.consistency_loss(torch.full((1, 9), 0.1), torch.zeros(1, 9), huber=1.0)
    assert float(near) == pytest.approx(0.005, rel=0.01)
    assert float(distill.consistency_loss(torch.ones(1, 3), torch.ones(1, 3))) == 0


def test_distillation_makes_one_step_land_where_many_do() -> None:
    """Data N(0, 0.25), whose velocity is known in closed form; the student has one free number a level."""
    spread, levels = 0.5, torch.linspace(1, 0, 13).tolist()
    generator = torch.Generator().manual_seed(7)

    def teacher(x: torch.Tensor, s: float) -> torch.Tensor:
        return (s - (1 - s) * spread**2) / ((1 - s) ** 2 * spread**2 + s**2) * x

    def student_loss(index: int) -> torch.Tensor:
        sigma, lower = levels[index], levels[index + 1]
        x = math.sqrt((1 - sigma) ** 2 * spread**2 + sigma**2) * torch.randn(64, 1, generator=generator)
        end = 0.0
        arrival = distill.jump("flow", teacher(x, sigma), x, sigma, lower)
        if lower > end:
            arrival = distill.jump("flow", slopes[index + 1].detach() * arrival, arrival, lower, end)
        target = distill.target_prediction("flow", arrival, x, sigma, end)
        return distill.consistency_loss(slopes[index] * x, target).mean()

    slopes = torch.zeros(12, requires_grad=True)
    optimizer = torch.optim.Adam([slopes], lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=200)
    for _ in range(200):
        optimizer.zero_grad()
        torch.stack([student_loss(index) for index in range(12)]).sum().backward()
        optimizer.step()
        schedule.step()
    start = torch.randn(256, 1, generator=generator)
    one, many = distill.jump("flow", slopes[0].detach() * start, start, 1.0, 0.0), start
    for sigma, lower in itertools.pairwise(levels):
        many = distill.jump("flow", teacher(many, sigma), many, sigma, lower)
    untrained = distill.jump("flow", teacher(start, 1.0), start, 1.0, 0.0)
    assert (one - many).abs().mean() < 0.1 * (untrained - many).abs().mean()
