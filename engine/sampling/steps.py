"""Denoising steps: an ODE step, SDE steps with a log-probability, and DDIM. Pure functions.

All steps have one signature, `step(prediction, latents, sigma, sigma_next, noise=None, next_latents=None)`, and return
a `StepResult`. With `noise` they sample, with `next_latents` they score those (a replay), by the same arithmetic.
Computation is in float32, and the result is rounded to the dtype of the latents before it is scored.

Legend: s = sigma, s' = sigma_next, h = s - s' > 0, x latents, v velocity, x0 = x - s v the clean latents,
x1 = x + (1 - s) v the noise; z ~ N(0, 1); l = noise_level. An SDE step replaces a part of x1 by fresh noise:

    x' = (x - h v) - drift * x1 + std * z

    form        std                               drift                       source
    ode         0                                 0                           flow matching, Euler
    flow_grpo   l sqrt(s / (1 - s)) sqrt(h)       std^2 / (2 s)               Eq. 9, arXiv:2505.05470
    dance       l sqrt(h)                         std^2 / (2 s)               the SDE of arXiv:2505.07818
    sage        l sqrt(ln((1-s') / (1-s)) - h)    std^2 / (2 s)               arXiv:2603.21872
    wan_sde     l s sqrt(h)                       std^2 / (2 s)               Flow-GRPO's code for Wan
    cps         s' sin(l pi / 2)                  s' - sqrt(s'^2 - std^2)     arXiv:2509.05952

Special cases, the same for all forms:

    l = 0               the ODE step, bit for bit, and no log-probability
    s' = 0              the ODE step: a finished clip gets no fresh noise, so its last step has no log-probability
    s > 1 - PURE_NOISE  flow_grpo's std is singular at s = 1: 1 - s' replaces 1 - s there, as in the authors' code;
                        sage's is infinite there: the ODE step

sage has the variance of flow_grpo's SDE, integrated over the step: the integral of l^2 u / (1 - u) from s' to s.
flow_grpo takes its value at s for the whole step, which is more noise. Both agree for short steps.
The authors test for s = 1 exactly. UniPC's schedules begin at 0.999999, which is 1 minus the margin that keeps its
logarithms finite; there the std of the table is 57 to 220 for 50 to 4 steps instead of l. With 1 - s' the std is
l * sqrt(s h / (1 - s')), which is at most l, since h <= 1 - s'. Sana-Video's DPM-Solver begins at 0.99987. The limit is
a fifth of a training timestep (1/1000): a level above it is the same timestep as pure noise, and only a schedule with
hundreds of steps has a second level there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from engine.family_interface import Prediction
from engine.sampling.forward_process import add_noise, predict_x0_and_noise, training_target

Form = Literal["flow_grpo", "sage", "dance", "wan_sde", "cps"]
DEFAULT_LEVELS: dict[str, float] = {
    "flow_grpo": 0.7,
    "sage": 0.7,
    "dance": 0.3,
    "wan_sde": 1.0,
    "cps": 0.7,
    "ddim": 1.0,
}
"""Default noise level of each form, and eta of DDIM. The forms' levels are not comparable with each other.

flow_grpo 0.7 is Flow-GRPO's a, which sage shares. dance 0.3 is DanceGRPO's eta: its std is l * sqrt(h) at every level,
without a factor that decreases towards the end, so 0.7 would leave far more noise in the last steps. wan_sde's std has
the factor s; its authors' l is the schedule's second level, such as 0.98 (20 steps, shift 3). cps makes the fraction
sin(l pi / 2) of the next level's noise fresh, 0.89 at 0.7, and keeps the sum of signal and noise exact at any level.
eta = 1 is DDPM's step, as in DDPO (arXiv:2305.13301).
"""
PURE_NOISE = 2e-4
"""Levels within this distance of 1 count as 1."""
Latents = Float[Tensor, "B *dims"]
LogProb = Float[Tensor, "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """Sample `next_latents ~ N(mean, std^2)` of a step.

    `log_prob` is float32, the mean over a clip's elements; None when `std` is 0.
    """

    next_latents: Latents
    mean: Latents
    std: float
    log_prob: LogProb | None


@runtime_checkable
class StepFunction(Protocol):
    """Signature of a step, which the sampler calls at each noise level."""

    def __call__(
        self,
        prediction: Latents,
        latents: Latents,
        sigma: float,
        sigma_next: float,
        noise: Latents | None = None,
        next_latents: Latents | None = None,
    ) -> StepResult: ...


def ode_step(
    prediction: Latents,
    latents: Latents,
    sigma: float,
    sigma_next: float,
    noise: Latents | None = None,
    next_latents: Latents | None = None,
) -> StepResult:
    """Euler step of the flow ODE, x' = x - h v; `noise` is not used."""
    mean = latents.float() + (sigma_next - sigma) * prediction.float()
    return _finish(mean, 0.0, latents, noise, next_latents)


def sde_step(
    prediction: Latents,
    latents: Latents,
    sigma: float,
    sigma_next: float,
    noise: Latents | None = None,
    next_latents: Latents | None = None,
    *,
    form: Form = "flow_grpo",
    noise_level: float = DEFAULT_LEVELS["flow_grpo"],
) -> StepResult:
    """Stochastic step of a flow model; `noise_level` >= 0 (cps: <= 1) is the papers' a or eta.

    The log-probability is that of the Gaussian for every form. Flow-CPS' code omits 1 / (2 std^2), so its clip range
    (1e-5) does not carry over: here it must be wider by that factor, which differs from step to step.
    """
    x, v = latents.float(), prediction.float()
    mean = x + (sigma_next - sigma) * v
    std, drift = sde_coefficients(form, noise_level, sigma, sigma_next)
    if std > 0:
        mean = mean - drift * (x + (1 - sigma) * v)
    return _finish(mean, std, latents, noise, next_latents)


def sde_coefficients(form: Form, noise_level: float, sigma: float, sigma_next: float) -> tuple[float, float]:
    """Return `(std, drift)` of the table above.

    Raise ValueError for an unknown form or a level out of range.
    """
    if noise_level < 0 or (form == "cps" and noise_level > 1):
        raise ValueError(f"noise level {noise_level} is out of range for {form}: it must be >= 0, and <= 1 for cps")
    if noise_level == 0 or sigma_next == 0:
        return 0.0, 0.0
    root_h = math.sqrt(sigma - sigma_next)
    match form:
        case "flow_grpo":
            signal = 1 - (sigma_next if sigma > 1 - PURE_NOISE else sigma)
            std = noise_level * math.sqrt(sigma / signal) * root_h
        case "sage":
            if sigma > 1 - PURE_NOISE:
                return 0.0, 0.0
            step = sigma - sigma_next
            std = noise_level * math.sqrt(max(0.0, math.log1p(step / (1 - sigma)) - step))
        case "dance":
            std = noise_level * root_h
        case "wan_sde":
            std = noise_level * sigma * root_h
        case "cps":
            std = sigma_next * math.sin(noise_level * math.pi / 2)
            return std, sigma_next - math.sqrt(max(0.0, sigma_next**2 - std**2))
        case _:
            raise ValueError(f"unknown form {form!r}: use {', '.join(get_args(Form))}")
    return std, std**2 / (2 * sigma)


def ddim_step(
    prediction: Latents,
    latents: Latents,
    sigma: float,
    sigma_next: float,
    noise: Latents | None = None,
    next_latents: Latents | None = None,
    *,
    eta: float = 0.0,
    prediction_type: Prediction = "epsilon",
) -> StepResult:
    """DDIM step (Eq. 12, with the std of Eq. 16, arXiv:2010.02502), where sigma^2 = 1 - abar.

    eta = 0 is DDIM's deterministic step, eta = 1 is DDPM's. The last step (sigma_next = 0) adds no noise.
    """
    abar, abar_next = 1 - sigma**2, 1 - sigma_next**2
    std = eta * sigma_next / sigma * math.sqrt(max(0.0, 1 - abar / abar_next))
    x0, eps = predict_x0_and_noise(prediction_type, prediction, latents, sigma)
    mean = math.sqrt(abar_next) * x0 + math.sqrt(max(0.0, sigma_next**2 - std**2)) * eps
    return _finish(mean, std, latents, noise, next_latents)


def gaussian_log_prob(value: Latents, mean: Latents, std: float) -> LogProb:
    """Return log N(value; mean, std^2) `[B]` in float32, the mean over all dimensions but the batch."""
    z = (value.float() - mean) / std
    per_element = -0.5 * z.square() - math.log(std) - 0.5 * math.log(2 * math.pi)
    return per_element.flatten(1).mean(1)


def for_rows(random: StepFunction, plain: StepFunction, rows: Sequence[int]) -> StepFunction:
    """Return a step that is `random` for these rows of a batch and `plain` for the others.

    The result's `std` and `log_prob` are those of the random rows, and have no meaning for the others.
    """

    def step(
        prediction: Latents,
        latents: Latents,
        sigma: float,
        sigma_next: float,
        noise: Latents | None = None,
        next_latents: Latents | None = None,
    ) -> StepResult:
        drawn = random(prediction, latents, sigma, sigma_next, noise, next_latents)
        still = plain(prediction, latents, sigma, sigma_next)
        chosen = torch.zeros(len(latents), *[1] * (latents.ndim - 1), dtype=torch.bool, device=latents.device)
        chosen[list(rows)] = True
        return replace(
            drawn,
            next_latents=torch.where(chosen, drawn.next_latents, still.next_latents),
            mean=torch.where(chosen, drawn.mean, still.mean),
        )

    return step


def prediction_gain(step: StepFunction, sigma: float, sigma_next: float) -> float:
    """Return |d mean / d prediction| / std of an SDE step.

    A step's mean is linear in the prediction, and the gradient of its log-probability is this factor times its noise z.
    For the SDE forms it is (h + drift (1 - s)) / std. Raises ValueError for a step without noise.
    """
    nothing, unit = torch.zeros(1, 1), torch.ones(1, 1)
    still, moved = (step(prediction, nothing, sigma, sigma_next, nothing) for prediction in (nothing, unit))
    if moved.std == 0:
        raise ValueError(f"the step from {sigma:.3g} to {sigma_next:.3g} is not random: it has no log-probability")
    return abs(float(moved.mean - still.mean)) / moved.std


def noise_surplus(step: StepFunction, prediction_type: Prediction, sigma: float, sigma_next: float) -> float:
    """Return the noise that a step leaves in the latents, divided by `sigma_next`.

    The prediction is a perfect one. 1 is exact. The part above 1 is noise that the network takes for a part of the
    clip. `sigma_next` must be above 0.
    """
    clean, noise = torch.zeros(1, 1), torch.ones(1, 1)
    latents = add_noise(prediction_type, clean, noise, sigma)
    target = training_target(prediction_type, clean, noise, sigma)
    result = step(target, latents, sigma, sigma_next, clean)
    return math.hypot(float(result.mean), result.std) / sigma_next


def _finish(
    mean: Latents, std: float, latents: Latents, noise: Latents | None, next_latents: Latents | None
) -> StepResult:
    """Sample the next latents around `mean` unless they are given, then score them as stored."""
    if next_latents is None:
        if std > 0 and noise is None:
            raise ValueError(f"a step with std {std:.3g} needs noise to sample: give generators to the sampler")
        drawn = mean if std == 0 or noise is None else mean + std * noise.to(mean)
        next_latents = drawn.to(latents.dtype)
    log_prob = gaussian_log_prob(next_latents.detach(), mean, std) if std > 0 else None
    return StepResult(
        next_latents=next_latents.detach() if std > 0 else next_latents, mean=mean, std=std, log_prob=log_prob
    )


ODE_STEPS: dict[Prediction, StepFunction] = {
    "flow": ode_step,
    "epsilon": ddim_step,
    "v_prediction": partial(ddim_step, prediction_type="v_prediction"),
}
"""Deterministic step for each prediction type."""
