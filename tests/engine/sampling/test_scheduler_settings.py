"""A preset's scheduler settings take effect, or are refused in a sentence."""

from typing import Any

import pytest

from engine.config.presets import load_model_preset, preset_keys
from engine.errors import FamilyError
from engine.families.registry import family_spec
from engine.sampling.scheduler_settings import EFFECTIVE, check_settings
from engine.sampling.schedules import DIFFUSERS_CLASS, sigmas_for

UNIPC = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}
EULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}
DYNAMIC = {**EULER, "use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05}
DDIM = {"_class_name": "DDIMScheduler", "beta_schedule": "linear"}


@pytest.mark.parametrize(
    ("config", "overrides", "sentence"),
    [
        (UNIPC, {"shift": 12.0}, "'shift' is unknown to UniPC.*Did you mean 'flow_shift'.*have an effect: final_sig"),
        (EULER, {"flow_shift": 12.0}, "'flow_shift' is unknown to FlowMatchEuler.*Did you mean 'shift'"),
        (UNIPC, {"_grid": "even"}, "'_grid' is unknown to UniPC"),
        (
            UNIPC,
            {"solver_order": 3},
            "'solver_order' has no effect, since Dailies takes only the noise levels from UniPC",
        ),
        (UNIPC, {"prediction_type": "epsilon"}, "'prediction_type' has no effect"),
        (UNIPC, {"use_dynamic_shifting": True}, "cannot be used by UniPC.*mu"),
        (UNIPC, {"flow_shift": "much"}, "cannot be used by UniPC"),
        (DYNAMIC, {"shift": 5.0}, r"shift = 5.0 has no effect on FlowMatchEuler.* with its other settings"),
        (EULER, {"max_shift": 5.0}, "max_shift = 5.0 has no effect"),
        (DDIM, {"timestep_spacing": "linspace", "steps_offset": 1}, "steps_offset = 1 has no effect"),
        (DDIM, {"clip_sample": True, "beta_end": 0.1}, "'clip_sample' has no effect|unknown"),
        (DDIM, {"_class_name": "LCMScheduler"}, "LCMScheduler is not supported"),
    ],
)
def test_what_has_no_effect_is_refused(config: dict[str, Any], overrides: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FamilyError, match=sentence):
        check_settings({**config, "clip_sample": False}, overrides, "flow" if config is not DDIM else "epsilon")


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        (UNIPC, {"flow_shift": 12.0}),
        (UNIPC, {"solver_order": 2}),
        (DYNAMIC, {"shift": 5.0, "use_dynamic_shifting": False}),
        (DYNAMIC, {"shift_terminal": 0.1}),
        (DDIM, {"clip_sample": False, "timestep_spacing": "trailing", "set_alpha_to_one": False}),
    ],
)
def test_what_has_an_effect_or_repeats_what_holds_is_accepted(
    config: dict[str, Any], overrides: dict[str, Any]
) -> None:
    check_settings(config, overrides, "flow" if config is not DDIM else "epsilon")


def test_every_setting_that_is_said_to_have_an_effect_exists() -> None:
    import inspect

    import diffusers

    for name, settings in EFFECTIVE.items():
        known = inspect.signature(getattr(diffusers, DIFFUSERS_CLASS.get(name, name)).__init__).parameters
        assert set(settings) <= set(known), name


def test_shipped_presets_pass_over_what_their_repositories_hold() -> None:
    """Wan's and HunyuanVideo's repeat or set the shift; AnimateDiff's put DDIM in place of PNDM."""
    own = {"wan": UNIPC, "skyreels": UNIPC, "hunyuanvideo": {**EULER, "shift": 7.0}}
    own["animatediff"] = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
    own["animatediff"] |= {"beta_schedule": "scaled_linear", "clip_sample": False, "set_alpha_to_one": False}
    checked = 0
    for key in preset_keys("models"):
        preset = load_model_preset(key)
        if preset.scheduler:
            folder = own[preset.family.split("_")[0]]
            check_settings(folder, preset.scheduler, family_spec(preset.family).prediction)
            assert sigmas_for({**folder, **preset.scheduler}, 10, 100)[0] > 0.9
            checked += 1
    assert checked >= 9
