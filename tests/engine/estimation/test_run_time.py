"""The forecast time of a run on a card."""

import pytest

from engine.config.presets import load_preset, load_train_preset
from engine.estimation.model_forecast import CARDS, forecast_model
from engine.estimation.run_time import run_seconds

H100 = CARDS[2]


def test_an_update_of_grpo_is_its_clips_and_its_trained_steps() -> None:
    """Eight clips of the model's default shape, four random steps each, as the forecast of the model times them."""
    settings = {"num_frames": None, "num_steps": None, "max_steps": 3}
    model = forecast_model(load_preset("models", "wan21_1_3b"))
    assert model is not None
    update = 8 * model.clip_seconds(H100) + 8 * 4 * model.update_seconds(H100)
    assert run_seconds(load_train_preset("grpo_online", {"settings": settings}), H100) == pytest.approx(3 * update)


def test_clips_that_are_trained_on_twice_are_made_half_as_often() -> None:
    seconds = [
        run_seconds(load_train_preset("grpo_online", {"settings": {"num_iterations": n}}), H100) for n in (1, 2, 4)
    ]
    assert seconds[0] and seconds[1] and seconds[2]
    assert seconds[0] - seconds[1] == pytest.approx(2 * (seconds[1] - seconds[2]))


def test_a_run_without_a_number_of_updates_has_no_time() -> None:
    assert run_seconds(load_train_preset("grpo_online", {"settings": {"max_steps": -1}}), H100) is None
