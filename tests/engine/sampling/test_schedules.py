"""Schedules against the pipelines that they must equal."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import FamilyError
from engine.sampling.schedules import (
    flow_timesteps,
    nearest_timesteps,
    num_tokens,
    shift_mu,
    sigmas_for,
    training_sigmas,
)

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.42.1"}
DYNAMIC = {**FLOW, "use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "shift_terminal": 0.1}


@pytest.mark.parametrize("config", [FLOW, {**FLOW, "shift": 3.0}, DYNAMIC, {**FLOW, "use_karras_sigmas": True}])
@pytest.mark.parametrize("num_tokens", [80, 6930])
def test_the_flow_schedule_is_the_pipelines(config: dict[str, Any], num_tokens: int) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift, retrieve_timesteps

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
    points = (scheduler.config.base_image_seq_len, scheduler.config.max_image_seq_len)
    mu = calculate_shift(num_tokens, *points, scheduler.config.base_shift, scheduler.config.max_shift)
    retrieve_timesteps(scheduler, 20, "cpu", sigmas=np.linspace(1.0, 1 / 20, 20), mu=mu)
    assert torch.equal(sigmas_for(config, 20, num_tokens), scheduler.sigmas)


@given(num_steps=st.integers(1, 60), num_tokens=st.integers(1, 20_000))
def test_levels_fall_from_one_to_zero(num_steps: int, num_tokens: int) -> None:
    for config in (FLOW, DYNAMIC, {**DYNAMIC, "shift_terminal": None}, {**FLOW, "_grid": "linear_quadratic"}):
        sigmas = sigmas_for(config, num_steps, num_tokens)
        assert sigmas.shape == (num_steps + 1,)
        assert sigmas[0] == 1 and sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("num_steps", [1, 2, 4, 25])
def test_the_linear_quadratic_grid_is_ltx_conditions(num_steps: int) -> None:
    from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

    ours = sigmas_for({**FLOW, "_grid": "linear_quadratic"}, num_steps, 80)
    assert torch.allclose(ours[:-1], linear_quadratic_schedule(num_steps), atol=1e-6)


def test_larger_clips_spend_more_steps_at_high_noise() -> None:
    assert shift_mu(256, DYNAMIC) == pytest.approx(0.95)
    assert shift_mu(4096, DYNAMIC) == pytest.approx(2.05)
    assert (sigmas_for(DYNAMIC, 20, 4096)[1:-2] > sigmas_for(DYNAMIC, 20, 256)[1:-2]).all()


def test_ddim_levels_are_the_schedulers_noise_shares() -> None:
    from diffusers import DDIMScheduler

    config = {"_class_name": "DDIMScheduler", "beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012}
    sigmas = sigmas_for({**config, "steps_offset": 1}, 25, 0)
    scheduler = DDIMScheduler(beta_schedule="linear", beta_start=0.00085, beta_end=0.012, steps_offset=1)
    scheduler.set_timesteps(25)
    assert torch.allclose(1 - sigmas[:-1] ** 2, scheduler.alphas_cumprod[scheduler.timesteps].double(), atol=1e-12)
    assert sigmas[-1] == 0 and sigmas.dtype == torch.float64


def test_ddim_has_as_many_levels_as_its_table_where_its_offset_points_past_the_end() -> None:
    config = {"_class_name": "DDIMScheduler", "timestep_spacing": "leading", "steps_offset": 1}
    sigmas = sigmas_for(config, 1000, 0)
    assert sigmas.shape == (1001,)
    assert sigmas[0] == sigmas[1] == training_sigmas(config)[-1]
    assert (sigmas[1:].diff() < 0).all()


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("name", ["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"])
def test_cogvideox_levels_begin_at_pure_noise(name: str, spacing: str) -> None:
    from diffusers import CogVideoXDDIMScheduler

    own = {"rescale_betas_zero_snr": True, "timestep_spacing": spacing, "snr_shift_scale": 3.0}
    sigmas = sigmas_for({"_class_name": name, **own, "prediction_type": "v_prediction"}, 10, 0)
    scheduler = CogVideoXDDIMScheduler(**own)
    scheduler.set_timesteps(10)
    assert torch.allclose(1 - sigmas[:-1] ** 2, scheduler.alphas_cumprod[scheduler.timesteps].double(), atol=1e-7)
    assert sigmas[-1] == 0 and (sigmas[0] == 1) == (spacing == "trailing")


SOLVERS = pytest.mark.parametrize("solver", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler"])


@SOLVERS
def test_levels_are_those_of_the_solver(solver: str) -> None:
    """Of Wan and of Sana-Video."""
    import diffusers

    own = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    scheduler = getattr(diffusers, solver)(**own)
    scheduler.set_timesteps(20)
    assert torch.equal(sigmas_for({"_class_name": solver, **own}, 20, 0), scheduler.sigmas)


@SOLVERS
@pytest.mark.parametrize("shift", [2.0, 3.0, 5.0, 8.0, 16.0])
def test_timesteps_are_the_integers_of_the_solver(shift: float, solver: str) -> None:
    import diffusers

    own = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
    scheduler, config = getattr(diffusers, solver)(**own), {"_class_name": solver, **own}
    for num_steps in range(1, 61):
        scheduler.set_timesteps(num_steps)
        told = flow_timesteps(config, sigmas_for(config, num_steps, 0)[:-1])
        assert told.dtype == torch.float32 and told.tolist() == scheduler.timesteps.tolist()


def test_other_flow_schedulers_have_timesteps_between_integers() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 20, 20))
    assert torch.equal(flow_timesteps(FLOW, sigmas_for({**FLOW, "shift": 7.0}, 20, 0)[:-1]), scheduler.timesteps)


def test_given_pictures_are_tokens_too() -> None:
    latents = torch.zeros(2, 8, 3, 4, 5)
    assert num_tokens(latents) == 60
    assert num_tokens(latents, {"pictures": torch.zeros(2, 8, 2, 4, 5), "pooled": torch.zeros(1)}) == 100


def test_a_pipeline_that_asks_for_no_levels_has_the_schedulers_own() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    scheduler.set_timesteps(10)
    config = {**FLOW, "shift": 7.0}
    assert torch.equal(sigmas_for({**config, "_grid": "own"}, 10, 0), scheduler.sigmas)
    assert not torch.equal(sigmas_for(config, 10, 0), scheduler.sigmas)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("num_steps", [1, 4, 25, 50])
def test_levels_find_their_timesteps_again(spacing: str, num_steps: int) -> None:
    """Timesteps pass through float32, as in the networks; it barely separates the last ones."""
    from diffusers import CogVideoXDDIMScheduler, DDIMScheduler

    for kind, options in ((DDIMScheduler, {}), (CogVideoXDDIMScheduler, {"rescale_betas_zero_snr": True})):
        config = {"_class_name": kind.__name__, "timestep_spacing": spacing, **options}
        scheduler = kind.from_config(config)
        scheduler.set_timesteps(num_steps)
        levels = sigmas_for(config, num_steps, 0)[:-1].float()
        assert torch.equal(nearest_timesteps(training_sigmas(config), levels), scheduler.timesteps)


def test_an_overlaid_schedulers_leftovers_are_passed_over() -> None:
    config = {"_class_name": "DDIMScheduler", "beta_schedule": "linear", "skip_prk_steps": True}
    assert torch.equal(sigmas_for(config, 5, 0), sigmas_for({**config, "skip_prk_steps": False}, 5, 0))


def test_an_unknown_scheduler_is_named() -> None:
    with pytest.raises(FamilyError, match=r"HeunDiscreteScheduler is not supported: use one of CogVideoXDDIM"):
        sigmas_for({"_class_name": "HeunDiscreteScheduler"}, 10, 80)
    with pytest.raises(FamilyError, match="UniPC scheduler without use_flow_sigmas is not supported"):
        sigmas_for({"_class_name": "UniPCMultistepScheduler"}, 10, 80)
    with pytest.raises(FamilyError, match="DPM-Solver scheduler without use_flow_sigmas is not supported"):
        sigmas_for({"_class_name": "DPMSolverMultistepScheduler"}, 10, 80)
