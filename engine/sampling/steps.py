"""One step from a noise level to the next: by the ODE, by an SDE with a log-probability, by DDIM. Pure functions.

Every step has one shape, `step(prediction, latents, sigma, sigma_next, noise=None, next_latents=None) -> Step`:
given `noise` it samples, given `next_latents` it scores them (a replay), and the arithmetic of both is the same.
The maths runs in float32, and the result is rounded to the latents' own type before it is scored.

Legend: s = sigma, s' = sigma_next, h = s - s' > 0, x latents, v velocity, x0 = x - s v the clean latents,
x1 = x + (1 - s) v the noise; z ~ N(0, 1). An SDE step is the ODE's with some of x1 swapped for fresh noise:

    x' = (x - h v) - pull * x1 + std * z

    form        std                               pull                        source
    ode         0                                 0                           flow matching, Euler
    flow_grpo   level sqrt(s / (1 - s)) sqrt(h)   std^2 / (2 s)               Eq. 9, arXiv:2505.05470
    dance       level sqrt(h)                     std^2 / (2 s)               the SDE of arXiv:2505.07818
    cps         s' sin(level pi / 2)              s' - sqrt(s'^2 - std^2)     arXiv:2509.05952

Special cases, the same for all forms:

    level = 0           the ODE's step, bit for bit, and no log-probability
    s' = 0              the ODE's step: a finished clip has no fresh noise, so its last step has no log-probability
    s > 1 - PURE_NOISE  flow_grpo's std is singular at s = 1: 1 - s' replaces 1 - s there, as in the authors' code

The authors test for s = 1 exactly. UniPC's schedules begin at 0.999999, the value 1 less the margin that keeps its
logarithms finite, where the std of the table is 57 to 220 for 50 to 4 steps instead of the level. With 1 - s' the std
is level * sqrt(s h / (1 - s')), which is at most the level, since h <= 1 - s'. The limit is a tenth of a training
timestep (1/1000): a level above it is the same timestep as pure noise, and no schedule has a second level there unless
it has hundreds of steps.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from engine.model_spec import Prediction
from engine.sampling.forward_process import predict_x0_and_noise

Form = Literal["flow_grpo", "dance", "cps"]
DEFAULT_LEVELS: dict[str, float] = {"flow_grpo": 0.7, "dance": 0.3, "cps": 0.7, "ddim": 1.0}
"""The noise level of each form, and eta of DDIM, where nothing else is set. The forms' levels are not on one scale.

flow_grpo 0.7 is Flow-GRPO's a. dance 0.3 is DanceGRPO's eta: its std is level * sqrt(h) at every level, with no factor
that falls towards the end, so that 0.7 would leave far more noise in the last steps. cps takes sin(level pi / 2) of the
next level's noise as fresh noise, 0.89 at 0.7, and keeps the sum of signal and noise exact at any level. eta = 1 is
DDPM's step, as DDPO (arXiv:2305.13301) has it.
"""
PURE_NOISE = 1e-4
"""Levels nearer to 1 than this count as 1."""
Latents = Float[Tensor, "B *dims"]
LogProb = Float[Tensor, "B"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """`next_latents ~ N(mean, std^2)`; `log_prob` is float32, the mean over a clip's elements, None when `std` is 0."""

    next_latents: Latents
    mean: Latents
    std: float
    log_prob: LogProb | None


class StepFunction(Protocol):
    """What the sampler calls at each noise level."""

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
    """Euler's step of the flow ODE, x' = x - h v; `noise` is not used."""
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
    level: float = DEFAULT_LEVELS["flow_grpo"],
) -> StepResult:
    """A stochastic step of a flow model; `level` >= 0 (cps: <= 1) is the papers' noise level (their a or eta).

    The log-probability is that of the Gaussian for every form. Flow-CPS' code leaves 1 / (2 std^2) out of it, so a clip
    range of that code (1e-5) is not one of ours: ours has to be wider by that factor, which differs from step to step.
    """
    x, v = latents.float(), prediction.float()
    mean = x + (sigma_next - sigma) * v
    std, pull = sde_coefficients(form, level, sigma, sigma_next)
    if std > 0:
        mean = mean - pull * (x + (1 - sigma) * v)
    return _finish(mean, std, latents, noise, next_latents)


def sde_coefficients(form: Form, level: float, sigma: float, sigma_next: float) -> tuple[float, float]:
    """`(std, pull)` of the table above. Raises ValueError for an unknown form or a level out of range."""
    if level < 0 or (form == "cps" and level > 1):
        raise ValueError(f"noise level {level} is out of range for {form}: it must be >= 0, and <= 1 for cps")
    if level == 0 or sigma_next == 0:
        return 0.0, 0.0
    root_h = math.sqrt(sigma - sigma_next)
    match form:
        case "flow_grpo":
            signal = 1 - (sigma_next if sigma > 1 - PURE_NOISE else sigma)
            std = level * math.sqrt(sigma / signal) * root_h
        case "dance":
            std = level * root_h
        case "cps":
            std = sigma_next * math.sin(level * math.pi / 2)
            return std, sigma_next - math.sqrt(max(0.0, sigma_next**2 - std**2))
        case _:
            raise ValueError(f"unknown form {form!r}: use flow_grpo, dance or cps")
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
    of: Prediction = "epsilon",
) -> StepResult:
    """DDIM (Eq. 12, with the std of Eq. 16, arXiv:2010.02502); here sigma^2 = 1 - abar. `of` is what is predicted.

    eta = 0 is DDIM's deterministic step, eta = 1 DDPM's. At the last step (sigma_next = 0) there is no noise.
    """
    abar, abar_next = 1 - sigma**2, 1 - sigma_next**2
    std = eta * sigma_next / sigma * math.sqrt(max(0.0, 1 - abar / abar_next))
    x0, eps = predict_x0_and_noise(of, prediction, latents, sigma)
    mean = math.sqrt(abar_next) * x0 + math.sqrt(max(0.0, sigma_next**2 - std**2)) * eps
    return _finish(mean, std, latents, noise, next_latents)


def gaussian_log_prob(value: Latents, mean: Latents, std: float) -> LogProb:
    """log N(value; mean, std^2) in float32, the mean over all but the batch dimension: `[B]`."""
    z = (value.float() - mean) / std
    per_element = -0.5 * z.square() - math.log(std) - 0.5 * math.log(2 * math.pi)
    return per_element.flatten(1).mean(1)


def _finish(
    mean: Latents, std: float, latents: Latents, noise: Latents | None, next_latents: Latents | None
) -> StepResult:
    """Draw (or take) the next latents around `mean`, then score them as they are stored."""
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
    "v_prediction": partial(ddim_step, of="v_prediction"),
}
"""The step without fresh noise, for each thing that a network may predict."""
