"""The noise levels at which the distance of a policy from the model before training is measured."""

import pytest

from engine.sampling.schedules import sigmas_for
from engine.training.rollout.drift import middle_levels


@pytest.mark.parametrize("boundary", [0.875, 0.9])
@pytest.mark.parametrize("steps", [4, 8, 20, 40])
def test_both_experts_of_wan_are_looked_at(boundary: float, steps: int) -> None:
    """Of 0.25, 0.5 and 0.75 none would reach the expert of the noisy steps, which GRPO trains."""
    config = {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    levels = middle_levels(sigmas_for({**config, "flow_shift": 5.0}, steps, 100)[:-1].tolist())
    assert min(levels) < boundary < max(levels)
    assert len(levels) == 3


def test_few_steps_have_few_levels() -> None:
    assert middle_levels([1.0]) == [1.0]
    assert middle_levels([1.0, 0.5]) == [1.0, 0.5]
