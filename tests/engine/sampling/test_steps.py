"""The steps against the papers' formulas as printed, and against a Gaussian whose answer is known in closed form."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.family_interface import Conditioning, FamilySpec, Prediction
from engine.sampling.forward_process import add_noise, implied_x0, predict_x0_and_noise, training_target
from engine.sampling.sampler import denoise
from engine.sampling.schedules import sigmas_for
from engine.sampling.steps import (
    ODE_STEPS,
    Form,
    StepFunction,
    ddim_step,
    gaussian_log_prob,
    ode_step,
    sde_coefficients,
    sde_step,
)

FORMS: list[Form] = ["flow_grpo", "sage", "dance", "cps"]


@st.composite
def levels(draw: st.DrawFn) -> tuple[float, float]:
    """A noise level and the next, lower one."""
    sigma = draw(st.floats(0.05, 0.98))
    return sigma, draw(st.floats(0.0, sigma * 0.95))


def draw_latents(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def as_printed(form: Form, a: float, x: Tensor, v: Tensor, s: float, s_next: float) -> tuple[Tensor, float]:
    """Mean and std as each paper's code writes them, in float64."""
    x, v, dt = x.double(), v.double(), s_next - s
    if form == "flow_grpo":
        rate = a * math.sqrt(s / (1 - s))
        mean = x * (1 + rate**2 / (2 * s) * dt) + v * (1 + rate**2 * (1 - s) / (2 * s)) * dt
        return mean, rate * math.sqrt(-dt)
    if form == "dance":
        x0 = x - s * v
        score = -(x - (1 - s) * x0) / s**2
        return x + v * dt - 0.5 * a**2 * score * dt, a * math.sqrt(-dt)
    if form == "sage":  # by numerical integration of a^2 u / (1 - u), with flow_grpo's mean for this std
        nodes, weights = np.polynomial.legendre.leggauss(60)
        at = s_next + (nodes + 1) / 2 * (s - s_next)
        std = a * math.sqrt(float((weights * at / (1 - at)).sum()) * (s - s_next) / 2)
        return x + v * dt - std**2 / (2 * s) * (x + (1 - s) * v), std
    std = s_next * math.sin(a * math.pi / 2)
    return (1 - s_next) * (x - s * v) + math.sqrt(s_next**2 - std**2) * (x + (1 - s) * v), std


@given(pair=levels(), a=st.floats(0.05, 1.0), form=st.sampled_from(FORMS), seed=st.integers(0, 99))
def test_mean_and_std_are_the_papers(pair: tuple[float, float], a: float, form: Form, seed: int) -> None:
    sigma, sigma_next = pair[0], max(pair[1], 0.01)
    x, v = draw_latents(seed, 2, 3, 4), draw_latents(seed + 100, 2, 3, 4)
    step = sde_step(v, x, sigma, sigma_next, noise=torch.zeros_like(x), form=form, noise_level=a)
    mean, std = as_printed(form, a, x, v, sigma, sigma_next)
    assert step.std == pytest.approx(std, rel=1e-9)
    assert (step.mean - mean).abs().max() <= 1e-4 * max(1.0, float(mean.abs().max()))


@given(pair=levels(), form=st.sampled_from(FORMS), half=st.booleans())
def test_without_noise_every_form_is_the_ode(pair: tuple[float, float], form: Form, half: bool) -> None:
    dtype = torch.bfloat16 if half else torch.float32
    x, v = draw_latents(1, 2, 5).to(dtype), draw_latents(2, 2, 5)
    ode = ode_step(v, x, *pair)
    silent = sde_step(v, x, *pair, noise=torch.ones(2, 5), form=form, noise_level=0.0)
    assert torch.equal(silent.next_latents, ode.next_latents) and silent.next_latents.dtype == dtype
    assert silent.log_prob is None and silent.std == 0


@pytest.mark.parametrize("form", FORMS)
def test_the_last_step_is_the_odes(form: Form) -> None:
    x, v = draw_latents(1, 2, 5), draw_latents(2, 2, 5)
    last = sde_step(v, x, 0.1, 0.0, noise=torch.ones(2, 5), form=form, noise_level=0.7)
    assert torch.equal(last.next_latents, ode_step(v, x, 0.1, 0.0).next_latents)
    assert last.log_prob is None


def test_the_first_step_of_flow_grpo_stays_finite() -> None:
    std, drift = sde_coefficients("flow_grpo", 0.7, 1.0, 0.9)
    assert std == pytest.approx(0.7 * math.sqrt(1 / (1 - 0.9)) * math.sqrt(0.1))
    assert drift == pytest.approx(std**2 / 2)


def test_sages_variance_is_exact_and_tends_to_the_first_order_of_flow_grpo() -> None:
    # 0.7 sqrt(ln(0.5 / 0.2) - 0.3), where flow_grpo has 0.7 sqrt(0.8 / 0.2 * 0.3)
    std, drift = sde_coefficients("sage", 0.7, 0.8, 0.5)
    assert std == pytest.approx(0.7 * 0.785041866, abs=1e-8) and drift == pytest.approx(std**2 / 1.6)
    assert sde_coefficients("flow_grpo", 0.7, 0.8, 0.5)[0] == pytest.approx(0.7 * 1.095445115, abs=1e-8)
    ratios = []
    for count in (10, 100, 1000, 10_000):
        pair = (0.6, 0.6 - 0.5 / count)
        ratios.append(sde_coefficients("sage", 0.7, *pair)[0] / sde_coefficients("flow_grpo", 0.7, *pair)[0])
    gaps = [1 - ratio for ratio in ratios]
    assert all(0 < later < 0.11 * earlier for earlier, later in pairwise(gaps)) and gaps[-1] < 1e-4


@pytest.mark.parametrize("sigma", [1.0, 0.999999])
def test_sages_first_step_from_pure_noise_is_the_odes(sigma: float) -> None:
    x, v = draw_latents(1, 2, 5), draw_latents(2, 2, 5)
    first = sde_step(v, x, sigma, 0.9, noise=torch.ones(2, 5), form="sage", noise_level=0.7)
    assert torch.equal(first.next_latents, ode_step(v, x, sigma, 0.9).next_latents)
    assert first.log_prob is None


@pytest.mark.parametrize("num_steps", [4, 8, 16, 50, 1000])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 16.0])
def test_unipcs_first_level_counts_as_pure_noise(num_steps: int, shift: float) -> None:
    """UniPC begins at 0.999999, where sqrt(s / (1 - s)) would be 1000: the first std is the level, as from s = 1."""
    own = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
    levels = sigmas_for({"_class_name": "UniPCMultistepScheduler", **own}, num_steps, 0).tolist()
    assert 1 - 2e-6 < levels[0] < 1
    std, drift = sde_coefficients("flow_grpo", 0.7, levels[0], levels[1])
    assert std == pytest.approx(0.7, rel=1e-2) and drift == pytest.approx(std**2 / 2, rel=1e-5)
    stds = [sde_coefficients("flow_grpo", 0.7, *pair)[0] for pair in pairwise(levels)]
    assert max(stds) <= 0.7 * 1.6 and stds[-1] == 0


@pytest.mark.parametrize("num_steps", [4, 8, 50])
def test_dpm_solvers_first_level_counts_as_pure_noise(num_steps: int) -> None:
    """With Sana-Video's shift it begins at 0.99987, where sqrt(s / (1 - s)) would be 89."""
    own = {"use_flow_sigmas": True, "flow_shift": 8.0, "prediction_type": "flow_prediction"}
    levels = sigmas_for({"_class_name": "DPMSolverMultistepScheduler", **own}, num_steps, 0).tolist()
    assert levels[0] == pytest.approx(0.999875, abs=1e-6)
    stds = [sde_coefficients("flow_grpo", 0.7, *pair)[0] for pair in pairwise(levels)]
    assert max(stds) <= 0.7 * 1.6 and stds[-1] == 0


@pytest.mark.parametrize(("form", "level"), [("flow_grpo", -0.1), ("cps", 1.5)])
def test_levels_out_of_range_are_refused(form: Form, level: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        sde_coefficients(form, level, 0.5, 0.4)


def test_a_random_step_without_noise_is_refused() -> None:
    x = draw_latents(1, 2, 5)
    with pytest.raises(ValueError, match="needs noise"):
        sde_step(x, x, 0.5, 0.4)


@given(seed=st.integers(0, 99), pair=levels(), form=st.sampled_from(FORMS), half=st.booleans())
def test_log_prob_is_that_of_what_is_stored(seed: int, pair: tuple[float, float], form: Form, half: bool) -> None:
    sigma, sigma_next = pair[0], max(pair[1], 0.01)
    x, v = draw_latents(seed, 3, 2, 4), draw_latents(seed + 1, 3, 2, 4)
    x = x.to(torch.bfloat16) if half else x
    taken = sde_step(v, x, sigma, sigma_next, noise=draw_latents(seed + 2, 3, 2, 4), form=form, noise_level=0.6)
    normal = torch.distributions.Normal(taken.mean.double(), taken.std)
    expected = normal.log_prob(taken.next_latents.double()).flatten(1).mean(1)
    assert taken.log_prob is not None and taken.log_prob.dtype == torch.float32
    assert (taken.log_prob - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))
    again = sde_step(v, x, sigma, sigma_next, next_latents=taken.next_latents, form=form, noise_level=0.6)
    assert torch.equal(again.log_prob, taken.log_prob)


def test_log_prob_pulls_the_mean_towards_the_sample() -> None:
    x, v = draw_latents(0, 2, 6), draw_latents(1, 2, 6).requires_grad_()
    taken = sde_step(v, x, 0.6, 0.5, noise=draw_latents(2, 2, 6))
    assert taken.log_prob is not None and not taken.next_latents.requires_grad
    taken.log_prob.sum().backward()
    nearer = sde_step(v.detach() + 1e-2 * v.grad, x, 0.6, 0.5, next_latents=taken.next_latents)
    assert (nearer.log_prob > taken.log_prob).all()


def test_log_prob_is_a_mean_over_elements() -> None:
    value = torch.zeros(1, 1000)
    assert gaussian_log_prob(value, value, 1.0).item() == pytest.approx(-0.5 * math.log(2 * math.pi), rel=1e-6)


@pytest.mark.parametrize("of", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_diffusers_ddim(eta: float, of: Prediction) -> None:
    from diffusers import DDIMScheduler

    options = {"beta_schedule": "linear", "clip_sample": False, "timestep_spacing": "trailing", "prediction_type": of}
    scheduler = DDIMScheduler(**options)
    scheduler.set_timesteps(8)
    sigmas = sigmas_for({"_class_name": "DDIMScheduler", **scheduler.config}, 8, 0).tolist()
    ours = theirs = draw_latents(0, 2, 3, 4)
    for index, t in enumerate(scheduler.timesteps):
        eps, z = draw_latents(10 + index, 2, 3, 4), draw_latents(50 + index, 2, 3, 4)
        theirs = scheduler.step(eps, t, theirs, eta=eta, variance_noise=z).prev_sample
        ours = ddim_step(eps, ours, sigmas[index], sigmas[index + 1], noise=z, eta=eta, prediction_type=of).next_latents
    assert (ours - theirs).abs().max() <= 1e-4


@pytest.mark.parametrize("of", ["epsilon", "v_prediction"])
def test_ddim_without_eta_is_the_deterministic_step_bit_for_bit(of: Prediction) -> None:
    x, output = draw_latents(1, 2, 5), draw_latents(2, 2, 5)
    silent = ddim_step(output, x, 0.8, 0.6, noise=torch.ones(2, 5), eta=0.0, prediction_type=of)
    assert torch.equal(silent.next_latents, ODE_STEPS[of](output, x, 0.8, 0.6).next_latents)
    assert silent.log_prob is None and silent.std == 0


@pytest.mark.parametrize("of", ["flow", "epsilon", "v_prediction"])
@pytest.mark.parametrize(("sigma", "sigma_next"), [(0.95, 0.9), (0.6, 0.2), (0.3, 0.0)])
def test_a_step_implies_the_clean_latents_that_its_prediction_says(
    of: Prediction, sigma: float, sigma_next: float
) -> None:
    latents, output = draw_latents(1, 2, 5), draw_latents(2, 2, 5)
    step = ODE_STEPS[of](output, latents, sigma, sigma_next)
    said, _ = predict_x0_and_noise(of, output, latents, sigma)
    torch.testing.assert_close(
        implied_x0(of, latents, step.next_latents, sigma, sigma_next), said, atol=2e-5, rtol=1e-4
    )


@given(
    sigma=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
    of=st.sampled_from(["flow", "epsilon", "v_prediction"]),
)
def test_predictions_and_what_they_say_are_inverses(sigma: float, seed: int, of: Prediction) -> None:
    clean, noise = draw_latents(seed, 2, 5), draw_latents(seed + 1, 2, 5)
    latents = add_noise(of, clean, noise, sigma)
    said = predict_x0_and_noise(of, training_target(of, clean, noise, sigma), latents, sigma)
    assert (said[0] - clean).abs().max() <= 1e-4 and (said[1] - noise).abs().max() <= 1e-4


@pytest.mark.parametrize("of", ["flow", "epsilon", "v_prediction"])
def test_a_steady_prediction_leads_to_what_it_says(of: Prediction) -> None:
    """Whatever the levels on the way: this is what held frames rely on."""
    clean, noise = draw_latents(1, 2, 5), draw_latents(2, 2, 5)
    sigmas = [0.95, 0.9, 0.4, 0.1, 0.0]
    latents = add_noise(of, clean, noise, sigmas[0])
    for level, lower in pairwise(sigmas):
        latents = ODE_STEPS[of](training_target(of, clean, noise, level), latents, level, lower).next_latents
    assert (latents - clean).abs().max() <= 1e-5


class GaussianFlow:
    """The exact velocity (or noise) when clean latents are N(MEAN, SPREAD^2), independently in each element."""

    MEAN, SPREAD = 0.8, 0.5

    def __init__(self, of: Prediction = "flow") -> None:
        self.spec = FamilySpec(
            key="x", title="X", prediction=of, frame_stride=1, frame_offset=0, size_multiple=1, lora_targets=()
        )

    def predict(self, latents: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        level = float(sigma[0])
        alpha = self.moments(level)[0] / self.MEAN
        variance = alpha**2 * self.SPREAD**2 + level**2
        centred = latents - alpha * self.MEAN
        x0 = self.MEAN + alpha * self.SPREAD**2 / variance * centred
        return training_target(self.spec.prediction, x0, level / variance * centred, level)

    def moments(self, sigma: float) -> tuple[float, float]:
        alpha = 1 - sigma if self.spec.prediction == "flow" else math.sqrt(1 - sigma**2)
        return alpha * self.MEAN, math.sqrt(alpha**2 * self.SPREAD**2 + sigma**2)


def statistics(family: Any, sigmas: Tensor, step: StepFunction) -> list[tuple[float, float, float, float]]:
    """Measured and exact mean and standard deviation after each step, of 40,000 elements."""
    mean, std = family.moments(float(sigmas[0]))
    latents = mean + std * draw_latents(0, 1, 40_000)
    generators = [torch.Generator().manual_seed(1)]
    nothing = Conditioning(embeds=torch.zeros(1, 1, 1))
    steps = denoise(family, latents, sigmas, nothing, step=step, generators=generators)
    taken = [(step.sigma_next, step.next_latents) for step in steps]
    return [(float(x.mean()), float(x.std()), *family.moments(sigma)) for sigma, x in taken]


@pytest.mark.parametrize(
    ("step", "on_the_way"),
    [
        (ode_step, 0.01),
        (partial(sde_step, form="flow_grpo", noise_level=0.3), 0.02),
        # From s = 1 its first steps have std = level however short they are, which widens them by level^4 / 4.
        (partial(sde_step, form="flow_grpo", noise_level=0.7), 0.08),
        (partial(sde_step, form="dance", noise_level=0.3), 0.02),
        (partial(sde_step, form="dance", noise_level=1.0), 0.02),
        (partial(sde_step, form="cps", noise_level=0.2), 0.02),
    ],
)
def test_sde_marginals_are_the_odes(step: StepFunction, on_the_way: float) -> None:
    """Every form leaves the clips' distribution as the ODE does, at the end and at every noise level on the way."""
    measured = statistics(GaussianFlow(), torch.linspace(1, 0, 201), step)
    for mean, std, exact_mean, exact_std in measured:
        assert abs(mean - exact_mean) <= on_the_way and abs(std - exact_std) <= on_the_way
    mean, std, exact_mean, exact_std = measured[-1]
    assert abs(mean - exact_mean) <= 0.02 and abs(std - exact_std) <= 0.02


@pytest.mark.parametrize("of", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_marginals(eta: float, of: Prediction) -> None:
    sigmas = torch.cos(torch.linspace(0.02, math.pi / 2, 201, dtype=torch.float64)).clamp(0, 1)
    for mean, std, exact_mean, exact_std in statistics(
        GaussianFlow(of), sigmas, partial(ddim_step, eta=eta, prediction_type=of)
    ):
        assert abs(mean - exact_mean) <= 0.02 and abs(std - exact_std) <= 0.02


def test_the_marginal_test_would_notice_missing_drift() -> None:
    """Noise without the pull that makes room for it widens the distribution: the tolerance above is no rubber stamp."""

    def careless(prediction: Tensor, latents: Tensor, sigma: float, sigma_next: float, **given: Any) -> Any:
        taken = ode_step(prediction, latents, sigma, sigma_next)
        std, _ = sde_coefficients("dance", 1.0, sigma, sigma_next)
        widened = taken.next_latents + std * given["noise"]
        return type(taken)(next_latents=widened, mean=taken.mean, std=std, log_prob=None)

    measured = statistics(GaussianFlow(), torch.linspace(1, 0, 201), careless)
    assert max(abs(std - exact) for _, std, _, exact in measured) > 0.2
